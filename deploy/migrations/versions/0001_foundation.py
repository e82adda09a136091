"""Users, keys, revocations, conversations, personas and assets.

Roles: `gaia_auth`, `gaia_chat` and `gaia_asset` are made by whoever prepares the database (`gaia db init`, the local
stack); a role that does not exist gets no rights here, so that a platform which hands out one role can still be used.
"""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE users (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    email varchar(320) NOT NULL,
    name varchar(200) NOT NULL DEFAULT '',
    is_active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX users_email ON users (lower(email));
CREATE INDEX users_page ON users (created_at DESC, id DESC);

CREATE TABLE api_keys (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    key_hash varchar(255) NOT NULL UNIQUE,
    name varchar(200) NOT NULL DEFAULT '',
    permissions jsonb NOT NULL DEFAULT '{}',
    is_active boolean NOT NULL DEFAULT true,
    expires_at timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    prefix varchar(32) NOT NULL DEFAULT '',
    last_four varchar(4) NOT NULL DEFAULT '',
    last_used_at timestamptz,
    created_by uuid REFERENCES users (id) ON DELETE SET NULL
);
COMMENT ON COLUMN api_keys.key_hash IS 'SHA-256 of the key, in lower-case hexadecimal';
CREATE INDEX api_keys_page ON api_keys (user_id, created_at DESC, id DESC);
CREATE INDEX api_keys_created_by ON api_keys (created_by);

CREATE TABLE revocations (
    sequence bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    api_key_id uuid,
    user_id uuid,
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE revocations IS 'What caches of identities must forget, in order';

CREATE TABLE personas (
    id varchar(64) NOT NULL,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name varchar(100) NOT NULL,
    description text NOT NULL DEFAULT '',
    system_prompt text NOT NULL DEFAULT '',
    personality_traits jsonb NOT NULL DEFAULT '{}',
    capabilities jsonb NOT NULL DEFAULT '{}',
    is_active boolean NOT NULL DEFAULT true,
    is_current boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, id)
);
CREATE UNIQUE INDEX personas_name ON personas (user_id, lower(name)) WHERE is_active;
CREATE UNIQUE INDEX personas_current ON personas (user_id) WHERE is_current;

CREATE TABLE conversations (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    title varchar(200) NOT NULL DEFAULT '',
    origin varchar(16) NOT NULL DEFAULT 'native' CHECK (origin IN ('native', 'default', 'completion')),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN conversations.origin IS
    'native: begun by a client; default: the one of a client that names none; completion: a stateless call of an SDK';
CREATE UNIQUE INDEX conversations_default ON conversations (user_id) WHERE origin = 'default';
CREATE INDEX conversations_page ON conversations (user_id, updated_at DESC, id DESC) WHERE origin <> 'completion';

CREATE TABLE chat_messages (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    conversation_id uuid NOT NULL REFERENCES conversations (id) ON DELETE CASCADE,
    position bigint GENERATED ALWAYS AS IDENTITY,
    role varchar(16) NOT NULL CHECK (role IN ('system', 'user', 'assistant', 'tool')),
    content text NOT NULL,
    tool_calls jsonb,
    provider varchar(64),
    model varchar(200),
    input_tokens integer,
    output_tokens integer,
    finish_reason varchar(32),
    is_complete boolean NOT NULL DEFAULT true,
    request_id varchar(128) NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON COLUMN chat_messages.tool_calls IS 'what a reply asks tools to do: [{"id", "name", "arguments"}]';
COMMENT ON COLUMN chat_messages.is_complete IS 'false for a reply that was cut off: what is here is what was received';
CREATE INDEX chat_messages_conversation ON chat_messages (conversation_id, position);

CREATE TABLE assets (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    category varchar(32) NOT NULL,
    description text NOT NULL,
    style varchar(200) NOT NULL DEFAULT '',
    source varchar(16) NOT NULL CHECK (source IN ('generated', 'uploaded')),
    provider varchar(64) NOT NULL DEFAULT '',
    model varchar(200) NOT NULL DEFAULT '',
    content_type varchar(255) NOT NULL,
    size_bytes bigint NOT NULL CHECK (size_bytes >= 0),
    sha256 char(64) NOT NULL,
    storage_path varchar(1024) NOT NULL,
    cost_usd numeric(18, 9),
    metadata jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX assets_all_page ON assets (created_at DESC, id DESC);
CREATE INDEX assets_page ON assets (user_id, created_at DESC, id DESC);
CREATE INDEX assets_category_page ON assets (user_id, category, created_at DESC, id DESC);
"""

# Whatever ends a key or a user's keys is written down in the same transaction and announced at its commit, so that no
# code path, not even a hand-typed UPDATE, can forget to.
REVOCATION_TRIGGERS = """
CREATE FUNCTION record_revocation() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public AS $$
DECLARE
    number bigint;
BEGIN
    -- One writer at a time: numbers become visible in their order, so that a reader never passes over a late one.
    PERFORM pg_advisory_xact_lock(hashtext('gaia.revocations'));
    IF TG_TABLE_NAME = 'users' THEN
        INSERT INTO revocations (user_id) VALUES (OLD.id) RETURNING sequence INTO number;
    ELSE
        INSERT INTO revocations (api_key_id) VALUES (OLD.id) RETURNING sequence INTO number;
    END IF;
    PERFORM pg_notify('gaia_revocations', number::text);
    RETURN NULL;
END $$;

CREATE TRIGGER api_keys_revoked AFTER UPDATE ON api_keys FOR EACH ROW
    WHEN (OLD.is_active IS DISTINCT FROM NEW.is_active OR OLD.expires_at IS DISTINCT FROM NEW.expires_at
          OR OLD.permissions IS DISTINCT FROM NEW.permissions OR OLD.key_hash IS DISTINCT FROM NEW.key_hash)
    EXECUTE FUNCTION record_revocation();
CREATE TRIGGER api_keys_deleted AFTER DELETE ON api_keys FOR EACH ROW EXECUTE FUNCTION record_revocation();
CREATE TRIGGER users_revoked AFTER UPDATE ON users FOR EACH ROW
    WHEN (OLD.is_active IS DISTINCT FROM NEW.is_active OR OLD.email IS DISTINCT FROM NEW.email)
    EXECUTE FUNCTION record_revocation();
CREATE TRIGGER users_deleted AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION record_revocation();
"""

GRANTS = {
    "gaia_auth": (
        "GRANT SELECT, INSERT, UPDATE, DELETE ON users, api_keys TO gaia_auth",
        "GRANT SELECT, DELETE ON revocations TO gaia_auth",
    ),
    "gaia_chat": ("GRANT SELECT, INSERT, UPDATE, DELETE ON personas, conversations, chat_messages TO gaia_chat",),
    "gaia_asset": ("GRANT SELECT, INSERT, UPDATE, DELETE ON assets TO gaia_asset",),
}


def upgrade() -> None:
    """Creates the tables, the triggers and the rights."""
    op.execute(TABLES)
    op.execute(REVOCATION_TRIGGERS)
    for role, grants in GRANTS.items():
        statements = "; ".join([f"GRANT USAGE ON SCHEMA public TO {role}", *grants])
        op.execute(
            f"DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN {statements}; END IF; END $$"
        )
