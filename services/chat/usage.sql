-- name: sum_usage
-- Sums up calls of a time by what is asked for; without a user those of everybody.
SELECT s.* FROM (
    SELECT CASE $5 WHEN 'key' THEN api_key_id::text WHEN 'user' THEN user_id::text
                   WHEN 'model' THEN provider || '/' || model WHEN 'provider' THEN provider
                   WHEN 'day' THEN to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') ELSE '' END AS grouped,
           count(*) AS requests, coalesce(sum(input_tokens), 0)::bigint AS input_tokens,
           coalesce(sum(output_tokens), 0)::bigint AS output_tokens,
           coalesce(sum(cached_input_tokens), 0)::bigint AS cached_tokens,
           coalesce(sum(cost_usd), 0) AS cost_usd, count(*) FILTER (WHERE cost_usd IS NULL) AS unpriced_requests
    FROM ledger
    WHERE created_at >= $1 AND created_at < $2 AND ($3::uuid IS NULL OR user_id = $3)
          AND ($4::uuid IS NULL OR api_key_id = $4)
    GROUP BY grouped) s
ORDER BY CASE WHEN $5 = 'day' THEN s.grouped END DESC, s.cost_usd DESC, s.requests DESC
LIMIT $6;

-- name: sum_by_provider
-- Sums up calls of a time by provider; without a user those of everybody.
SELECT provider, count(*) AS requests,
       coalesce(sum(coalesce(input_tokens, 0) + coalesce(output_tokens, 0)), 0)::bigint AS tokens,
       coalesce(sum(cost_usd), 0) AS cost_usd,
       avg(total_ms) FILTER (WHERE state = 'done') AS average_ms,
       count(*) FILTER (WHERE state IN ('failed', 'interrupted')) AS errors, max(created_at) AS last_request
FROM ledger
WHERE created_at >= $1 AND state <> 'cached' AND ($2::uuid IS NULL OR user_id = $2)
GROUP BY provider;

-- name: measure_performance
-- Measures calls of a time by provider, and all of them in the row without one; without a user those of everybody.
SELECT provider, count(*) AS requests, count(*) FILTER (WHERE state IN ('failed', 'interrupted')) AS errors,
       avg(total_ms) FILTER (WHERE state = 'done') AS average_ms,
       percentile_cont(ARRAY [0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY total_ms) FILTER (WHERE state = 'done')
           AS percentiles_ms,
       avg(first_word_ms) FILTER (WHERE state = 'done') AS first_word_ms,
       sum(output_tokens) FILTER (WHERE state = 'done') * 1000.0
           / nullif(sum(total_ms) FILTER (WHERE state = 'done'), 0) AS tokens_per_second
FROM ledger
WHERE created_at >= $1 AND state <> 'cached' AND ($2::uuid IS NULL OR user_id = $2)
GROUP BY GROUPING SETS ((provider), ());

-- name: count_active_calls
-- Counts calls that were dispatched and have not ended; without a user those of everybody.
SELECT count(*) AS count FROM reservations WHERE lease_until > now() AND ($1::uuid IS NULL OR user_id = $1);

-- name: read_balances
-- Returns what a key and a user have spent and reserved in a month.
SELECT kind, spent_usd, reserved_usd FROM budget_balances
WHERE month = $1 AND ((kind = 'key' AND owner = $2) OR (kind = 'user' AND owner = $3));

-- name: read_ledger
-- Returns the rows of some months as far as they are added up.
SELECT id, created_at, user_id, api_key_id, state, cost_usd, pricing, is_estimate, input_tokens, output_tokens
FROM ledger
WHERE created_at >= $1 AND created_at < $2 ORDER BY created_at;

-- name: read_all_balances
-- Returns all balances of some months.
SELECT kind, owner, month, spent_usd, reserved_usd FROM budget_balances WHERE month >= $1 AND month < $2;

-- name: read_open_amounts
-- Returns what is held for the calls that go on, of some months.
SELECT o.kind, o.owner, r.month, sum(r.amount_usd) AS amount
FROM reservations r, LATERAL (VALUES ('key', r.api_key_id), ('user', r.user_id),
                                     ('platform', '00000000-0000-0000-0000-000000000000')) AS o (kind, owner)
WHERE o.owner IS NOT NULL AND r.amount_usd IS NOT NULL AND r.month >= $1 AND r.month < $2
GROUP BY 1, 2, 3;
