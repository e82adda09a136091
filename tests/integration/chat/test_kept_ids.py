"""What a provider keeps for its account is there for the user who was told of it, and for nobody else."""

import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from services.chat.ledger_postgres import PostgresLedger
from shared.db.idempotency import IdempotencyRecords
from shared.db.pool import Database
from shared.rpc.channel import connect
from tests.integration.chat.conftest import Client, refusal
from tests.integration.chat.scripted_provider import (
    Exchange,
    ScriptedProvider,
    claude_message,
    claude_stream,
    openai_completion,
)
from tests.integration.chat.test_ledger import ledger_of
from tests.integration.chat.test_response_service import OPENAI, call, record, respond, stream, streaming
from tests.support.auth import Auth
from tests.support.postgres import PostgresServer

CLAUDE = {"model": "claude-haiku-5-5", "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def stranger(address: str, auth: Auth) -> AsyncIterator[Client]:
    key = await auth.new_key()
    async with connect(address) as channel:
        yield Client(channel, (("x-api-key", key),), auth.owner_url)


def made(*items: Any) -> tuple[str, dict[str, Any]]:
    """Returns a new response of some items, and its id."""
    told = f"resp_{uuid.uuid4().hex}"
    text = {"type": "message", "id": f"msg_{told}", "content": [{"type": "output_text", "text": "hello"}]}
    usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    whole = {"id": told, "object": "response", "status": "completed", "output": [*items, text], "usage": usage}
    return told, whole


async def last_body(client: Client, body: Any, upstream: ScriptedProvider) -> Any:
    """Makes a call, and returns what the provider got."""
    _, whole = made()
    upstream.script = lambda exchange: exchange.reply(200, whole)
    await respond(client, body)
    return upstream.requests[-1].body


class TestResponses:
    async def test_a_user_goes_on_from_an_own_reply_and_a_stranger_is_told_that_there_is_none(
        self, client: Client, stranger: Client, openai_upstream: ScriptedProvider
    ):
        told, whole = made()
        openai_upstream.script = lambda exchange: exchange.reply(200, whole)
        await respond(client, OPENAI)
        follow_up = {**OPENAI, "previous_response_id": told}
        error = await refusal(call(stranger, follow_up))
        assert error.code is grpc.StatusCode.NOT_FOUND
        assert error.message.startswith(f"previous_response_id: there is no {told}")
        assert "PREVIOUS_RESPONSE_NOT_FOUND" in error.trailing
        assert len(openai_upstream.requests) == 1
        assert await ledger_of(stranger) == []
        assert (await last_body(client, follow_up, openai_upstream))["previous_response_id"] == told

    async def test_a_streamed_reply_is_told_by_its_first_event(
        self, client: Client, stranger: Client, openai_upstream: ScriptedProvider
    ):
        told, whole = made()

        async def half(exchange: Exchange) -> None:
            await exchange.begin()
            created = {"type": "response.created", "response": {"id": told, "status": "in_progress"}}
            await exchange.send(record(created))
            await exchange.send(record({"type": "response.output_text.delta", "delta": "half "}))
            exchange.cut()

        openai_upstream.script = half
        await refusal(call(client, {**OPENAI, "stream": True}))
        follow_up = {**OPENAI, "previous_response_id": told}
        assert (await refusal(call(stranger, follow_up))).code is grpc.StatusCode.NOT_FOUND
        assert (await last_body(client, follow_up, openai_upstream))["previous_response_id"] == told
        again, whole = made()
        openai_upstream.script = streaming(record({"type": "response.completed", "response": whole}))
        await stream(client, OPENAI)
        assert await last_body(client, {**OPENAI, "previous_response_id": again}, openai_upstream)

    async def test_whoever_was_told_an_id_first_owns_it(
        self, client: Client, stranger: Client, openai_upstream: ScriptedProvider
    ):
        told, whole = made()
        openai_upstream.script = lambda exchange: exchange.reply(200, whole)
        await respond(client, OPENAI)
        await respond(stranger, OPENAI)
        assert (await refusal(call(stranger, {**OPENAI, "previous_response_id": told}))).code.name == "NOT_FOUND"

    @pytest.mark.parametrize("conversation", ["conv_1", {"id": "conv_1"}])
    async def test_conversations_of_openais_are_nobodys(
        self, client: Client, openai_upstream: ScriptedProvider, conversation
    ):
        error = await refusal(call(client, {**OPENAI, "conversation": conversation}))
        assert (error.code, openai_upstream.requests) == (grpc.StatusCode.NOT_FOUND, [])
        assert "CONVERSATION_NOT_FOUND" in error.trailing

    async def test_items_and_sandboxes_are_owned_like_replies(
        self, client: Client, stranger: Client, openai_upstream: ScriptedProvider
    ):
        drawn = f"ig_{uuid.uuid4().hex}"
        sandbox = f"cntr_{uuid.uuid4().hex}"
        ran = {"type": "code_interpreter_call", "id": f"ci_{sandbox}", "container_id": sandbox}
        told, whole = made({"type": "image_generation_call", "id": drawn}, ran)
        openai_upstream.script = lambda exchange: exchange.reply(200, whole)
        await respond(client, OPENAI)
        said = {"role": "user", "content": "and now?"}
        for name, body in {
            "input[0].id": {**OPENAI, "input": [{"type": "item_reference", "id": f"msg_{told}"}, said]},
            "input[1].id": {**OPENAI, "input": [said, {"type": "image_generation_call", "id": drawn}]},
            "tools[0].container": {**OPENAI, "tools": [{"type": "code_interpreter", "container": sandbox}]},
        }.items():
            error = await refusal(call(stranger, body))
            assert error.code is grpc.StatusCode.NOT_FOUND
            assert error.message.startswith(f"{name}: ")
            assert await last_body(client, body, openai_upstream) == body

    async def test_items_that_say_all_there_is_to_them_are_anybodys(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        items = [
            {"role": "user", "content": "hi"},
            {"type": "reasoning", "id": "rs_elsewhere", "summary": [], "encrypted_content": "x"},
            {"type": "function_call", "id": "fc_elsewhere", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "id": "fco_mine", "call_id": "c", "output": "1"},
        ]
        body = {**OPENAI, "input": items, "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}
        assert await last_body(client, body, openai_upstream) == body


@pytest.fixture
async def ledger(postgres: PostgresServer, database: str) -> AsyncIterator[PostgresLedger]:
    store = Database(postgres.url(database, "gaia_chat"))
    await store.open()
    yield PostgresLedger(store, IdempotencyRecords(store), kept_ids_days=31)
    await store.close()


class TestForgetting:
    async def told(self, client: Client, upstream: ScriptedProvider, sandbox: str, days_ago: int = 0) -> str:
        """Has a user told a reply that ran in a sandbox, so many days ago; returns the reply's id."""
        ran = {"type": "code_interpreter_call", "id": f"ci_{uuid.uuid4().hex}", "container_id": sandbox}
        told, whole = made(ran)
        upstream.script = lambda exchange: exchange.reply(200, whole)
        await respond(client, OPENAI)
        aged = "UPDATE kept_ids SET created_at = created_at - make_interval(days => $1) WHERE id = ANY ($2)"
        await client.rows(aged, days_ago, [told, f"msg_{told}", sandbox])
        return told

    async def test_what_no_provider_keeps_any_more_is_forgotten(
        self, client: Client, openai_upstream: ScriptedProvider, ledger: PostgresLedger
    ):
        old = await self.told(client, openai_upstream, "cntr_old", 32)
        young = await self.told(client, openai_upstream, "cntr_young", 30)
        await ledger.sweep()
        error = await refusal(call(client, {**OPENAI, "previous_response_id": old}))
        assert error.code is grpc.StatusCode.NOT_FOUND
        assert await last_body(client, {**OPENAI, "previous_response_id": young}, openai_upstream)
        assert await client.rows("SELECT 1 FROM kept_ids WHERE id = ANY ($1)", [old, f"msg_{old}", "cntr_old"]) == []

    async def test_a_sandbox_that_is_used_again_is_remembered_from_then_on(
        self, client: Client, stranger: Client, openai_upstream: ScriptedProvider, ledger: PostgresLedger
    ):
        sandbox = f"cntr_{uuid.uuid4().hex}"
        for days in (30, 30):
            await self.told(client, openai_upstream, sandbox, days)
        await ledger.sweep()
        body = {**OPENAI, "tools": [{"type": "code_interpreter", "container": sandbox}]}
        assert await last_body(client, body, openai_upstream) == body
        # Whoever else is told of it does not keep it alive.
        await client.rows("UPDATE kept_ids SET created_at = created_at - interval '2 days' WHERE id = $1", sandbox)
        await self.told(stranger, openai_upstream, sandbox)
        await ledger.sweep()
        assert (await refusal(call(client, body))).code is grpc.StatusCode.NOT_FOUND

    async def test_a_backlog_is_caught_up_with_at_once(self, client: Client, ledger: PostgresLedger):
        await client.rows(
            "INSERT INTO kept_ids (provider, id, user_id, created_at) SELECT 'p', n::text, gen_random_uuid(), "
            "now() - interval '40 days' FROM generate_series(1, 2500) AS n"
        )
        await ledger.sweep()
        assert await client.rows("SELECT 1 FROM kept_ids WHERE provider = 'p'") == []


class TestOtherDialects:
    async def test_a_sandbox_of_claudes_is_its_users(
        self, client: Client, stranger: Client, claude_upstream: ScriptedProvider
    ):
        first, second = f"container_{uuid.uuid4().hex}", f"container_{uuid.uuid4().hex}"
        message = {**claude_message([{"type": "text", "text": "hello"}]), "container": {"id": first}}
        claude_upstream.script = lambda exchange: exchange.reply(200, message)
        assert [part async for part in client.message_call(CLAUDE)]
        *events, last = claude_stream(["hello"])
        events[-1]["delta"]["container"] = {"id": second}

        async def streamed(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.events(*events, last)
            await exchange.end()

        claude_upstream.script = streamed
        assert [part async for part in client.message_call({**CLAUDE, "stream": True})]
        claude_upstream.script = lambda exchange: exchange.reply(200, message)
        for one in (first, {"id": second}):
            error = await refusal(stranger.message_call({**CLAUDE, "container": one}))
            assert error.code is grpc.StatusCode.NOT_FOUND
            assert error.message.startswith("container: ")
            assert [part async for part in client.message_call({**CLAUDE, "container": one})]
        assert [part async for part in client.message_call({**CLAUDE, "container": {"skills": []}})]

    @pytest.mark.parametrize("streams", [False, True])
    async def test_a_conversation_that_anthropic_keeps_is_its_users(
        self, client: Client, stranger: Client, claude_upstream: ScriptedProvider, streams: bool
    ):
        first, second = (f"msg_{uuid.uuid4().hex}" for _ in range(2))

        def answering(told: str, *, streamed: bool) -> Any:
            async def script(exchange: Exchange) -> None:
                if not streamed:
                    await exchange.reply(200, {**claude_message([{"type": "text", "text": "hello"}]), "id": told})
                    return
                events = claude_stream(["hello"])
                events[0]["message"]["id"] = told
                await exchange.begin()
                await exchange.events(*events)
                await exchange.end()

            return script

        begun = {**CLAUDE, "thread": {"type": "create"}, "stream": streams}
        claude_upstream.script = answering(first, streamed=streams)
        assert [part async for part in client.message_call(begun)]
        follow_up = {**CLAUDE, "messages": [], "thread": {"type": "continue", "previous_message_id": first}}
        error = await refusal(stranger.message_call(follow_up))
        assert error.code is grpc.StatusCode.NOT_FOUND
        assert error.message.startswith(f"thread.previous_message_id: there is no {first}")
        assert "thread_not_found" in error.trailing
        assert len(claude_upstream.requests) == 1
        claude_upstream.script = answering(second, streamed=False)
        assert [part async for part in client.message_call(follow_up)]
        assert claude_upstream.requests[-1].body == follow_up
        follow_up["thread"] = {"type": "continue", "previous_message_id": second}
        assert [part async for part in client.message_call(follow_up)]
        assert (await refusal(stranger.message_call(follow_up))).code is grpc.StatusCode.NOT_FOUND

    async def test_what_anthropic_says_of_a_refused_thread_is_told(
        self, client: Client, claude_upstream: ScriptedProvider
    ):
        details = {"error_code": "thread_already_continued"}
        told = {"type": "error", "error": {"type": "invalid_request_error", "message": "no", "details": details}}
        for status in (400, 409):
            claude_upstream.script = lambda exchange, status=status: exchange.reply(status, told)
            error = await refusal(client.message_call({**CLAUDE, "thread": {"type": "create"}}))
            assert error.code is grpc.StatusCode.INVALID_ARGUMENT
            assert "thread_already_continued" in error.trailing

    async def test_sound_of_a_reply_is_its_users(
        self, client: Client, stranger: Client, openai_upstream: ScriptedProvider
    ):
        told = f"audio_{uuid.uuid4().hex}"
        whole = openai_completion("")
        whole["choices"][0]["message"] = {"role": "assistant", "content": None, "audio": {"id": told, "data": ""}}
        openai_upstream.script = lambda exchange: exchange.reply(200, whole)
        question = {"role": "user", "content": "hi"}
        await client.complete({"model": "gpt-4o", "messages": [question]})
        messages = [question, {"role": "assistant", "audio": {"id": told}}, question]
        error = await refusal(stranger.completion_call({"model": "gpt-4o", "messages": messages}))
        assert error.code is grpc.StatusCode.NOT_FOUND
        assert error.message.startswith("messages[1].audio.id: ")
        assert await client.complete({"model": "gpt-4o", "messages": messages})
