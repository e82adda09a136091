-- name: create_asset
-- Stores an asset.
INSERT INTO assets (id, user_id, category, description, style, source, provider, model, content_type, size_bytes,
                    sha256, storage_path, cost_usd, metadata)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
RETURNING id, user_id, category, description, style, source, provider, model, content_type, size_bytes, sha256,
          storage_path, cost_usd, created_at;

-- name: get_asset
-- Returns an asset by id; a null owner means anybody's.
SELECT id, user_id, category, description, style, source, provider, model, content_type, size_bytes, sha256,
       storage_path, cost_usd, created_at
FROM assets WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2);

-- name: list_assets_of_owner
-- Returns a page of a user's assets, the newest first; an empty category or pattern filters nothing.
SELECT id, user_id, category, description, style, source, provider, model, content_type, size_bytes, sha256,
       storage_path, cost_usd, created_at
FROM assets
WHERE user_id = $1 AND ($2 = '' OR category = $2)
  AND ($3 = '' OR description ILIKE $3 OR style ILIKE $3)
  AND (created_at, id) < ($4, $5)
ORDER BY created_at DESC, id DESC LIMIT $6;

-- name: list_assets
-- Returns a page of everybody's assets, the newest first; an empty category or pattern filters nothing.
SELECT id, user_id, category, description, style, source, provider, model, content_type, size_bytes, sha256,
       storage_path, cost_usd, created_at
FROM assets
WHERE ($1 = '' OR category = $1)
  AND ($2 = '' OR description ILIKE $2 OR style ILIKE $2)
  AND (created_at, id) < ($3, $4)
ORDER BY created_at DESC, id DESC LIMIT $5;

-- name: count_assets_of_owner
-- Counts a user's assets that pass the filters.
SELECT count(*) FROM assets
WHERE user_id = $1 AND ($2 = '' OR category = $2) AND ($3 = '' OR description ILIKE $3 OR style ILIKE $3);

-- name: count_assets
-- Counts everybody's assets that pass the filters.
SELECT count(*) FROM assets
WHERE ($1 = '' OR category = $1) AND ($2 = '' OR description ILIKE $2 OR style ILIKE $2);

-- name: delete_asset
-- Deletes an asset and returns the path of its bytes; a null owner means anybody's.
DELETE FROM assets WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2) RETURNING storage_path;
