-- name: list_personas
-- Returns a user's personas with how many there are, the newest first; deleted ones only where $2 is false.
SELECT id, name, description, system_prompt, personality_traits, capabilities, is_active, created_at, updated_at,
       count(*) OVER () AS total
FROM personas WHERE user_id = $1 AND (is_active OR NOT $2)
ORDER BY created_at DESC, id LIMIT $3;

-- name: get_persona
-- Returns one of a user's personas.
SELECT id, name, description, system_prompt, personality_traits, capabilities, is_active, created_at, updated_at
FROM personas WHERE user_id = $1 AND id = $2;

-- name: get_current_persona
-- Returns the persona that a user has set, else the stored default one; no row for neither.
SELECT id, name, description, system_prompt, personality_traits, capabilities, is_active, created_at, updated_at
FROM personas WHERE user_id = $1 AND is_active AND (is_current OR id = 'default')
ORDER BY is_current DESC LIMIT 1;

-- name: create_persona
-- Stores a persona; no row where the user has $8 active ones.
INSERT INTO personas (user_id, id, name, description, system_prompt, personality_traits, capabilities)
SELECT $1::uuid, $2, $3, $4, $5, $6::jsonb, $7::jsonb
WHERE (SELECT count(*) FROM personas WHERE user_id = $1 AND is_active) < $8
RETURNING id, name, description, system_prompt, personality_traits, capabilities, is_active, created_at, updated_at;

-- name: update_persona
-- Changes what is not null of one of a user's personas. A deleted one is nobody's current one, and becomes active again
-- only beside less than $9 others.
UPDATE personas
SET name = coalesce($3, name), description = coalesce($4, description), system_prompt = coalesce($5, system_prompt),
    personality_traits = coalesce($6, personality_traits), capabilities = coalesce($7, capabilities),
    is_active = coalesce($8, is_active), is_current = is_current AND coalesce($8, is_active), updated_at = now()
WHERE user_id = $1 AND id = $2
      AND (is_active OR NOT coalesce($8, false)
           OR (SELECT count(*) FROM personas WHERE user_id = $1 AND is_active) < $9)
RETURNING id, name, description, system_prompt, personality_traits, capabilities, is_active, created_at, updated_at;

-- name: restore_default_persona
-- Stores the default persona where there is none, and makes it active.
INSERT INTO personas (user_id, id, name, description, system_prompt) VALUES ($1, 'default', $2, $3, $4)
ON CONFLICT (user_id, id) DO UPDATE SET is_active = true
RETURNING id, name, description, system_prompt, personality_traits, capabilities, is_active, created_at, updated_at;

-- name: lock_personas
-- Lets one caller at a time choose a user's current persona.
SELECT id FROM personas WHERE user_id = $1 ORDER BY id FOR UPDATE;

-- name: unset_current_persona
-- Leaves a user without a chosen persona.
UPDATE personas SET is_current = false WHERE user_id = $1 AND is_current;

-- name: set_current_persona
-- Chooses one of a user's active personas.
UPDATE personas SET is_current = true WHERE user_id = $1 AND id = $2 AND is_active
RETURNING id, name, description, system_prompt, personality_traits, capabilities, is_active, created_at, updated_at;
