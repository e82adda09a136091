"""The ledger of calls to models, budgets, and what is kept for requests that come twice.

Runs before the code; the previous release goes on with it: it knows nothing of the new tables.
"""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LEDGER = """
CREATE TABLE ledger (
    id uuid PRIMARY KEY,
    created_at timestamptz NOT NULL,
    user_id uuid NOT NULL,
    api_key_id uuid,
    request_id varchar(128) NOT NULL,
    operation varchar(32) NOT NULL,
    state varchar(16) NOT NULL CHECK (state IN ('done', 'failed', 'cancelled', 'interrupted', 'cached')),
    provider varchar(64) NOT NULL,
    model varchar(200) NOT NULL,
    is_stream boolean NOT NULL DEFAULT false,
    input_tokens bigint,
    output_tokens bigint,
    cached_input_tokens bigint,
    cache_write_tokens bigint,
    reasoning_tokens bigint,
    is_estimate boolean NOT NULL DEFAULT false,
    cost_usd numeric,
    reserved_usd numeric,
    pricing jsonb,
    first_word_ms integer,
    total_ms integer,
    error varchar(64) NOT NULL DEFAULT ''
);
COMMENT ON TABLE ledger IS
    'A row for each call to a model. Rows outlive what they are about, so ids are kept without references';
COMMENT ON COLUMN ledger.state IS
    'interrupted: its process ended in the middle of it, so what it used is not known; cached: no provider was asked';
COMMENT ON COLUMN ledger.is_estimate IS 'the provider did not say what was used; the tokens were counted here';
COMMENT ON COLUMN ledger.cost_usd IS 'NULL where the price or the use is not known';
COMMENT ON COLUMN ledger.pricing IS
    'usage and prices of each attempt that used something: what cost_usd was computed from';
CREATE INDEX ledger_user ON ledger (user_id, created_at DESC);
CREATE INDEX ledger_time ON ledger USING brin (created_at);

CREATE TABLE reservations (
    id uuid PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    lease_until timestamptz NOT NULL,
    user_id uuid NOT NULL,
    api_key_id uuid,
    request_id varchar(128) NOT NULL,
    operation varchar(32) NOT NULL,
    provider varchar(64) NOT NULL,
    model varchar(200) NOT NULL,
    is_stream boolean NOT NULL,
    month date NOT NULL,
    amount_usd numeric
);
COMMENT ON TABLE reservations IS 'Calls that were dispatched and are not yet in the ledger';
COMMENT ON COLUMN reservations.amount_usd IS 'the most that it can cost; NULL where nothing limits its cost';
CREATE INDEX reservations_lease ON reservations (lease_until);

CREATE TABLE budget_balances (
    kind varchar(8) NOT NULL CHECK (kind IN ('key', 'user', 'platform')),
    owner uuid NOT NULL,
    month date NOT NULL,
    spent_usd numeric NOT NULL DEFAULT 0,
    reserved_usd numeric NOT NULL DEFAULT 0,
    PRIMARY KEY (kind, owner, month)
) WITH (fillfactor = 50);
COMMENT ON TABLE budget_balances IS
    'What was spent and is reserved in a calendar month (UTC); the platform is the owner of zeros';
"""

# In one place and under one lock for each balance: of calls that come at once, no two are given the same money.
RESERVE = """
CREATE FUNCTION reserve_budgets(
    call_ids uuid[], months date[], user_ids uuid[], key_ids uuid[], amounts numeric[],
    key_limits numeric[], user_limits numeric[], platform_limits numeric[]
) RETURNS TABLE (refused_id uuid, refused_by text, limit_usd numeric, left_usd numeric) LANGUAGE plpgsql AS $$
DECLARE
    platform constant uuid := '00000000-0000-0000-0000-000000000000';
    refusal record;
BEGIN
    IF cardinality(call_ids) = 0 THEN
        RETURN;
    END IF;
    INSERT INTO budget_balances (kind, owner, month)
    SELECT DISTINCT o.kind, o.owner, c.month
    FROM unnest(months, user_ids, key_ids) AS c (month, user_id, key_id),
         LATERAL (VALUES ('key', c.key_id), ('platform', platform), ('user', c.user_id)) AS o (kind, owner)
    WHERE o.owner IS NOT NULL
    ORDER BY 1, 2, 3
    ON CONFLICT DO NOTHING;
    PERFORM FROM budget_balances b
    WHERE b.month = ANY (months) AND (b.kind = 'platform' OR b.owner = ANY (user_ids || key_ids))
    ORDER BY b.kind, b.owner, b.month FOR UPDATE;
    FOR number IN 1 .. cardinality(call_ids) LOOP
        SELECT b.kind, l.most, l.most - b.spent_usd - b.reserved_usd AS available INTO refusal
        FROM (VALUES ('key', key_ids[number], key_limits[number]), ('user', user_ids[number], user_limits[number]),
                     ('platform', platform, platform_limits[number])) AS l (kind, owner, most)
        JOIN budget_balances b ON b.kind = l.kind AND b.owner = l.owner AND b.month = months[number]
        WHERE b.spent_usd + b.reserved_usd + amounts[number] > l.most
        ORDER BY l.most - b.spent_usd - b.reserved_usd LIMIT 1;
        IF FOUND THEN
            refused_id := call_ids[number];
            refused_by := refusal.kind;
            limit_usd := refusal.most;
            left_usd := greatest(refusal.available, 0);
            RETURN NEXT;
        ELSE
            UPDATE budget_balances b SET reserved_usd = b.reserved_usd + amounts[number]
            WHERE b.month = months[number]
                  AND (b.kind, b.owner)
                      IN (('key', key_ids[number]), ('user', user_ids[number]), ('platform', platform));
        END IF;
    END LOOP;
END $$;
"""

IDEMPOTENCY = """
CREATE TABLE idempotency_records (
    user_id uuid NOT NULL,
    key varchar(255) NOT NULL,
    fingerprint bytea NOT NULL,
    call_id uuid NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT now(),
    lease_until timestamptz NOT NULL,
    answer bytea,
    PRIMARY KEY (user_id, key)
);
COMMENT ON COLUMN idempotency_records.answer IS 'NULL while the first request goes on';
CREATE INDEX idempotency_records_time ON idempotency_records (created_at);
"""

GRANT = """
DO $$ BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'gaia_chat') THEN
        GRANT SELECT, INSERT, UPDATE ON ledger TO gaia_chat;
        GRANT SELECT, INSERT, UPDATE, DELETE ON reservations, budget_balances, idempotency_records TO gaia_chat;
    END IF;
END $$
"""


def upgrade() -> None:
    """Adds the ledger, budgets and idempotency records."""
    op.execute(LEDGER)
    op.execute(RESERVE)
    op.execute(IDEMPOTENCY)
    op.execute(GRANT)
