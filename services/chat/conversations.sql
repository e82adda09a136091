-- name: create_conversation
-- Begins a conversation.
INSERT INTO conversations (user_id, title) VALUES ($1, $2) RETURNING id, title, created_at, updated_at;

-- name: ensure_default_conversation
-- Returns a user's default conversation, made when need be.
INSERT INTO conversations (user_id, origin) VALUES ($1, 'default')
ON CONFLICT (user_id) WHERE origin = 'default' DO UPDATE SET updated_at = now()
RETURNING id;

-- name: list_conversations
-- Returns a page of a user's conversations with the beginnings of their first question and their newest message.
SELECT c.id, c.title, c.created_at, c.updated_at,
       (SELECT left(m.content, 400) FROM chat_messages m WHERE m.conversation_id = c.id AND m.role = 'user'
        ORDER BY m.position LIMIT 1) AS first_question,
       (SELECT left(m.content, 400) FROM chat_messages m WHERE m.conversation_id = c.id
        ORDER BY m.position DESC LIMIT 1) AS newest
FROM conversations c
WHERE c.user_id = $1 AND c.origin <> 'completion' AND (c.updated_at, c.id) < ($2, $3)
ORDER BY c.updated_at DESC, c.id DESC LIMIT $4;

-- name: search_conversations
-- Returns a page of a user's conversations in which a message or the title has the words.
WITH found AS (
    SELECT m.conversation_id AS id
    FROM chat_messages m JOIN conversations c ON c.id = m.conversation_id
    WHERE c.user_id = $1 AND m.is_searchable
      AND search_words(m.content) @@ websearch_to_tsquery('simple', $5)
    UNION
    SELECT id FROM conversations
    WHERE user_id = $1 AND search_words(title) @@ websearch_to_tsquery('simple', $5)
)
SELECT c.id, c.title, c.created_at, c.updated_at,
       (SELECT left(m.content, 400) FROM chat_messages m WHERE m.conversation_id = c.id AND m.role = 'user'
        ORDER BY m.position LIMIT 1) AS first_question,
       (SELECT left(m.content, 400) FROM chat_messages m WHERE m.conversation_id = c.id
        ORDER BY m.position DESC LIMIT 1) AS newest
FROM conversations c JOIN found USING (id)
WHERE c.origin <> 'completion' AND (c.updated_at, c.id) < ($2, $3)
ORDER BY c.updated_at DESC, c.id DESC LIMIT $4;

-- name: get_conversation
-- Returns one of a user's conversations.
SELECT c.id, c.title, c.created_at, c.updated_at,
       (SELECT left(m.content, 400) FROM chat_messages m WHERE m.conversation_id = c.id AND m.role = 'user'
        ORDER BY m.position LIMIT 1) AS first_question,
       (SELECT left(m.content, 400) FROM chat_messages m WHERE m.conversation_id = c.id
        ORDER BY m.position DESC LIMIT 1) AS newest
FROM conversations c WHERE c.id = $2 AND c.user_id = $1;

-- name: list_messages
-- Returns a conversation's messages after one of them: a row of nulls for no message, no row for no conversation. What
-- comes after $5 characters comes without its content.
SELECT m.id, m.role, CASE WHEN m.before < $5 THEN m.content ELSE '' END AS content, m.before < $5 AS fits,
       m.model, m.provider, m.input_tokens, m.output_tokens, m.created_at, m.is_complete
FROM conversations c
LEFT JOIN LATERAL (
    SELECT n.*, sum(length(n.content)) OVER (ORDER BY n.position) - length(n.content) AS before
    FROM (SELECT id, role, content, model, provider, input_tokens, output_tokens, created_at, is_complete, position
          FROM chat_messages
          WHERE conversation_id = c.id
            AND position > coalesce((SELECT position FROM chat_messages WHERE id = $3 AND conversation_id = c.id), 0)
          ORDER BY position LIMIT $4) n
) m ON true
WHERE c.id = $2 AND c.user_id = $1
ORDER BY m.position;

-- name: rename_conversation
-- Changes the title of one of a user's conversations.
UPDATE conversations SET title = $3, updated_at = now() WHERE id = $2 AND user_id = $1;

-- name: delete_conversation
-- Deletes one of a user's conversations with its messages.
DELETE FROM conversations WHERE id = $2 AND user_id = $1;
