"""Repeated requests to auth and asset: they keep answers in the same table as chat.

Runs before the code; the previous release goes on with it.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

GRANTS = """
DO $$
DECLARE
    service text;
BEGIN
    FOREACH service IN ARRAY ARRAY ['gaia_auth', 'gaia_asset'] LOOP
        IF EXISTS (SELECT FROM pg_roles WHERE rolname = service) THEN
            EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_records TO %I', service);
        END IF;
    END LOOP;
END $$
"""


def upgrade() -> None:
    """Grants the rights."""
    op.execute(GRANTS)
