"""Anthropic's messages: Claude gets and gives the bytes of its own dialect, all others a translation."""

from typing import Any

import grpc
import orjson
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from tests.integration.chat.conftest import PROVIDER_KEY, Client, outcome, refusal
from tests.integration.chat.scripted_provider import (
    Exchange,
    ScriptedProvider,
    claude_message,
    claude_stream,
    openai_chunk,
    openai_completion,
    openai_usage,
)
from tests.integration.chat.test_ledger import ledger_of

EVENTS = TypeAdapter(RawMessageStreamEvent)
HAIKU, GPT, REASONING = "claude-haiku-5-5", "gpt-4o", "gpt-5"
USER = {"role": "user", "content": "hi"}
ASK = {"model": GPT, "max_tokens": 50, "messages": [USER]}
TO_CLAUDE = {**ASK, "model": f"anthropic/{HAIKU}"}
WEATHER = {"name": "weather", "description": "tells it", "input_schema": {"type": "object", "properties": {"at": {}}}}


async def answered(client: Client, body) -> Any:
    [part] = [part async for part in client.message_call(body)]
    assert part.content_type == "application/json"
    return Message.model_validate_json(part.data, strict=True)


async def streamed(client: Client, body) -> list:
    parts = [part async for part in client.message_call({**body, "stream": True})]
    assert [part.content_type for part in parts] == ["text/event-stream", *[""] * (len(parts) - 1)]
    return events_of(b"".join(part.data for part in parts))


def events_of(data: bytes) -> list:
    events = []
    for record in data.decode().removesuffix("\n\n").split("\n\n"):
        name, told = record.split("\n")
        events.append(orjson.loads(told.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    return events


def accumulated(events: list) -> Any:
    snapshot: Any = None
    pieces: dict[int, bytes] = {}
    for event in events:
        if event["type"] != "ping":
            parsed = EVENTS.validate_python(event, strict=True)
            snapshot = accumulate_event(event=parsed, current_snapshot=snapshot, json_bufs=pieces)
    return snapshot


def sending(data: bytes, *, ends=True):
    async def script(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.send(data)
        if ends:
            await exchange.end()
        else:
            exchange.cut()

    return script


def chunks(*events, ends=True):
    async def script(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.events(*events)
        if ends:
            await exchange.end()
        else:
            exchange.cut()

    return script


def as_claude_writes(*events) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event)) for event in events)


class TestClaude:
    async def test_a_request_reaches_claude_as_it_came_and_so_does_the_reply(
        self, client: Client, claude_upstream: ScriptedProvider
    ):
        usage = {
            "input_tokens": 5,
            "output_tokens": 4,
            "cache_read_input_tokens": 2,
            "cache_creation_input_tokens": 3,
            "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2},
        }
        blocks: list[dict[str, Any]] = [{"type": "text", "text": "Hello."}, {"type": "of_tomorrow", "x": [1.0]}]
        reply = orjson.dumps({**claude_message(blocks), "usage": usage, "of_tomorrow": 1})
        claude_upstream.script = lambda exchange: exchange.reply(200, reply)
        asked = {
            **TO_CLAUDE,
            "of_tomorrow": {"kept": True},
            "temperature": 0.5,
            "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        }
        headers = (("anthropic-version", "2023-06-01"), ("anthropic-beta", "b1"), ("anthropic-beta", "b2"))
        call = client.message_call(asked, *headers)
        assert "gaia-left-out" not in dict(await call.initial_metadata())
        assert (await call.read()).data == reply
        [sent] = claude_upstream.requests
        assert sent.path == "/v1/messages"
        assert sent.body == {**asked, "model": HAIKU}
        assert (sent.headers["anthropic-version"], sent.headers["anthropic-beta"]) == ("2023-06-01", "b1,b2")
        instructions, question, kept = await client.messages()
        assert (instructions["content"], question["content"], kept["content"]) == ("s", "hi", "Hello.")
        [booked] = await ledger_of(client)
        assert (booked["operation"], booked["state"], booked["is_estimate"]) == ("anthropic.messages", "done", False)
        assert (booked["input_tokens"], booked["output_tokens"]) == (10, 4)
        assert (booked["cached_input_tokens"], booked["cache_write_tokens"]) == (2, 3)

    async def test_events_come_back_byte_for_byte_and_the_last_one_when_the_reply_is_stored(
        self, client: Client, claude_upstream: ScriptedProvider
    ):
        start, ping, *rest = claude_stream(["Hel", "lo, ", "you."])
        written = as_claude_writes(start, ping, {"type": "of_tomorrow", "kept": "yes"}, *rest)
        claude_upstream.script = sending(written)
        parts = [part async for part in client.message_call({**TO_CLAUDE, "stream": True})]
        assert b"".join(part.data for part in parts) == written
        assert parts[-1].data == as_claude_writes({"type": "message_stop"})
        assert claude_upstream.requests[0].body == {**TO_CLAUDE, "model": HAIKU, "stream": True}
        assert (await client.messages())[1]["content"] == "Hello, you."
        assert (await client.messages())[1]["output_tokens"] == 9

    async def test_an_error_in_the_stream_keeps_its_class_and_its_beginning_is_kept(
        self, client: Client, claude_upstream: ScriptedProvider
    ):
        error_event = {"type": "error", "error": {"type": "overloaded_error", "message": f"no {PROVIDER_KEY}"}}
        claude_upstream.script = sending(as_claude_writes(*claude_stream(["some "])[:4], error_event))
        parts, error = await outcome(client.message_call({**TO_CLAUDE, "stream": True}))
        *_, last = events_of(b"".join(part.data for part in parts))
        assert last["error"]["type"] == "overloaded_error"
        assert last["request_id"]
        assert PROVIDER_KEY not in str(last)
        assert error.code is grpc.StatusCode.UNAVAILABLE
        assert [(row["content"], row["is_complete"]) for row in await client.messages()][1] == ("some ", False)

    async def test_its_own_endpoint_counts_tokens(self, client: Client, claude_upstream: ScriptedProvider):
        claude_upstream.script = lambda exchange: exchange.reply(200, {"input_tokens": 1234})
        asked = {"model": HAIKU, "messages": [USER], "system": "s"}
        call = client.count_call(asked, ("anthropic-beta", "b1"))
        assert orjson.loads((await call).data) == {"input_tokens": 1234}
        assert "gaia-estimated" not in dict(await call.initial_metadata())
        [sent] = claude_upstream.requests
        assert (sent.path, sent.body, sent.headers["anthropic-beta"]) == ("/v1/messages/count_tokens", asked, "b1")
        assert await client.messages() == []

    @pytest.mark.parametrize(
        ("status", "code"),
        [(400, grpc.StatusCode.INVALID_ARGUMENT), (429, grpc.StatusCode.RESOURCE_EXHAUSTED)],
    )
    async def test_a_refusal_of_a_count_keeps_its_class(
        self, client: Client, claude_upstream: ScriptedProvider, status, code
    ):
        body = {"type": "error", "error": {"type": "some_error", "message": "no"}}
        claude_upstream.script = lambda exchange: exchange.reply(status, body)
        assert (await refusal(client.count_call({"model": HAIKU, "messages": [USER]}))).code is code

    async def test_what_claude_thinks_reaches_a_client_of_openais_as_no_text(
        self, client: Client, claude_upstream: ScriptedProvider
    ):
        thinking = {"type": "thinking", "thinking": "hm", "signature": "s"}
        claude_upstream.script = lambda exchange: exchange.reply(
            200, claude_message([thinking, {"type": "text", "text": "Yes."}])
        )
        answer = await client.complete({"model": HAIKU, "messages": [USER]})
        assert answer["choices"][0]["message"]["content"] == "Yes."


class TestAgain:
    """A request with an Idempotency-Key that comes twice."""

    async def test_claudes_stream_is_told_again_byte_for_byte(self, client: Client, claude_upstream: ScriptedProvider):
        written = as_claude_writes(*claude_stream(["Hel", "lo."]))
        claude_upstream.script = sending(written)
        for _ in range(2):
            call = client.message_call({**TO_CLAUDE, "stream": True}, ("idempotency-key", "k"))
            assert b"".join([part.data async for part in call]) == written
        assert len(claude_upstream.requests) == 1

    async def test_a_translated_reply_is_the_same_to_the_letter(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        call = {"id": "", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
        message = {"role": "assistant", "content": "Looking.", "tool_calls": [call]}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("", choices=[choice]))
        first, second = [
            [part.data async for part in client.message_call(ASK, ("idempotency-key", "k"))] for _ in range(2)
        ]
        assert first == second
        assert len(openai_upstream.requests) == 1

    async def test_a_translated_stream_is_the_same_message(self, client: Client, openai_upstream: ScriptedProvider):
        openai_upstream.script = chunks(
            openai_chunk({"content": "Hel"}),
            openai_chunk({"content": "lo."}),
            openai_chunk({}, "stop"),
            openai_usage(7, 9),
            b"[DONE]",
        )
        asked, key = {**ASK, "stream": True}, ("idempotency-key", "k")
        first, second = [
            accumulated(events_of(b"".join([part.data async for part in client.message_call(asked, key)])))
            for _ in range(2)
        ]
        assert (first.id, first.content, first.stop_reason) == (second.id, second.content, second.stop_reason)
        assert len(openai_upstream.requests) == 1


class TestTranslation:
    async def test_a_reply_has_the_shape_of_a_message(self, client: Client, openai_upstream: ScriptedProvider):
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("Hello."))
        made = await answered(
            client, {**ASK, "system": "Be brief.", "stop_sequences": ["END"], "metadata": {"user_id": "u"}}
        )
        assert [block.text for block in made.content] == ["Hello."]
        assert (made.stop_reason, made.model, made.usage.input_tokens, made.usage.output_tokens) == (
            "end_turn",
            GPT,
            7,
            3,
        )
        [sent] = openai_upstream.requests
        assert sent.path == "/v1/chat/completions"
        assert sent.body == {
            "model": GPT,
            "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}],
            "max_completion_tokens": 50,
            "stop": ["END"],
            "user": "u",
        }
        assert [row["content"] for row in await client.messages()] == ["Be brief.", "hi", "Hello."]

    async def test_tools_make_the_round_trip(self, client: Client, openai_upstream: ScriptedProvider):
        calls = [
            {"id": f"call_{n}", "type": "function", "function": {"name": "weather", "arguments": '{"at":"Ulm"}'}}
            for n in (1, 2)
        ]
        message = {"role": "assistant", "content": "Looking.", "tool_calls": calls}
        choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("", choices=[choice]))
        choice_of_tool = {"type": "any", "disable_parallel_tool_use": True}
        asked = {**ASK, "tools": [WEATHER], "tool_choice": choice_of_tool}
        made = await answered(client, asked)
        assert made.stop_reason == "tool_use"
        assert [(block.id, block.input) for block in made.content[1:]] == [
            ("call_1", {"at": "Ulm"}),
            ("call_2", {"at": "Ulm"}),
        ]
        sent = openai_upstream.requests[0].body
        assert sent["tools"][0]["function"]["parameters"] == WEATHER["input_schema"]
        assert (sent["tool_choice"], sent["parallel_tool_calls"]) == ("required", False)

        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("Rain."))
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}
        results = [
            {"type": "tool_result", "tool_use_id": "call_1", "content": [{"type": "text", "text": "rain"}, image]},
            {"type": "tool_result", "tool_use_id": "call_2", "content": "broken", "is_error": True},
        ]
        said = made.model_dump()["content"]
        messages = [USER, {"role": "assistant", "content": said}, {"role": "user", "content": results}]
        await answered(client, {**asked, "messages": messages})
        _, assistant, *answers, shown = openai_upstream.requests[1].body["messages"]
        assert assistant == message
        assert answers == [
            {"role": "tool", "tool_call_id": "call_1", "content": "rain[image]"},
            {"role": "tool", "tool_call_id": "call_2", "content": "Error: broken"},
        ]
        assert shown["content"][0]["image_url"]["url"] == "data:image/png;base64,QUJD"
        kept = await client.messages()
        assert [(row["role"], row["content"]) for row in kept[-3:-1]] == [("tool", "rain\n[image]"), ("tool", "broken")]

    async def test_a_stream_of_thinking_text_and_tools_is_put_together_by_the_sdk(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
        openai_upstream.script = chunks(
            openai_chunk({"role": "assistant", "content": ""}),
            openai_chunk({"reasoning_content": "hm, "}),
            openai_chunk({"reasoning_content": "so"}),
            openai_chunk({"content": "Look"}),
            openai_chunk({"content": "ing."}),
            openai_chunk({"tool_calls": [call]}),
            openai_chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"at":'}}]}),
            openai_chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"Ulm"}'}}]}),
            openai_chunk({}, "tool_calls"),
            openai_usage(7, 9),
            b"[DONE]",
        )
        events = await streamed(client, {**ASK, "tools": [WEATHER], "thinking": {"type": "adaptive"}})
        made = accumulated(events)
        thinking, text, tool = made.content
        assert (thinking.thinking, text.text, tool.name, tool.input) == ("hm, so", "Looking.", "weather", {"at": "Ulm"})
        assert (made.stop_reason, made.usage.input_tokens, made.usage.output_tokens) == ("tool_use", 7, 9)
        assert [event["type"] for event in events][-2:] == ["message_delta", "message_stop"]
        assert openai_upstream.requests[0].body["stream_options"] == {"include_usage": True}
        assert (await client.messages())[1]["content"] == "Looking."

    async def test_a_form_and_an_effort_reach_a_model_that_reasons(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("{}"))
        schema = {"type": "object", "properties": {}, "additionalProperties": False}
        call = client.message_call(
            {
                **ASK,
                "model": REASONING,
                "temperature": 0.3,
                "top_k": 5,
                "thinking": {"type": "enabled", "budget_tokens": 8000},
                "output_config": {"format": {"type": "json_schema", "schema": schema}},
                "service_tier": "standard_only",
            }
        )
        assert dict(await call.initial_metadata())["gaia-left-out"] == "service_tier, temperature, top_k"
        assert await call.read()
        sent = openai_upstream.requests[0].body
        assert (sent["reasoning_effort"], "temperature" in sent) == ("medium", False)
        assert sent["response_format"]["json_schema"] == {"name": "reply", "schema": schema, "strict": True}

    async def test_thinking_is_left_out_by_name_where_the_model_does_not_reason(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("x"))
        for thinking, left_out in (
            ({"type": "enabled", "budget_tokens": 2000}, "thinking"),
            ({"type": "disabled"}, None),
        ):
            call = client.message_call({**ASK, "thinking": thinking})
            assert dict(await call.initial_metadata()).get("gaia-left-out") == left_out
            assert await call.read()
        assert all("reasoning_effort" not in request.body for request in openai_upstream.requests)

    async def test_what_would_change_the_reply_is_refused_before_anybody_is_asked(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        tools = [{"type": "web_search_20260318", "name": "web_search"}]
        error = await refusal(client.message_call({**ASK, "tools": tools, "container": "c", "unheard_of": 1}))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        for told in ("tools[0].type: web_search_20260318", "container:", "unheard_of:"):
            assert told in error.message
        assert openai_upstream.requests == []

    async def test_a_cut_stream_ends_with_an_error_and_no_end(self, client: Client, openai_upstream: ScriptedProvider):
        openai_upstream.script = chunks(openai_chunk({"content": "some "}), ends=False)
        parts, error = await outcome(client.message_call({**ASK, "stream": True}))
        events = events_of(b"".join(part.data for part in parts))
        assert (events[-1]["type"], events[-1]["error"]["type"]) == ("error", "api_error")
        assert {"message_delta", "message_stop"}.isdisjoint(event["type"] for event in events)
        assert error.code is grpc.StatusCode.INTERNAL
        assert [(row["content"], row["is_complete"]) for row in await client.messages()][1] == ("some ", False)

    async def test_the_local_model_answers_too(self, client: Client):
        asked = {
            **ASK,
            "model": "local-echo",
            "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        }
        assert "You said: hi" in (await answered(client, asked)).content[0].text
        made = accumulated(await streamed(client, asked))
        assert "You said: hi" in made.content[0].text
        assert made.usage.output_tokens > 0


class TestCounting:
    @pytest.mark.parametrize("model", [GPT, "local-echo"])
    async def test_others_tokens_are_estimated_and_that_is_said(self, client: Client, model):
        asked = {"model": model, "messages": [{"role": "user", "content": "x" * 3000}]}
        call = client.count_call(asked)
        assert 900 < orjson.loads((await call).data)["input_tokens"] < 1100
        assert dict(await call.initial_metadata())["gaia-estimated"] == "true"

    async def test_a_faulty_request_is_told_its_places(self, client: Client):
        error = await refusal(client.count_call({"messages": []}))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert error.message == "model: is missing; messages: must be a list of at least one message"
        error = await refusal(client.count_call({"model": "gpt-4oo", "messages": [USER]}))
        assert (error.code, GPT in error.message) == (grpc.StatusCode.NOT_FOUND, True)
