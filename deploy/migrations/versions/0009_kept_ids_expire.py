"""Ids of what a provider keeps are forgotten when no provider keeps it any more.

Runs before the code; the previous release goes on with it, and forgets none. The index is made under a lock that holds
up writers for the time of one reading of the table.
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

KEPT_IDS = """
CREATE INDEX kept_ids_time ON kept_ids (created_at);
COMMENT ON COLUMN kept_ids.created_at IS 'When its owner was told it; of what is told for days, when last, to the day';
"""

GRANT = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'gaia_chat') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON kept_ids TO gaia_chat;
    END IF;
END $$
"""


def upgrade() -> None:
    """Adds the index and the rights."""
    op.execute(KEPT_IDS)
    op.execute(GRANT)
