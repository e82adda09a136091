"""Bad input in every dialect: a clear error in the caller's own words, and nothing is asked, kept or charged."""

import asyncio
from decimal import Decimal
from typing import Any

import grpc
import orjson
import pytest

from tests.integration.chat.conftest import Client, Refusal, refusal
from tests.integration.chat.scripted_provider import ScriptedProvider, claude_message
from tests.integration.chat.test_budgets import limit
from tests.integration.chat.test_ledger import ledger_of, spent_by
from tests.integration.chat.test_response_service import call as response_call

OPENAI, CLAUDE, LOCAL = "gpt-4o", "claude-sonnet-5-5", "local-echo"
DIALECTS = pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
BOTH = pytest.mark.parametrize("model", [OPENAI, CLAUDE])
MANY = 10_000


def begin(client: Client, dialect: str, model: str, messages: list[Any], **more: Any) -> Any:
    """Begins a call in a dialect."""
    body = {"model": model, **more}
    match dialect:
        case "chat":
            return client.completion_call({**body, "messages": messages})
        case "responses":
            return response_call(client, {**body, "input": messages})
        case _:
            return client.message_call({"max_tokens": 500, **body, "messages": messages})


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def picture(dialect: str, url: str) -> dict[str, Any]:
    """A message with a picture by its address."""
    match dialect:
        case "chat":
            return user([{"type": "image_url", "image_url": {"url": url}}])
        case "responses":
            return user([{"type": "input_image", "image_url": url}])
        case _:
            return user([{"type": "image", "source": {"type": "url", "url": url}}])


def tool(dialect: str, schema: Any) -> dict[str, Any]:
    """A tool whose arguments have a schema."""
    match dialect:
        case "chat":
            return {"type": "function", "function": {"name": "f", "parameters": schema}}
        case "responses":
            return {"type": "function", "name": "f", "parameters": schema}
        case _:
            return {"name": "f", "input_schema": schema}


async def refused(client: Client, call: Any, *providers: ScriptedProvider) -> Refusal:
    """Returns how a call was refused that nobody heard of and nobody pays for."""
    error = await refusal(call)
    assert [one for provider in providers for one in provider.requests] == []
    assert await ledger_of(client) == []
    assert await client.messages() == []
    return error


class TestAddresses:
    @DIALECTS
    @pytest.mark.parametrize("model", [OPENAI, CLAUDE, LOCAL])
    async def test_a_picture_in_a_private_network_is_refused_and_never_fetched(
        self,
        client: Client,
        openai_upstream: ScriptedProvider,
        claude_upstream: ScriptedProvider,
        dialect: str,
        model: str,
    ):
        met = asyncio.Event()

        async def meet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            met.set()
            writer.close()

        async with await asyncio.start_server(meet, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            message = picture(dialect, f"http://127.0.0.1:{port}/cat.png")
            error = await refused(client, begin(client, dialect, model, [message]), openai_upstream, claude_upstream)
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert "must be a public address" in error.message
        assert error.message.startswith(("messages[0].content[0]", "input[0].content[0]"))
        assert not met.is_set()

    async def test_documents_and_films_too(self, client: Client, openai_upstream: ScriptedProvider):
        private = "http://10.0.0.5/secret"
        document = user([{"type": "input_file", "file_url": private}])
        film = user([{"type": "video_url", "video_url": {"url": private}}])
        for dialect, message in (("responses", document), ("chat", film)):
            error = await refused(client, begin(client, dialect, OPENAI, [message]), openai_upstream)
            assert "must be a public address" in error.message

    async def test_a_public_one_reaches_the_provider_as_it_is(self, client: Client, openai_upstream: ScriptedProvider):
        openai_upstream.script = lambda exchange: exchange.reply(400, {"error": {"message": "no such picture"}})
        message = picture("chat", "https://pictures.example/cat.png")
        error = await refusal(begin(client, "chat", OPENAI, [message]))
        assert (error.code, len(openai_upstream.requests)) == (grpc.StatusCode.INVALID_ARGUMENT, 1)
        assert openai_upstream.requests[0].body["messages"] == [message]


class TestMessages:
    @DIALECTS
    @BOTH
    @pytest.mark.parametrize(
        ("messages", "says"),
        [
            ([], "at least one"),
            ([{"role": "narrator", "content": "once upon a time"}], ".role: must be one of"),
            ([user([])], "content: must"),
            ([{"role": "user"}], "content: is missing"),
        ],
        ids=["none", "wrong role", "empty content", "no content"],
    )
    async def test_what_is_no_conversation_is_refused_at_its_place(
        self,
        client: Client,
        openai_upstream: ScriptedProvider,
        claude_upstream: ScriptedProvider,
        dialect: str,
        model: str,
        messages: list[Any],
        says: str,
    ):
        call = begin(client, dialect, model, messages)
        error = await refused(client, call, openai_upstream, claude_upstream)
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert says in error.message

    @DIALECTS
    async def test_ten_thousand_messages_are_answered_and_a_faulty_one_of_them_is_found(
        self, client: Client, dialect: str
    ):
        messages: list[Any] = [user(f"m{number}") for number in range(MANY)]
        parts = [part async for part in begin(client, dialect, LOCAL, messages)]
        assert f"m{MANY - 1}" in b"".join(part.data for part in parts).decode()
        messages[7_000] = {"role": "narrator", "content": "x"}
        error = await refusal(begin(client, dialect, LOCAL, messages))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert "[7000].role: must be one of" in error.message
        assert len(await ledger_of(client)) == 1


class TestTools:
    @DIALECTS
    @BOTH
    @pytest.mark.parametrize("schema", [[], "object", 7])
    async def test_a_schema_that_is_none_is_refused_at_its_place(
        self,
        client: Client,
        openai_upstream: ScriptedProvider,
        claude_upstream: ScriptedProvider,
        dialect: str,
        model: str,
        schema: Any,
    ):
        call = begin(client, dialect, model, [user("hi")], tools=[tool(dialect, schema)])
        error = await refused(client, call, openai_upstream, claude_upstream)
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert "tools[0]" in error.message
        assert "object" in error.message

    async def test_one_that_only_the_provider_finds_wrong_costs_nothing(
        self, client: Client, openai_upstream: ScriptedProvider, claude_upstream: ScriptedProvider
    ):
        told = {"error": {"type": "invalid_request_error", "message": "Invalid schema for function 'f'"}}
        openai_upstream.script = claude_upstream.script = lambda exchange: exchange.reply(400, told)
        await limit(client, limits={"monthly_budget_usd": "1"})
        for dialect, model in (("chat", OPENAI), ("responses", OPENAI), ("messages", CLAUDE)):
            schema = {"type": "object", "properties": {"a": {"type": "nonsense"}}}
            limits = {"max_output_tokens" if dialect == "responses" else "max_tokens": 10}
            call = begin(client, dialect, model, [user("hi")], tools=[tool(dialect, schema)], **limits)
            error = await refusal(call)
            assert error.code is grpc.StatusCode.INVALID_ARGUMENT
            assert "Invalid schema for function" in error.message
        assert await spent_by(client) == 0
        assert {row["cost_usd"] for row in await ledger_of(client)} == {Decimal(0)}


class TestSizes:
    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_context_beyond_the_window_is_the_providers_to_refuse_and_costs_nothing(
        self, client: Client, openai_upstream: ScriptedProvider, claude_upstream: ScriptedProvider, stream: bool
    ):
        beyond = {"error": {"code": "context_length_exceeded", "message": "too many tokens: 300000 > 128000"}}
        openai_upstream.script = claude_upstream.script = lambda exchange: exchange.reply(400, beyond)
        for dialect, model in (("chat", OPENAI), ("responses", OPENAI), ("messages", CLAUDE), ("messages", OPENAI)):
            error = await refusal(begin(client, dialect, model, [user("word " * 300_000)], stream=stream))
            assert error.code is grpc.StatusCode.INVALID_ARGUMENT
            assert "too many tokens" in error.message
            assert "context_length_exceeded" in error.trailing
        assert {row["cost_usd"] for row in await ledger_of(client)} == {Decimal(0)}

    @DIALECTS
    async def test_a_budget_does_not_hold_what_nobody_could_pay(
        self, client: Client, openai_upstream: ScriptedProvider, dialect: str
    ):
        await limit(client, limits={"monthly_budget_usd": "1"})
        call = begin(client, dialect, OPENAI, [user("word " * 300_000)])
        error = await refused(client, call, openai_upstream)
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "may cost up to" in error.message

    @DIALECTS
    @BOTH
    async def test_a_budget_of_zero_pays_for_nothing(
        self,
        client: Client,
        openai_upstream: ScriptedProvider,
        claude_upstream: ScriptedProvider,
        dialect: str,
        model: str,
    ):
        await limit(client, limits={"monthly_budget_usd": "0"})
        limits = {"max_tokens": 10} if dialect != "responses" else {"max_output_tokens": 10}
        call = begin(client, dialect, model, [user("hi")], **limits)
        error = await refused(client, call, openai_upstream, claude_upstream)
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "this key's budget of 0 USD" in error.message


async def test_deeply_nested_json_is_refused_before_it_is_walked(client: Client):
    nested = b"[" * 100_000 + b"]" * 100_000
    for begun in (client.completion_call, client.message_call, lambda body: response_call(client, body)):
        error = await refusal(begun(b'{"model":"local-echo","messages":' + nested + b"}"))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert orjson.loads(orjson.dumps(await ledger_of(client))) == []


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"na\nme": 1}, "messages.na?me"),
        ({"näme 中": 1}, "messages.n?me??"),
        ({"x" * 30_000: 1}, "messages." + "x" * 91),
        ({f"k{number:04}": 1 for number in range(3000)}, "messages.k0000, "),
    ],
)
async def test_whatever_an_unknown_field_is_called_it_is_told_in_a_header(
    client: Client, claude_upstream: ScriptedProvider, fields, told
):
    claude_upstream.script = lambda exchange: exchange.reply(200, claude_message([{"type": "text", "text": "hello"}]))
    call = client.completion_call({"model": CLAUDE, "messages": [{**user("hi"), **fields}]})
    left_out = dict(await call.initial_metadata())["gaia-left-out"]
    assert left_out == told if len(fields) == 1 else left_out.startswith(told) and left_out.endswith(", and 2980 more")
    assert [part async for part in call]


async def test_however_long_its_name_an_unknown_field_is_refused_by_it(client: Client):
    for dialect in ("chat", "responses", "messages"):
        model = OPENAI if dialect == "messages" else CLAUDE
        error = await refusal(begin(client, dialect, model, [user("hi")], **{"y" * 30_000: 1}))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert error.message.startswith("y" * 64 + ": ")
