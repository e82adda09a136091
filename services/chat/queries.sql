-- name: load_default_conversation
-- Returns a user's default conversation with its newest messages, and the persona's prompt; always one row.
WITH recent AS (
    SELECT m.position, m.role, m.content, sum(length(m.content)) OVER (ORDER BY m.position DESC) AS characters
    FROM (SELECT position, role, content FROM chat_messages
          WHERE conversation_id = (SELECT id FROM conversations WHERE user_id = $1 AND origin = 'default')
          ORDER BY position DESC LIMIT $4) m
)
SELECT (SELECT id FROM conversations WHERE user_id = $1 AND origin = 'default') AS id,
       (SELECT system_prompt FROM personas
        WHERE user_id = $1 AND is_active AND (id = $2 OR ($2 = 'default' AND is_current))
        ORDER BY is_current DESC LIMIT 1) AS system_prompt,
       coalesce((SELECT array_agg(role ORDER BY position) FROM recent WHERE characters <= $3), '{}') AS roles,
       coalesce((SELECT array_agg(content ORDER BY position) FROM recent WHERE characters <= $3), '{}') AS contents;

-- name: load_conversation
-- Returns one of a user's conversations with its newest messages, and the persona's prompt; no row for none.
WITH recent AS (
    SELECT m.position, m.role, m.content, sum(length(m.content)) OVER (ORDER BY m.position DESC) AS characters
    FROM (SELECT position, role, content FROM chat_messages WHERE conversation_id = $5
          ORDER BY position DESC LIMIT $4) m
)
SELECT c.id,
       (SELECT system_prompt FROM personas
        WHERE user_id = $1 AND is_active AND (id = $2 OR ($2 = 'default' AND is_current))
        ORDER BY is_current DESC LIMIT 1) AS system_prompt,
       coalesce((SELECT array_agg(role ORDER BY position) FROM recent WHERE characters <= $3), '{}') AS roles,
       coalesce((SELECT array_agg(content ORDER BY position) FROM recent WHERE characters <= $3), '{}') AS contents
FROM conversations c WHERE c.id = $5 AND c.user_id = $1 AND c.origin <> 'completion';

-- name: add_to_default_conversation
-- Adds messages to a user's default conversation, made when need be. Its row is locked first, so that concurrent calls
-- keep their messages together.
WITH conversation AS (
    INSERT INTO conversations (user_id, origin) VALUES ($1, 'default')
    ON CONFLICT (user_id) WHERE origin = 'default' DO UPDATE SET updated_at = now()
    RETURNING id
), added AS (
    INSERT INTO chat_messages (conversation_id, role, content, tool_calls, provider, model, input_tokens, output_tokens,
                               finish_reason, is_complete, request_id)
    SELECT conversation.id, m.role, m.content, m.tool_calls, m.provider, m.model, m.input_tokens, m.output_tokens,
           m.finish_reason, m.is_complete, $2
    FROM conversation, unnest($3::text[], $4::text[], $5::jsonb[], $6::text[], $7::text[], $8::int[], $9::int[],
                              $10::text[], $11::bool[]) WITH ORDINALITY
         AS m (role, content, tool_calls, provider, model, input_tokens, output_tokens, finish_reason, is_complete, n)
    ORDER BY m.n
)
SELECT id FROM conversation;

-- name: add_to_conversation
-- Adds messages to one of a user's conversations; no row where it is not there any more.
WITH conversation AS (
    UPDATE conversations SET updated_at = now() WHERE id = $12 AND user_id = $1 RETURNING id
), added AS (
    INSERT INTO chat_messages (conversation_id, role, content, tool_calls, provider, model, input_tokens, output_tokens,
                               finish_reason, is_complete, request_id)
    SELECT conversation.id, m.role, m.content, m.tool_calls, m.provider, m.model, m.input_tokens, m.output_tokens,
           m.finish_reason, m.is_complete, $2
    FROM conversation, unnest($3::text[], $4::text[], $5::jsonb[], $6::text[], $7::text[], $8::int[], $9::int[],
                              $10::text[], $11::bool[]) WITH ORDINALITY
         AS m (role, content, tool_calls, provider, model, input_tokens, output_tokens, finish_reason, is_complete, n)
    ORDER BY m.n
)
SELECT id FROM conversation;

-- name: add_to_new_conversation
-- Begins a conversation with its first messages.
WITH conversation AS (
    INSERT INTO conversations (user_id) VALUES ($1) RETURNING id
), added AS (
    INSERT INTO chat_messages (conversation_id, role, content, tool_calls, provider, model, input_tokens, output_tokens,
                               finish_reason, is_complete, request_id)
    SELECT conversation.id, m.role, m.content, m.tool_calls, m.provider, m.model, m.input_tokens, m.output_tokens,
           m.finish_reason, m.is_complete, $2
    FROM conversation, unnest($3::text[], $4::text[], $5::jsonb[], $6::text[], $7::text[], $8::int[], $9::int[],
                              $10::text[], $11::bool[]) WITH ORDINALITY
         AS m (role, content, tool_calls, provider, model, input_tokens, output_tokens, finish_reason, is_complete, n)
    ORDER BY m.n
)
SELECT id FROM conversation;

-- name: add_completion
-- Stores a stateless call as a conversation of its own.
WITH conversation AS (
    INSERT INTO conversations (user_id, origin) VALUES ($1, 'completion') RETURNING id
), added AS (
    INSERT INTO chat_messages (conversation_id, role, content, tool_calls, provider, model, input_tokens, output_tokens,
                               finish_reason, is_complete, request_id, is_searchable)
    SELECT conversation.id, m.role, m.content, m.tool_calls, m.provider, m.model, m.input_tokens, m.output_tokens,
           m.finish_reason, m.is_complete, $2, false
    FROM conversation, unnest($3::text[], $4::text[], $5::jsonb[], $6::text[], $7::text[], $8::int[], $9::int[],
                              $10::text[], $11::bool[]) WITH ORDINALITY
         AS m (role, content, tool_calls, provider, model, input_tokens, output_tokens, finish_reason, is_complete, n)
    ORDER BY m.n
)
SELECT id FROM conversation;

-- name: count_default_messages
-- Counts the messages of a user's default conversation.
SELECT count(*) AS count FROM chat_messages
WHERE conversation_id = (SELECT id FROM conversations WHERE user_id = $1 AND origin = 'default');

-- name: clear_default_messages
-- Deletes the messages of a user's default conversation.
DELETE FROM chat_messages
WHERE conversation_id = (SELECT id FROM conversations WHERE user_id = $1 AND origin = 'default');
