"""Responses that a provider goes on making in the background after their call was answered.

Runs before the code; the previous release goes on with it: it refuses such calls, and their leases outlast it.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

BACKGROUND_CALLS = """
CREATE TABLE background_calls (
    call_id uuid PRIMARY KEY,
    created_at timestamptz NOT NULL,
    user_id uuid NOT NULL,
    api_key_id uuid,
    request_id varchar(128) NOT NULL,
    operation varchar(32) NOT NULL,
    provider varchar(64) NOT NULL,
    model varchar(200) NOT NULL,
    is_stream boolean NOT NULL,
    amount_usd numeric,
    response_id varchar(255) NOT NULL,
    endpoint integer NOT NULL,
    terms jsonb NOT NULL,
    said jsonb NOT NULL,
    keeps_content boolean NOT NULL,
    next_look timestamptz NOT NULL,
    deadline timestamptz NOT NULL,
    looks integer NOT NULL DEFAULT 0,
    misses integer NOT NULL DEFAULT 0
);
COMMENT ON TABLE background_calls IS
    'Calls whose response its provider goes on making; each goes to the ledger, and from here, when that is over';
COMMENT ON COLUMN background_calls.amount_usd IS 'what is reserved for it; NULL where no budget holds it';
COMMENT ON COLUMN background_calls.endpoint IS 'number of the endpoint of its provider that was asked';
COMMENT ON COLUMN background_calls.terms IS 'what its price depends on, and what it may have used where nobody says';
COMMENT ON COLUMN background_calls.said IS 'messages of the request that are stored together with the reply';
COMMENT ON COLUMN background_calls.deadline IS 'when it is given up, and booked at the most that it can have cost';
COMMENT ON COLUMN background_calls.misses IS 'how often in a row its provider knew nothing of it';
CREATE INDEX background_calls_look ON background_calls (next_look);
CREATE INDEX background_calls_response ON background_calls (response_id);
CREATE INDEX background_calls_user ON background_calls (user_id);
"""

GRANT = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'gaia_chat') THEN
        GRANT SELECT, INSERT, UPDATE, DELETE ON background_calls TO gaia_chat;
    END IF;
END $$
"""


def upgrade() -> None:
    """Adds the table."""
    op.execute(BACKGROUND_CALLS)
    op.execute(GRANT)
