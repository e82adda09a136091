"""Generated assets stand in the ledger and are held to budgets, like calls of chat.

Runs before the code; the previous release goes on with it.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

GRANT = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'gaia_asset') THEN
        GRANT SELECT, INSERT, UPDATE ON ledger, budget_balances TO gaia_asset;
        GRANT SELECT, INSERT, DELETE ON reservations TO gaia_asset;
    END IF;
END $$
"""


def upgrade() -> None:
    """Grants the rights."""
    op.execute(GRANT)
