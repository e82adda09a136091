"""A monthly budget for each user, over all of a user's keys.

Runs before the code; the previous release goes on with it: it neither reads nor writes the new column.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

BUDGETS = """
ALTER TABLE users ADD COLUMN monthly_budget_usd numeric(18, 9) CHECK (monthly_budget_usd >= 0);
COMMENT ON COLUMN users.monthly_budget_usd IS 'Most that all keys of the user may spend in a calendar month (UTC)';

DROP TRIGGER users_revoked ON users;
CREATE TRIGGER users_revoked AFTER UPDATE ON users FOR EACH ROW
    WHEN (OLD.is_active IS DISTINCT FROM NEW.is_active OR OLD.email IS DISTINCT FROM NEW.email
          OR OLD.monthly_budget_usd IS DISTINCT FROM NEW.monthly_budget_usd)
    EXECUTE FUNCTION record_revocation();
"""


def upgrade() -> None:
    """Adds the column, and tells caches of identities when it changes."""
    op.execute(BUDGETS)
