-- name: find_credential
-- Returns a key by the SHA-256 of its secret, or of the one before its last rotation, with its user and the number of
-- the newest revocation in the same snapshot. Without such a key it is a row of nulls, so that the answer takes as long.
SELECT k.id AS api_key_id, k.user_id, u.email, k.key_hash, k.previous_hash, k.previous_expires_at, k.permissions,
       k.is_active AS key_is_active, u.is_active AS user_is_active, k.expires_at,
       u.monthly_budget_usd AS user_monthly_budget_usd, r.sequence AS revocation_sequence
FROM (SELECT coalesce(max(sequence), 0) AS sequence FROM revocations) r
LEFT JOIN api_keys k ON k.key_hash = $1 OR k.previous_hash = $1
LEFT JOIN users u ON u.id = k.user_id;

-- name: find_credential_by_id
-- Returns a key by its id, with the same columns as find_credential.
SELECT k.id AS api_key_id, k.user_id, u.email, k.key_hash, k.previous_hash, k.previous_expires_at, k.permissions,
       k.is_active AS key_is_active, u.is_active AS user_is_active, k.expires_at,
       u.monthly_budget_usd AS user_monthly_budget_usd,
       (SELECT coalesce(max(sequence), 0) FROM revocations) AS revocation_sequence
FROM api_keys k JOIN users u ON u.id = k.user_id
WHERE k.id = $1;

-- name: create_user
-- Stores a user.
INSERT INTO users (email, name) VALUES ($1, $2)
RETURNING id, email, name, is_active, monthly_budget_usd, created_at, updated_at;

-- name: get_user
-- Returns a user by id.
SELECT id, email, name, is_active, monthly_budget_usd, created_at, updated_at FROM users WHERE id = $1;

-- name: find_user_by_email
-- Returns a user by email address, without regard to case.
SELECT id, email, name, is_active, monthly_budget_usd, created_at, updated_at FROM users WHERE lower(email) = lower($1);

-- name: find_account_by_email
-- Returns a user by email address, without regard to case, with the number of the newest revocation.
SELECT id, email, is_active, monthly_budget_usd,
       (SELECT coalesce(max(sequence), 0) FROM revocations) AS revocation_sequence
FROM users WHERE lower(email) = lower($1);

-- name: find_account_by_id
-- Returns a user by id, with the number of the newest revocation.
SELECT id, email, is_active, monthly_budget_usd,
       (SELECT coalesce(max(sequence), 0) FROM revocations) AS revocation_sequence
FROM users WHERE id = $1;

-- name: list_users
-- Returns a page of users, the newest first.
SELECT id, email, name, is_active, monthly_budget_usd, created_at, updated_at FROM users
WHERE (created_at, id) < ($1, $2) ORDER BY created_at DESC, id DESC LIMIT $3;

-- name: update_user
-- Changes those fields of a user whose argument is not null; $5 takes the budget away.
UPDATE users
SET name = coalesce($2, name),
    is_active = coalesce($3, is_active),
    monthly_budget_usd = CASE WHEN $5 THEN NULL ELSE coalesce($4, monthly_budget_usd) END,
    updated_at = now()
WHERE id = $1
RETURNING id, email, name, is_active, monthly_budget_usd, created_at, updated_at;

-- name: revoke_keys_of_user
-- Makes all keys of a user inactive.
UPDATE api_keys SET is_active = false, updated_at = now() WHERE user_id = $1 AND is_active;

-- name: create_key
-- Stores a key.
INSERT INTO api_keys (user_id, name, key_hash, prefix, last_four, permissions, expires_at, created_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
RETURNING id, user_id, name, prefix, last_four, permissions, is_active, expires_at, previous_expires_at, last_used_at,
          created_at, updated_at;

-- name: get_key
-- Returns a key by id.
SELECT id, user_id, name, prefix, last_four, permissions, is_active, expires_at, previous_expires_at, last_used_at,
       created_at, updated_at
FROM api_keys WHERE id = $1;

-- name: list_keys
-- Returns a page of a user's keys, the newest first.
SELECT id, user_id, name, prefix, last_four, permissions, is_active, expires_at, previous_expires_at, last_used_at,
       created_at, updated_at
FROM api_keys WHERE user_id = $1 AND (created_at, id) < ($2, $3) ORDER BY created_at DESC, id DESC LIMIT $4;

-- name: find_active_key_by_name
-- Returns the id of a user's key of this name that works now.
SELECT id FROM api_keys
WHERE user_id = $1 AND name = $2 AND is_active AND (expires_at IS NULL OR expires_at > now()) LIMIT 1;

-- name: find_users_by_email
-- Returns the users with these email addresses, which are given and returned in lower case.
SELECT id, lower(email) AS email FROM users WHERE lower(email) = ANY($1::text[]);

-- name: find_key_hashes
-- Returns those of these hashes that belong to a key, by its secret of now or the one before.
SELECT key_hash FROM api_keys WHERE key_hash = ANY($1::text[])
UNION SELECT previous_hash FROM api_keys WHERE previous_hash = ANY($1::text[]);

-- name: import_key
-- Stores a key of another platform.
INSERT INTO api_keys (id, user_id, name, key_hash, prefix, last_four, permissions, is_active, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: update_key
-- Changes those fields of a key whose argument is not null; $6 takes the end away. Permissions replace those of old, in
-- whatever form they were stored.
UPDATE api_keys
SET name = coalesce($2, name),
    permissions = coalesce($3, permissions),
    is_active = coalesce($4, is_active),
    expires_at = CASE WHEN $6 THEN NULL ELSE coalesce($5, expires_at) END,
    updated_at = now()
WHERE id = $1
RETURNING id, user_id, name, prefix, last_four, permissions, is_active, expires_at, previous_expires_at, last_used_at,
          created_at, updated_at;

-- name: delete_key
-- Deletes a key; the trigger announces its end like a revocation.
DELETE FROM api_keys WHERE id = $1 RETURNING id;

-- name: rotate_key
-- Gives a working key another secret; the one of now works until $5, or not at all when that is null.
UPDATE api_keys
SET previous_hash = CASE WHEN $5::timestamptz IS NULL THEN NULL ELSE key_hash END,
    previous_expires_at = $5,
    key_hash = $2, prefix = $3, last_four = $4,
    updated_at = now()
WHERE id = $1 AND is_active AND (expires_at IS NULL OR expires_at > now())
RETURNING id, user_id, name, prefix, last_four, permissions, is_active, expires_at, previous_expires_at, last_used_at,
          created_at, updated_at;

-- name: lock_keys
-- Locks keys in the order of their ids, so that two processes that write at once cannot wait for each other for ever.
SELECT id FROM api_keys WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE;

-- name: touch_keys
-- Notes when keys were last used, unless something later is noted.
UPDATE api_keys k SET last_used_at = used.moment
FROM unnest($1::uuid[], $2::timestamptz[]) AS used (id, moment)
WHERE k.id = used.id AND (k.last_used_at IS NULL OR k.last_used_at < used.moment);

-- name: latest_revocations
-- Returns the newest revocations, the newest first.
SELECT sequence, api_key_id, user_id FROM revocations ORDER BY sequence DESC LIMIT $1;

-- name: revocations_after
-- Returns the revocations after a number, in order.
SELECT sequence, api_key_id, user_id FROM revocations WHERE sequence > $1 ORDER BY sequence LIMIT $2;

-- name: forget_old_revocations
-- Deletes revocations that no identity can outlive. The newest one stays: it holds the number.
DELETE FROM revocations
WHERE created_at < now() - interval '1 day' AND sequence < (SELECT max(sequence) FROM revocations);

-- name: add_audit_event
-- Adds an entry to the audit trail.
INSERT INTO audit_events (action, result, actor_user_id, actor_key_id, target_type, target_id, request_id, address, details)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: list_audit_events
-- Returns a page of the audit trail, the newest first; conditions on columns are put in where the comment stands.
SELECT id, created_at, action, result, actor_user_id, actor_key_id, target_type, target_id, request_id, address, details
FROM audit_events
WHERE (created_at, id) < ($1, $2)/* conditions */
ORDER BY created_at DESC, id DESC LIMIT $3;
