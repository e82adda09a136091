"""Whom the ids were told to of what a provider keeps: its account is shared by all users.

Runs before the code; the previous release goes on with it, and neither reads nor writes it.
"""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

KEPT_IDS = """
CREATE TABLE kept_ids (
    provider varchar(64) NOT NULL,
    id varchar(255) NOT NULL,
    user_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (provider, id)
);
COMMENT ON TABLE kept_ids IS
    'Replies, items, sound and sandboxes that a provider keeps, by the ids that a user was told. The first one owns it';
CREATE INDEX kept_ids_user ON kept_ids (user_id);
"""

GRANT = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'gaia_chat') THEN
        GRANT SELECT, INSERT ON kept_ids TO gaia_chat;
    END IF;
END $$
"""


def upgrade() -> None:
    """Adds the table."""
    op.execute(KEPT_IDS)
    op.execute(GRANT)
