-- name: claim_idempotency_key
-- Claims a key for a call unless an earlier one has it; returns what is kept of that, or a row that says it is new.
WITH claimed AS (
    INSERT INTO idempotency_records AS i (user_id, key, fingerprint, call_id, lease_until) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (user_id, key) DO UPDATE SET
        fingerprint = excluded.fingerprint, call_id = excluded.call_id, lease_until = excluded.lease_until,
        created_at = now(), answer = NULL
    WHERE i.created_at < now() - make_interval(hours => $6) OR (i.answer IS NULL AND i.lease_until < now())
    RETURNING i.fingerprint, i.answer
)
SELECT true AS is_new, fingerprint, answer FROM claimed
UNION ALL
SELECT false, fingerprint, answer FROM idempotency_records
WHERE user_id = $1 AND key = $2 AND NOT EXISTS (SELECT FROM claimed);

-- name: keep_answer
-- Keeps the answer of a call.
UPDATE idempotency_records SET answer = $2 WHERE call_id = $1;

-- name: release_idempotency_key
-- Gives the key of a call back, if no answer is kept for it.
DELETE FROM idempotency_records WHERE call_id = $1 AND answer IS NULL;

-- name: forget_idempotency_keys
-- Deletes what was kept longer than it has to be; at most so many, the oldest first.
DELETE FROM idempotency_records WHERE (user_id, key) IN (
    SELECT user_id, key FROM idempotency_records WHERE created_at < now() - make_interval(hours => $1)
    ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED);
