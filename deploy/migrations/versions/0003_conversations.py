"""Full text search over what was said in conversations.

Runs before the code; the previous release goes on with it: what it stores is searchable by default, its stateless calls
too, which no list shows.
"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# The beginning of a message is enough to find it by: Postgres refuses texts with more than a megabyte of words, and an
# INSERT must never fail for that.
SEARCH = """
ALTER TABLE chat_messages ADD COLUMN is_searchable boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN chat_messages.is_searchable IS 'false for stateless calls, which no list of conversations shows';
CREATE INDEX chat_messages_search ON chat_messages USING gin (to_tsvector('simple', left(content, 100000)))
    WHERE is_searchable;
"""


def upgrade() -> None:
    """Adds the index."""
    op.execute(SEARCH)
