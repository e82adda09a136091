-- name: open_call
-- Writes down a generation that is asked for, and holds what it can cost if a budget holds it; returns who refuses it.
WITH refused AS MATERIALIZED (
    SELECT * FROM reserve_budgets($1::uuid[], $2::date[], $3::uuid[], $4::uuid[], $5::numeric[], $6::numeric[],
                                  $7::numeric[], $8::numeric[])
), opened AS (
    INSERT INTO reservations (id, created_at, lease_until, user_id, api_key_id, request_id, operation, provider, model,
                              is_stream, month, amount_usd)
    SELECT $9::uuid, $10::timestamptz, $11::timestamptz, $12::uuid, $13::uuid, $14::text, $15::text, $16::text,
           $17::text, false, $18::date, $19::numeric
    WHERE NOT EXISTS (SELECT FROM refused)
)
SELECT refused_by, limit_usd, left_usd FROM refused;

-- name: book_call
-- Books a generation and lets go of what was held for it; one that is in the ledger already changes nothing, unless it
-- was given up as interrupted.
WITH released AS (
    DELETE FROM reservations WHERE id = $1::uuid RETURNING user_id, api_key_id, month, amount_usd
), booked AS (
    INSERT INTO ledger AS l (id, created_at, user_id, api_key_id, request_id, operation, state, provider, model,
                             input_tokens, output_tokens, is_estimate, cost_usd, reserved_usd, pricing, total_ms, error)
    VALUES ($1, $2::timestamptz, $3::uuid, $4::uuid, $5::text, $6::text, $7::text, $8::text, $9::text, $10::bigint,
            $11::bigint, $12::bool, $13::numeric, (SELECT amount_usd FROM released), $14::jsonb, $15::int, $16::text)
    ON CONFLICT (id) DO UPDATE SET
        state = excluded.state, input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens,
        is_estimate = excluded.is_estimate, cost_usd = excluded.cost_usd, pricing = excluded.pricing,
        total_ms = excluded.total_ms, error = excluded.error
    WHERE l.state = 'interrupted'
    RETURNING l.user_id, l.api_key_id, l.cost_usd
), change AS (
    SELECT o.kind, o.owner, m.month, sum(m.spent) AS spent, sum(m.reserved) AS reserved
    FROM (SELECT user_id, api_key_id, month, 0 AS spent, -amount_usd AS reserved FROM released
          WHERE amount_usd IS NOT NULL
          UNION ALL
          SELECT user_id, api_key_id, $17::date, cost_usd, 0 FROM booked WHERE cost_usd > 0) AS m,
         LATERAL (VALUES ('key', m.api_key_id), ('platform', '00000000-0000-0000-0000-000000000000'),
                         ('user', m.user_id)) AS o (kind, owner)
    WHERE o.owner IS NOT NULL
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
)
INSERT INTO budget_balances AS b (kind, owner, month, spent_usd, reserved_usd)
SELECT kind, owner, month, spent, reserved FROM change
ON CONFLICT (kind, owner, month) DO UPDATE SET
    spent_usd = b.spent_usd + excluded.spent_usd, reserved_usd = b.reserved_usd + excluded.reserved_usd;
