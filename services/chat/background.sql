-- name: begin_background_call
-- Writes down that a call goes on at its provider, that its user was told the response's id, and the answer for a second
-- request; what is held for the call is held until it is over.
WITH extended AS (
    UPDATE reservations SET lease_until = $17::timestamptz WHERE id = $1 AND $10::numeric IS NOT NULL
), opened AS (
    -- Where no budget holds it, the call may stand in a journal only, so far.
    INSERT INTO reservations (id, created_at, lease_until, user_id, api_key_id, request_id, operation, provider, model,
                              is_stream, month)
    SELECT $1::uuid, $2::timestamptz, $17::timestamptz, $3::uuid, $4::uuid, $5::text, $6::text, $7::text, $8::text,
           $9::bool, $18::date
    WHERE $10::numeric IS NULL AND NOT EXISTS (SELECT FROM ledger WHERE id = $1)
    ON CONFLICT (id) DO UPDATE SET lease_until = excluded.lease_until
), kept AS (
    INSERT INTO kept_ids (provider, id, user_id) VALUES ($7::text, $11::text, $3) ON CONFLICT DO NOTHING
), answered AS (
    UPDATE idempotency_records SET answer = $19::bytea WHERE call_id = $1 AND answer IS NULL AND $19::bytea IS NOT NULL
)
INSERT INTO background_calls (call_id, created_at, user_id, api_key_id, request_id, operation, provider, model, is_stream,
                              amount_usd, response_id, endpoint, terms, said, next_look, deadline,
                              keeps_content)
VALUES ($1, $2, $3, $4, $5::text, $6::text, $7::text, $8::text, $9, $10, $11::text, $12, $13::jsonb, $14::jsonb, $15, $16, $20)
ON CONFLICT (call_id) DO NOTHING;

-- name: due_background_calls
-- Returns calls that are to be looked after, the longest due first, and leaves them to the caller for some seconds.
UPDATE background_calls SET next_look = now() + $2::interval, looks = looks + 1
WHERE call_id IN (
    SELECT call_id FROM background_calls WHERE next_look <= now() ORDER BY next_look LIMIT $1 FOR UPDATE SKIP LOCKED)
RETURNING *;

-- name: find_background_call
-- Returns which provider told a user a response's id, and what is known of the call while it goes on.
SELECT k.provider AS told_by, b.*
FROM kept_ids k
LEFT JOIN background_calls b ON b.response_id = k.id AND b.provider = k.provider AND b.user_id = k.user_id
WHERE k.provider = ANY ($3::text[]) AND k.id = $2 AND k.user_id = $1
LIMIT 1;

-- name: look_again
-- Writes down when a call is looked after the next time, and how often in a row its provider knew nothing of it.
UPDATE background_calls SET next_look = now() + $2::interval, misses = $3 WHERE call_id = $1;

-- name: end_background_call
-- Forgets a call that is in the ledger.
DELETE FROM background_calls WHERE call_id = $1;
