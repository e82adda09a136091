-- name: load_default_conversation
-- Returns a user's default conversation with its newest messages, and the persona's prompt; always one row.
WITH recent AS (
    SELECT m.*, sum(length(m.content)) OVER (ORDER BY m.position DESC) AS characters
    FROM (SELECT position, role, content, input_tokens, output_tokens FROM chat_messages
          WHERE conversation_id = (SELECT id FROM conversations WHERE user_id = $1 AND origin = 'default')
          ORDER BY position DESC LIMIT $4) m
)
SELECT (SELECT id FROM conversations WHERE user_id = $1 AND origin = 'default') AS id,
       (SELECT system_prompt FROM personas
        WHERE user_id = $1 AND is_active AND (id = $2 OR ($2 = 'default' AND is_current))
        ORDER BY is_current DESC LIMIT 1) AS system_prompt,
       coalesce((SELECT array_agg(role ORDER BY position) FROM recent WHERE characters <= $3), '{}') AS roles,
       coalesce((SELECT array_agg(content ORDER BY position) FROM recent WHERE characters <= $3), '{}') AS contents,
       coalesce((SELECT array_agg(input_tokens ORDER BY position) FROM recent WHERE characters <= $3), '{}') AS read,
       coalesce((SELECT array_agg(output_tokens ORDER BY position) FROM recent WHERE characters <= $3), '{}') AS written;

-- name: load_conversation
-- Returns one of a user's conversations with its newest messages, and the persona's prompt; no row for none.
WITH recent AS (
    SELECT m.*, sum(length(m.content)) OVER (ORDER BY m.position DESC) AS characters
    FROM (SELECT position, role, content, input_tokens, output_tokens FROM chat_messages WHERE conversation_id = $5
          ORDER BY position DESC LIMIT $4) m
)
SELECT c.id,
       (SELECT system_prompt FROM personas
        WHERE user_id = $1 AND is_active AND (id = $2 OR ($2 = 'default' AND is_current))
        ORDER BY is_current DESC LIMIT 1) AS system_prompt,
       coalesce((SELECT array_agg(role ORDER BY position) FROM recent WHERE characters <= $3), '{}') AS roles,
       coalesce((SELECT array_agg(content ORDER BY position) FROM recent WHERE characters <= $3), '{}') AS contents,
       coalesce((SELECT array_agg(input_tokens ORDER BY position) FROM recent WHERE characters <= $3), '{}') AS read,
       coalesce((SELECT array_agg(output_tokens ORDER BY position) FROM recent WHERE characters <= $3), '{}') AS written
FROM conversations c WHERE c.id = $5 AND c.user_id = $1;

-- name: count_default_messages
-- Counts the messages of a user's default conversation.
SELECT count(*) AS count FROM chat_messages
WHERE conversation_id = (SELECT id FROM conversations WHERE user_id = $1 AND origin = 'default');

-- name: clear_default_messages
-- Deletes the messages of a user's default conversation.
DELETE FROM chat_messages
WHERE conversation_id = (SELECT id FROM conversations WHERE user_id = $1 AND origin = 'default');
