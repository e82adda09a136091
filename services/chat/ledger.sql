-- name: open_calls
-- Writes down calls that are dispatched, and holds what those with budgets can cost; returns those that are refused.
-- Where no budget is held, nobody waits for the disk: what a crash of the server takes along was acknowledged to nobody.
WITH fast AS MATERIALIZED (
    SELECT set_config('synchronous_commit', CASE cardinality($11::uuid[]) WHEN 0 THEN 'off' ELSE 'on' END, true)
), refused AS MATERIALIZED (
    SELECT * FROM reserve_budgets($11::uuid[], $12::date[], $13::uuid[], $14::uuid[], $15::numeric[], $16::numeric[],
                                  $17::numeric[], $18::numeric[])
), opened AS (
    INSERT INTO reservations (id, lease_until, user_id, api_key_id, request_id, operation, provider, model, is_stream,
                              month, amount_usd, created_at)
    SELECT c.*
    FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[],
                $9::bool[], $10::date[], $19::numeric[], $20::timestamptz[]) AS c (id), fast
    WHERE NOT EXISTS (SELECT FROM refused WHERE refused_id = c.id)
    -- What was written, and not heard to be, is brought again.
    ON CONFLICT (id) DO NOTHING
)
SELECT * FROM refused;

-- name: take_over_calls
-- Writes down calls that a process left behind, but for those that are booked; their leases are over.
INSERT INTO reservations AS r (id, lease_until, user_id, api_key_id, request_id, operation, provider, model, is_stream,
                               month, created_at)
SELECT c.* FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[],
                       $8::text[], $9::bool[], $10::date[], $11::timestamptz[]) AS c (id)
WHERE NOT EXISTS (SELECT FROM ledger l WHERE l.id = c.id)
ON CONFLICT (id) DO UPDATE SET lease_until = least(r.lease_until, excluded.lease_until);

-- name: hold_more
-- Holds more against the budgets of a call that is open; returns whether it is held, all of it.
WITH call AS MATERIALIZED (
    SELECT id FROM reservations WHERE id = $1 FOR UPDATE
), refused AS MATERIALIZED (
    SELECT r.* FROM call, LATERAL reserve_budgets(ARRAY[call.id], ARRAY[$2::date], ARRAY[$3::uuid], ARRAY[$4::uuid],
                                                  ARRAY[$5::numeric], ARRAY[$6::numeric], ARRAY[$7::numeric],
                                                  ARRAY[$8::numeric]) AS r
), held AS (
    UPDATE reservations SET amount_usd = amount_usd + $5::numeric
    WHERE id IN (SELECT id FROM call) AND NOT EXISTS (SELECT FROM refused)
    RETURNING id
)
SELECT EXISTS (SELECT FROM held) AS is_held;

-- name: settle_calls
-- Books calls, lets go of what was held for them, and stores their conversations and the answers for second requests;
-- returns the conversation of each call. A call that is in the ledger already changes nothing.
WITH call AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[],
                         $8::text[], $9::text[], $10::bool[], $11::bigint[], $12::bigint[], $13::bigint[],
                         $14::bigint[], $15::bigint[], $16::bool[], $17::numeric[], $18::jsonb[], $19::int[],
                         $20::int[], $21::text[], $22::date[])
        AS c (id, created_at, user_id, api_key_id, request_id, operation, state, provider, model, is_stream,
              input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, reasoning_tokens, is_estimate,
              cost_usd, pricing, first_word_ms, total_ms, error, month)
), released AS (
    DELETE FROM reservations r USING call WHERE r.id = call.id
    RETURNING r.id, r.user_id, r.api_key_id, r.month, r.amount_usd
), booked AS (
    INSERT INTO ledger AS l (id, created_at, user_id, api_key_id, request_id, operation, state, provider, model,
                             is_stream, input_tokens, output_tokens, cached_input_tokens, cache_write_tokens,
                             reasoning_tokens, is_estimate, cost_usd, reserved_usd, pricing, first_word_ms, total_ms,
                             error)
    SELECT c.id, c.created_at, c.user_id, c.api_key_id, c.request_id, c.operation, c.state, c.provider, c.model,
           c.is_stream, c.input_tokens, c.output_tokens, c.cached_input_tokens, c.cache_write_tokens,
           c.reasoning_tokens, c.is_estimate, c.cost_usd, r.amount_usd, c.pricing, c.first_word_ms, c.total_ms, c.error
    FROM call c LEFT JOIN released r ON r.id = c.id
    -- What was given up as interrupted may come home after all.
    ON CONFLICT (id) DO UPDATE SET
        state = excluded.state, input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens,
        cached_input_tokens = excluded.cached_input_tokens, cache_write_tokens = excluded.cache_write_tokens,
        reasoning_tokens = excluded.reasoning_tokens, is_estimate = excluded.is_estimate, cost_usd = excluded.cost_usd,
        pricing = excluded.pricing, first_word_ms = excluded.first_word_ms, total_ms = excluded.total_ms,
        error = excluded.error, provider = excluded.provider, model = excluded.model
    WHERE l.state = 'interrupted'
    RETURNING l.id, l.user_id, l.api_key_id, l.cost_usd
), change AS (
    SELECT o.kind, o.owner, m.month, sum(m.spent) AS spent, sum(m.reserved) AS reserved
    FROM (SELECT user_id, api_key_id, month, 0 AS spent, -amount_usd AS reserved FROM released
          WHERE amount_usd IS NOT NULL
          UNION ALL
          SELECT b.user_id, b.api_key_id, c.month, b.cost_usd, 0 FROM booked b JOIN call c ON c.id = b.id
          WHERE b.cost_usd > 0) AS m,
         LATERAL (VALUES ('key', m.api_key_id), ('platform', '00000000-0000-0000-0000-000000000000'),
                         ('user', m.user_id)) AS o (kind, owner)
    WHERE o.owner IS NOT NULL
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
), balanced AS (
    INSERT INTO budget_balances AS b (kind, owner, month, spent_usd, reserved_usd)
    SELECT kind, owner, month, spent, reserved FROM change
    ON CONFLICT (kind, owner, month) DO UPDATE SET
        spent_usd = b.spent_usd + excluded.spent_usd, reserved_usd = b.reserved_usd + excluded.reserved_usd
), exchange AS MATERIALIZED (
    SELECT e.* FROM unnest($23::uuid[], $24::uuid[], $25::text[], $26::uuid[])
        AS e (call_id, user_id, place, conversation_id)
    JOIN booked ON booked.id = e.call_id
), defaults AS (
    INSERT INTO conversations (id, user_id, origin)
    SELECT DISTINCT ON (user_id) conversation_id, user_id, 'default' FROM exchange WHERE place = 'default'
    ORDER BY user_id
    ON CONFLICT (user_id) WHERE origin = 'default' DO UPDATE SET updated_at = now()
    RETURNING id, user_id
), made AS (
    INSERT INTO conversations (id, user_id, origin)
    SELECT conversation_id, user_id, place FROM exchange WHERE place IN ('native', 'completion')
), used AS (
    UPDATE conversations SET updated_at = now() FROM exchange e
    WHERE e.place = 'known' AND conversations.id = e.conversation_id AND conversations.user_id = e.user_id
    RETURNING conversations.id
), placed AS MATERIALIZED (
    SELECT e.call_id, e.place, CASE e.place WHEN 'default' THEN d.id ELSE e.conversation_id END AS id
    FROM exchange e
    LEFT JOIN defaults d ON e.place = 'default' AND d.user_id = e.user_id
    WHERE e.place <> 'known' OR e.conversation_id IN (SELECT id FROM used)
), added AS (
    INSERT INTO chat_messages (conversation_id, role, content, tool_calls, provider, model, input_tokens, output_tokens,
                               finish_reason, is_complete, request_id, is_searchable)
    SELECT p.id, m.role, m.content, m.tool_calls, m.provider, m.model, m.input_tokens, m.output_tokens, m.finish_reason,
           m.is_complete, c.request_id, p.place <> 'completion'
    FROM unnest($27::uuid[], $28::text[], $29::text[], $30::jsonb[], $31::text[], $32::text[], $33::int[], $34::int[],
                $35::text[], $36::bool[]) WITH ORDINALITY
         AS m (call_id, role, content, tool_calls, provider, model, input_tokens, output_tokens, finish_reason,
               is_complete, n)
    JOIN placed p ON p.call_id = m.call_id JOIN call c ON c.id = m.call_id
    ORDER BY m.n
), answered AS (
    UPDATE idempotency_records i SET answer = a.answer
    FROM unnest($37::uuid[], $38::bytea[]) AS a (call_id, answer)
    JOIN booked ON booked.id = a.call_id
    WHERE i.call_id = a.call_id
), kept AS (
    INSERT INTO kept_ids AS i (provider, id, user_id)
    SELECT DISTINCT ON (c.provider, k.id) c.provider, k.id, c.user_id
    FROM unnest($39::uuid[], $40::text[]) WITH ORDINALITY AS k (call_id, id, n)
    JOIN booked ON booked.id = k.call_id JOIN call c ON c.id = k.call_id
    -- In order, so that no two statements wait for each other. Whoever was told an id first is its owner.
    ORDER BY 1, 2, k.n
    ON CONFLICT (provider, id) DO UPDATE SET created_at = now()
    WHERE i.user_id = excluded.user_id AND i.created_at < now() - interval '1 day'
)
SELECT call_id, id FROM placed;

-- name: settle_alone
-- What settle_calls does, for one call without a budget that begins a conversation of its own, and nothing beside it: in
-- less than half of the time. Returns the call's id; where the call is in the ledger already, changes and returns nothing.
WITH booked AS (
    INSERT INTO ledger (id, created_at, user_id, api_key_id, request_id, operation, state, provider, model, is_stream,
                        input_tokens, output_tokens, cached_input_tokens, cache_write_tokens, reasoning_tokens,
                        is_estimate, cost_usd, pricing, first_word_ms, total_ms, error)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
    ON CONFLICT (id) DO NOTHING
    RETURNING id, user_id, api_key_id, cost_usd, request_id
), released AS (
    DELETE FROM reservations r USING booked WHERE r.id = booked.id
), balanced AS (
    INSERT INTO budget_balances AS b (kind, owner, month, spent_usd)
    SELECT o.kind, o.owner, $22, booked.cost_usd
    FROM booked, LATERAL (VALUES ('key', api_key_id), ('platform', '00000000-0000-0000-0000-000000000000'),
                                 ('user', user_id)) AS o (kind, owner)
    WHERE booked.cost_usd > 0 AND o.owner IS NOT NULL ORDER BY o.kind
    ON CONFLICT (kind, owner, month) DO UPDATE SET spent_usd = b.spent_usd + excluded.spent_usd
), made AS (
    INSERT INTO conversations (id, user_id, origin) SELECT id, user_id, $23::text FROM booked
), added AS (
    INSERT INTO chat_messages (conversation_id, role, content, tool_calls, provider, model, input_tokens, output_tokens,
                               finish_reason, is_complete, request_id, is_searchable)
    SELECT booked.id, m.role, m.content, m.tool_calls, m.provider, m.model, m.input_tokens, m.output_tokens,
           m.finish_reason, m.is_complete, booked.request_id, $23 <> 'completion'
    FROM booked, unnest($24::text[], $25::text[], $26::jsonb[], $27::text[], $28::text[], $29::int[], $30::int[],
                        $31::text[], $32::bool[]) WITH ORDINALITY
         AS m (role, content, tool_calls, provider, model, input_tokens, output_tokens, finish_reason, is_complete, n)
    ORDER BY m.n
)
SELECT id FROM booked;

-- name: told_ids
-- Returns which ids of what a provider keeps were told to a user.
SELECT id FROM kept_ids WHERE user_id = $1 AND provider = $2 AND id = ANY ($3::text[]);

-- name: forget_kept_ids
-- Deletes ids that were last told so many days ago; at most so many, the oldest first.
DELETE FROM kept_ids WHERE (provider, id) IN (
    SELECT provider, id FROM kept_ids WHERE created_at < now() - make_interval(days => $1)
    ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED);

-- name: interrupt_calls
-- Books calls whose lease is over as interrupted, and lets go of what was held for them, and of their idempotency keys;
-- returns how many. Those that go on in the background need no process: they are looked after until they are over.
WITH released AS (
    DELETE FROM reservations WHERE id IN (
        SELECT id FROM reservations r
        WHERE lease_until < now() AND NOT EXISTS (SELECT FROM background_calls b WHERE b.call_id = r.id)
        ORDER BY lease_until LIMIT 1000 FOR UPDATE SKIP LOCKED)
    RETURNING *
), booked AS (
    INSERT INTO ledger (id, created_at, user_id, api_key_id, request_id, operation, state, provider, model, is_stream,
                        reserved_usd, error)
    SELECT id, created_at, user_id, api_key_id, request_id, operation, 'interrupted', provider, model, is_stream,
           amount_usd, 'INTERRUPTED'
    FROM released
    ON CONFLICT (id) DO NOTHING
), change AS (
    SELECT o.kind, o.owner, r.month, sum(r.amount_usd) AS amount
    FROM released r, LATERAL (VALUES ('key', r.api_key_id), ('platform', '00000000-0000-0000-0000-000000000000'),
                                     ('user', r.user_id)) AS o (kind, owner)
    WHERE o.owner IS NOT NULL AND r.amount_usd IS NOT NULL
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
), balanced AS (
    -- As settle_calls does, so that its order of locks is kept.
    INSERT INTO budget_balances AS b (kind, owner, month, reserved_usd)
    SELECT kind, owner, month, -amount FROM change
    ON CONFLICT (kind, owner, month) DO UPDATE SET reserved_usd = b.reserved_usd + excluded.reserved_usd
), given_back AS (
    DELETE FROM idempotency_records i USING released r WHERE i.call_id = r.id AND i.answer IS NULL
)
SELECT count(*) AS count FROM released;
