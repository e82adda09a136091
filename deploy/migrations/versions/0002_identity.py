"""Rotation of keys with a time of grace, and the audit trail.

Runs before the code; the previous release goes on with it: it knows nothing of the new columns and table, and sees each
key by its newest secret.
"""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ROTATION = """
ALTER TABLE api_keys ADD COLUMN previous_hash varchar(255), ADD COLUMN previous_expires_at timestamptz;
COMMENT ON COLUMN api_keys.previous_hash IS
    'SHA-256 of the secret before the last rotation, good until previous_expires_at';
CREATE UNIQUE INDEX api_keys_previous_hash ON api_keys (previous_hash) WHERE previous_hash IS NOT NULL;

DROP TRIGGER api_keys_revoked ON api_keys;
CREATE TRIGGER api_keys_revoked AFTER UPDATE ON api_keys FOR EACH ROW
    WHEN (OLD.is_active IS DISTINCT FROM NEW.is_active OR OLD.expires_at IS DISTINCT FROM NEW.expires_at
          OR OLD.permissions IS DISTINCT FROM NEW.permissions OR OLD.key_hash IS DISTINCT FROM NEW.key_hash
          OR OLD.previous_hash IS DISTINCT FROM NEW.previous_hash
          OR OLD.previous_expires_at IS DISTINCT FROM NEW.previous_expires_at
          OR OLD.user_id IS DISTINCT FROM NEW.user_id)
    EXECUTE FUNCTION record_revocation();
"""


def upgrade() -> None:
    """Adds what rotation needs."""
    op.execute(ROTATION)
