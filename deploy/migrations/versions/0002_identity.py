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

AUDIT = """
CREATE TABLE audit_events (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    created_at timestamptz NOT NULL DEFAULT now(),
    action varchar(64) NOT NULL,
    result varchar(64) NOT NULL,
    actor_user_id uuid,
    actor_key_id uuid,
    target_type varchar(32) NOT NULL DEFAULT '',
    target_id varchar(64) NOT NULL DEFAULT '',
    request_id varchar(128) NOT NULL DEFAULT '',
    address varchar(64) NOT NULL DEFAULT '',
    details jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE audit_events IS
    'Who did what. Entries outlive what they are about, so ids are kept without references; nothing is ever changed';
CREATE INDEX audit_events_page ON audit_events (created_at DESC, id DESC);
CREATE INDEX audit_events_actor ON audit_events (actor_user_id, created_at DESC, id DESC);
CREATE INDEX audit_events_target ON audit_events (target_id, created_at DESC, id DESC);
CREATE INDEX audit_events_action ON audit_events (action, created_at DESC, id DESC);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit trail is only ever added to' USING ERRCODE = 'insufficient_privilege';
END $$;
-- For platforms where every process has the owner's role: rights alone would not hold it back.
CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
"""

GRANT = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'gaia_auth') THEN
        GRANT SELECT, INSERT ON audit_events TO gaia_auth;
    END IF;
END $$
"""


def upgrade() -> None:
    """Adds what rotation needs, and the audit trail."""
    op.execute(ROTATION)
    op.execute(AUDIT)
    op.execute(GRANT)
