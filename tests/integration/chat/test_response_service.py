"""OpenAI's responses through the service: passed on to OpenAI, translated for Claude, the local provider and others."""

from dataclasses import replace
from typing import Any

import grpc
import orjson
import pytest
from gaia.chat.v1.response_service_pb2 import CreateResponseRequest
from gaia.chat.v1.response_service_pb2_grpc import ResponseServiceStub
from google.api.httpbody_pb2 import HttpBody
from openai.types.responses import Response

from services.chat.settings import CompatibleEndpoint
from shared.rpc.channel import connect
from tests.integration.chat.conftest import PROVIDER_KEY, Client, Running, outcome, parsed, refusal
from tests.integration.chat.scripted_provider import (
    Exchange,
    ScriptedProvider,
    claude_message,
    claude_stream,
    openai_chunk,
    openai_usage,
)
from tests.integration.chat.test_budgets import limit
from tests.support.auth import Auth

LOCAL = {"model": "local-echo", "input": "hi"}
OPENAI = {"model": "gpt-4o", "input": "hi"}
CLAUDE = {"model": "claude-haiku-5-5", "input": "hi"}
USAGE = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
TEXT = {"type": "message", "id": "msg_up", "content": [{"type": "output_text", "text": "hello"}]}
WHOLE = {"id": "resp_up", "object": "response", "status": "completed", "output": [TEXT], "usage": USAGE}


def call(client: Client, body: Any) -> Any:
    data = body if isinstance(body, bytes) else orjson.dumps(body)
    request = CreateResponseRequest(body=HttpBody(content_type="application/json", data=data))
    return ResponseServiceStub(client.channel).CreateResponse(request, metadata=client.metadata)


async def respond(client: Client, body: Any) -> Any:
    [part] = [part async for part in call(client, body)]
    assert part.content_type == "application/json"
    return orjson.loads(part.data)


def events_in(parts: list[Any]) -> list[Any]:
    records = b"".join(part.data for part in parts).decode().removesuffix("\n\n").split("\n\n")
    events = []
    for one in records:
        name, data = one.split("\n")
        events.append(orjson.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


async def stream(client: Client, body: Any) -> list[Any]:
    parts = [part async for part in call(client, {**body, "stream": True})]
    assert parts[0].content_type == "text/event-stream"
    return events_in(parts)


def record(event: Any) -> bytes:
    return b"event: " + event["type"].encode() + b"\ndata: " + orjson.dumps(event) + b"\n\n"


def streaming(*records: bytes):
    async def script(exchange: Exchange) -> None:
        await exchange.begin()
        for one in records:
            await exchange.send(one)
        await exchange.end()

    return script


class TestTranslated:
    async def test_a_whole_reply_has_openais_shape_and_is_kept(self, client: Client):
        answer = parsed(Response, await respond(client, {**LOCAL, "instructions": "be kind", "metadata": {"a": "b"}}))
        assert answer.status == "completed"
        assert "You said: hi" in answer.output_text
        assert "My instructions are: be kind" in answer.output_text
        assert answer.metadata == {"a": "b"}
        system, question, reply = await client.messages()
        assert (system["role"], question["content"], question["origin"]) == ("system", "hi", "completion")
        assert reply["content"] == answer.output_text
        assert (reply["input_tokens"], reply["output_tokens"]) == (
            answer.usage.input_tokens,
            answer.usage.output_tokens,
        )

    async def test_a_stream_ends_with_the_whole_response_which_is_kept_before(self, client: Client):
        events = await stream(client, LOCAL)
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
        whole = parsed(Response, events[-1]["response"])
        text = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
        assert events[-1]["type"] == "response.completed"
        assert (await client.messages())[1]["content"] == whole.output_text == text

    async def test_a_client_that_forbids_keeping_leaves_the_tokens_only(self, client: Client):
        await respond(client, {**LOCAL, "store": False})
        rows = await client.messages()
        assert [row["content"] for row in rows] == ["", ""]
        assert rows[1]["output_tokens"] > 0

    async def test_claude_is_asked_in_its_own_words_and_calls_come_back(
        self, client: Client, claude_upstream: ScriptedProvider
    ):
        blocks: list[dict[str, Any]] = [
            {"type": "text", "text": "look"},
            {"type": "tool_use", "id": "toolu_2", "name": "weather", "input": {"at": "Ulm"}},
        ]
        claude_upstream.script = lambda exchange: exchange.reply(200, claude_message(blocks, "tool_use"))
        schema = {"type": "object", "properties": {"at": {"type": "string"}}}
        answer = parsed(
            Response,
            await respond(
                client,
                {
                    **CLAUDE,
                    "instructions": "be brief",
                    "input": [
                        {"role": "user", "content": [{"type": "input_text", "text": "weather?"}]},
                        {"type": "function_call", "call_id": "toolu_1", "name": "weather", "arguments": '{"at":"X"}'},
                        {"type": "function_call_output", "call_id": "toolu_1", "output": "rain"},
                        {
                            "role": "user",
                            "content": [{"type": "input_image", "image_url": "data:image/png;base64,QUJD"}],
                        },
                    ],
                    "tools": [{"type": "function", "name": "weather", "parameters": schema, "strict": None}],
                    "tool_choice": "required",
                    "parallel_tool_calls": False,
                    "reasoning": {"effort": "high"},
                    "text": {"format": {"type": "json_schema", "name": "s", "schema": schema}},
                    "max_output_tokens": 99,
                    "safety_identifier": "u1",
                },
            ),
        )
        message, made = answer.output
        assert message.content[0].text == "look"
        assert (made.call_id, made.name, made.arguments) == ("toolu_2", "weather", '{"at":"Ulm"}')
        assert (answer.usage.input_tokens, answer.usage.input_tokens_details.cached_tokens) == (7, 2)
        [exchange] = claude_upstream.requests
        sent = exchange.body
        assert sent["system"] == "be brief"
        assert sent["messages"] == [
            {"role": "user", "content": [{"type": "text", "text": "weather?"}]},
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"at": "X"}}],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "rain"}]},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}},
                ],
            },
        ]
        assert sent["tools"] == [{"name": "weather", "input_schema": schema}]
        assert sent["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
        closed = {**schema, "additionalProperties": False}
        assert sent["output_config"] == {"format": {"type": "json_schema", "schema": closed}, "effort": "high"}
        assert (sent["max_tokens"], sent["metadata"]) == (99, {"user_id": "u1"})
        rows = await client.messages()
        assert [row["role"] for row in rows] == ["tool", "user", "assistant"]
        assert "weather" in rows[-1]["tool_calls"]

    async def test_claudes_stream_is_told_in_openais_events(self, client: Client, claude_upstream: ScriptedProvider):
        claude_upstream.script = lambda exchange: _claude(exchange, claude_stream(["Hel", "lo"]))
        events = await stream(client, CLAUDE)
        pieces = [event["delta"] for event in events if event["type"] == "response.output_text.delta"]
        assert "".join(pieces) == "Hello"
        assert events[-1]["response"]["usage"]["total_tokens"] == 16

    async def test_a_reply_that_was_too_long_is_incomplete(self, client: Client, claude_upstream: ScriptedProvider):
        *events, delta, stop = claude_stream(["too long"])
        delta["delta"]["stop_reason"] = "max_tokens"
        claude_upstream.script = lambda exchange: _claude(exchange, [*events, delta, stop])
        last = (await stream(client, CLAUDE))[-1]
        assert last["type"] == "response.incomplete"
        assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}

    async def test_what_is_left_out_is_named(self, client: Client, claude_upstream: ScriptedProvider):
        claude_upstream.script = lambda exchange: exchange.reply(200, claude_message([{"type": "text", "text": "ok"}]))
        made = call(client, {**CLAUDE, "temperature": 0.2, "truncation": "auto"})
        assert dict(await made.initial_metadata())["gaia-left-out"] == "truncation, temperature"
        assert await made.read()

    async def test_what_would_change_the_reply_is_refused_before_claude_is_asked(
        self, client: Client, claude_upstream: ScriptedProvider
    ):
        body = {**CLAUDE, "previous_response_id": "resp_1", "tools": [{"type": "web_search"}], "novelty": 1}
        error = await refusal(call(client, body))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        for name in ("previous_response_id: ", "send the whole input", "tools[0].type: ", "novelty: "):
            assert name in error.message
        assert claude_upstream.requests == []

    async def test_an_error_in_claudes_stream_is_an_event_and_a_status(
        self, client: Client, claude_upstream: ScriptedProvider
    ):
        error_event = {"type": "error", "error": {"type": "overloaded_error", "message": "no"}}
        claude_upstream.script = lambda exchange: _claude(exchange, [*claude_stream(["half "])[:4], error_event])
        parts, error = await outcome(call(client, {**CLAUDE, "stream": True}))
        *before, last = events_in(parts)
        assert error.code is grpc.StatusCode.UNAVAILABLE
        assert (last["type"], last["code"], last["error"]["code"]) == ("error", *["provider_unavailable"] * 2)
        assert last["sequence_number"] == before[-1]["sequence_number"] + 1
        reply = (await client.messages())[-1]
        assert (reply["content"], reply["is_complete"]) == ("half ", False)

    async def test_other_endpoints_of_openais_family_are_asked_for_a_completion(
        self, running_chat: Running, auth: Auth, openai_upstream: ScriptedProvider
    ):
        chunks = [openai_chunk({"content": "hel"}), openai_chunk({"content": "lo"}), openai_chunk({}, "stop")]

        async def script(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.events(*chunks, openai_usage(7, 3), b"[DONE]")
            await exchange.end()

        openai_upstream.script = script
        endpoint = CompatibleEndpoint(id="mine", base_url=openai_upstream.url + "/v1", models=("house-model",))
        async with running_chat(openai_compatible=(endpoint,)) as address, connect(address) as channel:
            client = Client(channel, (("x-api-key", await auth.new_key()),), auth.owner_url)
            events = await stream(client, {"model": "mine/house-model", "input": "hi", "instructions": "be kind"})
        assert events[-1]["response"]["output"][0]["content"][0]["text"] == "hello"
        assert events[-1]["response"]["usage"]["total_tokens"] == 10
        [asked] = openai_upstream.requests
        assert asked.path == "/v1/chat/completions"
        assert asked.body["messages"] == [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": "hi"},
        ]

    async def test_the_same_request_with_its_key_is_told_again(self, client: Client, claude_upstream: ScriptedProvider):
        claude_upstream.script = lambda exchange: _claude(exchange, claude_stream(["Hel", "lo"]))
        keyed = replace(client, metadata=(*client.metadata, ("idempotency-key", "once")))
        first, again = await stream(keyed, CLAUDE), await stream(keyed, CLAUDE)
        assert len(claude_upstream.requests) == 1
        assert again[-1]["response"] == first[-1]["response"]
        assert [event["sequence_number"] for event in again] == list(range(len(again)))


class TestPassedOn:
    async def test_every_field_reaches_openai_known_or_not(self, client: Client, openai_upstream: ScriptedProvider):
        whole = {**WHOLE, "novelty": [1]}
        openai_upstream.script = lambda exchange: exchange.reply(200, whole)
        body = {
            **OPENAI,
            "model": "openai/gpt-4o",
            "tools": [{"type": "web_search"}],
            "brand_new": {"a": [None]},
        }
        assert await respond(client, body) == whole
        [asked] = openai_upstream.requests
        assert asked.body == {**body, "model": "gpt-4o"}
        assert asked.path == "/v1/responses"
        assert asked.headers["authorization"] == f"Bearer {PROVIDER_KEY}"
        question, reply = await client.messages()
        assert (question["content"], reply["content"]) == ("hi", "hello")
        assert (reply["input_tokens"], reply["output_tokens"]) == (7, 3)

    async def test_events_come_byte_for_byte_and_the_last_one_when_the_reply_is_kept(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        records = [
            b'event: response.created\ndata: {"type":"response.created","response":{"status":"in_progress"}}\n\n',
            b"event: response.output_text.delta\n",
            'data: { "delta": "grüße", "type":"response.output_text.delta" }\n\n'.encode(),
            record({"type": "response.from_tomorrow", "novelty": 1}),
            record({"type": "response.completed", "response": WHOLE}),
        ]
        openai_upstream.script = streaming(*records)
        parts = [part async for part in call(client, {**OPENAI, "stream": True})]
        assert b"".join(part.data for part in parts) == b"".join(records)
        assert openai_upstream.requests[0].body == {**OPENAI, "stream": True}
        reply = (await client.messages())[-1]
        assert (reply["content"], reply["is_complete"], reply["output_tokens"]) == ("grüße", True, 3)

    @pytest.mark.parametrize("ending", ["cut", "end", "nonsense", "error", "failed"])
    async def test_a_broken_stream_tells_an_error_and_no_end_and_keeps_what_came(
        self, client: Client, openai_upstream: ScriptedProvider, ending
    ):
        async def script(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.send(record({"type": "response.output_text.delta", "delta": "half "}))
            match ending:
                case "cut":
                    exchange.cut()
                case "end":
                    await exchange.end()
                case "nonsense":
                    await exchange.send(b"event: x\ndata: {nonsense\n\n")
                case "error":
                    await exchange.send(record({"type": "error", "code": "server_error", "message": "no"}))
                case "failed":
                    failed = {"status": "failed", "error": {"code": "server_error", "message": "org-secret1234567"}}
                    await exchange.send(record({"type": "response.failed", "response": failed}))

        openai_upstream.script = script
        parts, error = await outcome(call(client, {**OPENAI, "stream": True}))
        first, last = events_in(parts)
        assert error.code is grpc.StatusCode.INTERNAL
        assert first["delta"] == "half "
        assert (last["type"], last["error"]["code"]) == ("error", "bad_upstream")
        assert "org-secret" not in str(last)
        reply = (await client.messages())[-1]
        assert (reply["content"], reply["is_complete"]) == ("half ", False)

    @pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"status": "queued", "output": []}'])
    async def test_nonsense_is_a_bad_upstream(self, client: Client, openai_upstream: ScriptedProvider, body):
        openai_upstream.script = lambda exchange: exchange.reply(200, body)
        error = await refusal(call(client, OPENAI))
        assert error.code is grpc.StatusCode.INTERNAL
        assert "no response" in error.message

    async def test_the_same_stream_with_its_key_is_told_again(self, client: Client, openai_upstream: ScriptedProvider):
        text = {"type": "response.output_text.delta", "delta": "hello"}
        openai_upstream.script = streaming(record(text), record({"type": "response.completed", "response": WHOLE}))
        keyed = replace(client, metadata=(*client.metadata, ("idempotency-key", "once")))
        assert await stream(keyed, OPENAI) == await stream(keyed, OPENAI)
        assert len(openai_upstream.requests) == 1

    async def test_a_status_keeps_its_class(self, client: Client, openai_upstream: ScriptedProvider):
        openai_upstream.script = lambda exchange: exchange.reply(429, {"error": {"message": "slow down"}})
        for body in (OPENAI, {**OPENAI, "stream": True}):
            parts, error = await outcome(call(client, body))
            assert (error.code, parts) == (grpc.StatusCode.RESOURCE_EXHAUSTED, [])


class TestBudgets:
    async def test_what_openai_keeps_is_held_to_a_budget_as_a_whole_window(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        # gpt-4o reads 128,000 tokens at the most, for 0.32 dollars.
        await limit(client, limits={"monthly_budget_usd": "0.3"})
        openai_upstream.script = lambda exchange: exchange.reply(200, {**WHOLE, "id": "resp_costly"})
        body = {**OPENAI, "max_output_tokens": 16}
        await respond(client, body)
        error = await refusal(call(client, {**body, "previous_response_id": "resp_costly"}))
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "may cost up to 0.32" in error.message
        assert len(openai_upstream.requests) == 1

    async def test_what_openai_runs_cannot_be_held_by_a_budget(self, client: Client, openai_upstream: ScriptedProvider):
        await limit(client, limits={"monthly_budget_usd": "5"})
        error = await refusal(call(client, {**OPENAI, "tools": [{"type": "web_search"}]}))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert error.message.startswith("tools[0].type: is run by the provider")
        assert openai_upstream.requests == []


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "body: is no JSON"),
        (b"[]", "body: must be a JSON object"),
        ({}, "model: is missing; input: is missing"),
        ({**OPENAI, "input": []}, "input: must be a string or a list of at least one item"),
        ({**LOCAL, "background": True}, "background: must be false: this model's provider makes no reply"),
        ({**OPENAI, "background": 1}, "background: must be true or false"),
        ({**LOCAL, "text": {"format": {"type": "json_schema", "name": "s", "schema": {}}}}, "in a given form"),
    ],
)
async def test_a_wrong_request_is_told_the_place_and_what_would_be_right(
    client: Client, openai_upstream: ScriptedProvider, body, says
):
    error = await refusal(call(client, body))
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert says in error.message
    assert openai_upstream.requests == []
    assert await client.messages() == []


async def test_ten_thousand_items_are_read(client: Client):
    items = [{"role": "user", "content": f"m{number}"} for number in range(10_000)]
    answer = await respond(client, {**LOCAL, "input": items})
    assert "message 10000 of yours" in answer["output"][0]["content"][0]["text"]


async def _claude(exchange: Exchange, events: list[Any]) -> None:
    await exchange.begin()
    await exchange.events(*events)
    await exchange.end()
