"""Claude behind both dialects: what it is asked, what comes back, and how its failures look."""

import grpc
import pytest
from gaia.chat.v1.chat_service_pb2 import ChatRequest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.integration.chat.conftest import PROVIDER_KEY, Client, events_in, outcome, parsed, refusal
from tests.integration.chat.scripted_provider import Exchange, ScriptedProvider, claude_message, claude_stream

HAIKU = "claude-haiku-5-5"
ASK = {"model": HAIKU, "messages": [{"role": "user", "content": "hi"}]}
WEATHER = {"name": "weather", "description": "tells it", "parameters": {"type": "object", "properties": {"at": {}}}}


def answering(*blocks, stop_reason="end_turn"):
    return lambda exchange: exchange.reply(200, claude_message(blocks, stop_reason))


def streaming(*events, ends=True):
    async def script(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.events(*events)
        if ends:
            await exchange.end()
        else:
            exchange.cut()

    return script


class TestNative:
    async def test_the_conversation_and_the_persona_reach_claude(
        self, client: Client, claude_upstream: ScriptedProvider
    ):
        await client.rows(
            "INSERT INTO personas (id, user_id, name, system_prompt) "
            "SELECT 'pirate', id, 'Pirate', 'Talk like a pirate.' FROM users WHERE email = $1",
            await client.email(),
        )
        claude_upstream.script = answering({"type": "text", "text": "Arr."})
        for message in ("first", "second"):
            request = ChatRequest(message=message, provider="anthropic", persona_id="pirate", temperature=0.1)
            reply = await client.chat.Chat(request, metadata=client.metadata)
        asked = claude_upstream.requests[-1]
        assert asked.path == "/v1/messages"
        assert asked.headers["authorization"] == f"Bearer {PROVIDER_KEY}"
        assert asked.body["system"] == "Talk like a pirate."
        texts = [(one["role"], one["content"][0]["text"]) for one in asked.body["messages"]]
        assert texts == [("user", "first"), ("assistant", "Arr."), ("user", "second")]
        assert "temperature" not in asked.body
        assert (reply.response, reply.provider, reply.model) == ("Arr.", "claude", "claude-sonnet-5-5")
        assert (reply.usage.input_tokens, reply.usage.output_tokens) == (7, 4)
        assert "claude takes no temperature" in reply.reasoning

    async def test_a_stream_comes_in_whole_words_and_in_order(self, client: Client, claude_upstream: ScriptedProvider):
        claude_upstream.script = streaming(*claude_stream(["Hel", "lo wor", "ld, my", " friend."]))
        request = ChatRequest(message="hi", provider="claude")
        events = [event async for event in client.chat.StreamChat(request, metadata=client.metadata)]
        kinds = [event.type for event in events]
        assert kinds[:3] == ["start", "ready", "model_selection"]
        assert kinds[-2:] == ["metadata", "complete"]
        assert set(kinds[3:-2]) == {"content"}
        contents = [event.content for event in events[3:-2]]
        assert "".join(contents) == "Hello world, my friend."
        assert all(content.endswith(" ") for content in contents[:-1])
        assert (events[-2].usage.input_tokens, events[-2].usage.output_tokens) == (7, 9)
        assert events[-1].response_length == len("Hello world, my friend.")

    async def test_a_cut_stream_is_an_error_and_what_came_is_kept(
        self, client: Client, claude_upstream: ScriptedProvider
    ):
        claude_upstream.script = streaming(*claude_stream(["some words "])[:4], ends=False)
        call = client.chat.StreamChat(ChatRequest(message="hi", provider="claude"), metadata=client.metadata)
        events, error = await outcome(call)
        assert error.code is grpc.StatusCode.INTERNAL
        assert "claude broke off" in error.message
        assert "complete" not in [event.type for event in events]
        assert [(row["content"], row["is_complete"]) for row in await client.messages()] == [
            ("hi", True),
            ("some words ", False),
        ]


class TestTranslation:
    async def test_tools_make_the_round_trip(self, client: Client, claude_upstream: ScriptedProvider):
        call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"at": "Ulm"}}
        claude_upstream.script = answering({"type": "text", "text": "Looking."}, call, stop_reason="tool_use")
        tools = [{"type": "function", "function": WEATHER}]
        asked = {**ASK, "tools": tools, "tool_choice": "required", "parallel_tool_calls": False}
        answer = parsed(ChatCompletion, await client.complete(asked))
        sent = claude_upstream.requests[0].body
        assert sent["tools"][0]["input_schema"] == WEATHER["parameters"]
        assert sent["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}
        message = answer.choices[0].message
        assert answer.choices[0].finish_reason == "tool_calls"
        assert message.tool_calls[0].function.arguments == '{"at":"Ulm"}'

        claude_upstream.script = answering({"type": "text", "text": "Rain."})
        result = {"role": "tool", "tool_call_id": "toolu_1", "content": "rain"}
        await client.complete({**ASK, "tools": tools, "messages": [*ASK["messages"], message.model_dump(), result]})
        _, assistant, user = claude_upstream.requests[1].body["messages"]
        assert assistant["content"][1] == call
        assert user == {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "rain"}]}
            ],
        }

    async def test_streamed_tool_calls_come_in_openais_pieces(self, client: Client, claude_upstream: ScriptedProvider):
        start, *_, delta, stop = claude_stream([])
        block = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}
        pieces = [
            {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": text}}
            for text in ('{"at"', ':"Ulm"}')
        ]
        empty = {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}}
        delta["delta"]["stop_reason"] = "tool_use"
        claude_upstream.script = streaming(
            start,
            {"type": "content_block_start", "index": 1, "content_block": block},
            *pieces,
            {"type": "content_block_stop", "index": 1},
            {"type": "content_block_start", "index": 2, "content_block": empty},
            {"type": "content_block_stop", "index": 2},
            delta,
            stop,
        )
        events = await client.stream({**ASK, "stream": True, "stream_options": {"include_usage": True}})
        chunks = [parsed(ChatCompletionChunk, event) for event in events[:-1]]
        calls: dict[int, list[str]] = {}
        for chunk in chunks:
            for call in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
                if call.id:
                    calls[call.index] = [call.id, call.function.name, ""]
                calls[call.index][2] += call.function.arguments or ""
        assert calls == {0: ["toolu_1", "weather", '{"at":"Ulm"}'], 1: ["toolu_2", "now", "{}"]}
        assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "tool_calls"
        assert chunks[-1].usage.total_tokens == 16
        assert events[-1] == "[DONE]"

    async def test_images_schemas_and_limits_are_translated(self, client: Client, claude_upstream: ScriptedProvider):
        claude_upstream.script = answering({"type": "text", "text": "{}"}, stop_reason="max_tokens")
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}
        remote = {"type": "image_url", "image_url": {"url": "https://example.test/a.png"}}
        schema = {"type": "object", "properties": {}}
        answer = await client.complete(
            {
                "model": "quick",
                "messages": [
                    {"role": "developer", "content": "Be brief."},
                    {"role": "user", "content": [{"type": "text", "text": "what"}, image, remote]},
                ],
                "max_completion_tokens": 9,
                "stop": "END",
                "reasoning_effort": "high",
                "user": "u1",
                "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": schema}},
                "temperature": 1,
                "n": 1,
            }
        )
        sent = claude_upstream.requests[0].body
        assert sent["model"] == "claude-haiku-4-5"
        assert sent["system"] == "Be brief."
        assert [block.get("source") for block in sent["messages"][0]["content"][1:]] == [
            {"type": "base64", "media_type": "image/png", "data": "QUJD"},
            {"type": "url", "url": "https://example.test/a.png"},
        ]
        assert sent["max_tokens"] == 9
        assert sent["stop_sequences"] == ["END"]
        closed = {**schema, "additionalProperties": False}
        assert sent["output_config"] == {"format": {"type": "json_schema", "schema": closed}, "effort": "high"}
        assert sent["metadata"] == {"user_id": "u1"}
        assert answer["choices"][0]["finish_reason"] == "length"

    async def test_preferences_that_claude_does_not_heed_are_named(
        self, client: Client, claude_upstream: ScriptedProvider
    ):
        claude_upstream.script = answering({"type": "text", "text": "ok"})
        call = client.completion_call({**ASK, "temperature": 0.2, "seed": 1, "presence_penalty": 0})
        assert dict(await call.initial_metadata())["gaia-left-out"] == "seed, temperature"
        assert await call.read()

    async def test_what_a_form_claude_cannot_be_held_to_is_said_to_it_and_named(
        self, client: Client, claude_upstream: ScriptedProvider
    ):
        claude_upstream.script = answering({"type": "text", "text": '{"age": 5}'})
        age = {"type": "integer", "minimum": 1}
        schema = {"type": "object", "properties": {"age": age}, "required": ["age"], "additionalProperties": False}
        form = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema, "strict": True}}
        tools = [
            {"type": "function", "function": {"name": name, "parameters": schema, "strict": strict}}
            for name, strict in (("strict", True), ("lax", False))
        ]
        picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}}
        said = {"role": "user", "content": [{"type": "text", "text": "hi"}, picture]}
        call = client.completion_call({**ASK, "messages": [said], "response_format": form, "tools": tools})
        left_out = "image_url.detail, response_format.minimum, tools.minimum"
        assert dict(await call.initial_metadata())["gaia-left-out"] == left_out
        assert await call.read()
        sent = claude_upstream.requests[0].body
        loosened = {**schema, "properties": {"age": {"type": "integer", "description": "{minimum: 1}"}}}
        assert sent["output_config"]["format"]["schema"] == loosened
        assert [tool["input_schema"] for tool in sent["tools"]] == [loosened, schema]

    async def test_what_would_change_the_reply_is_refused_by_name_before_claude_is_asked(
        self, client: Client, claude_upstream: ScriptedProvider
    ):
        body = {**ASK, "n": 2, "logprobs": True, "audio": {"voice": "x"}, "unheard_of": 1}
        error = await refusal(client.completion_call(body))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        for name in ("n:", "logprobs:", "audio:", "unheard_of:"):
            assert name in error.message
        assert claude_upstream.requests == []

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"response_format": {"type": "json_object"}}, "response_format.type"),
            ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools[0].type"),
            ({"tools": [{"type": "function", "function": {"name": "no spaces"}}]}, "tools[0].function.name"),
            ({"messages": [{"role": "user", "content": [{"type": "novelty"}]}]}, "messages[0].content[0].type"),
            (
                {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///x"}}]}]},
                "messages[0].content[0].image_url.url",
            ),
            ({"reasoning_effort": "enormous"}, "reasoning_effort"),
        ],
    )
    async def test_what_has_no_counterpart_is_refused_with_its_place(self, client: Client, change, field):
        error = await refusal(client.completion_call({**ASK, **change}))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert error.message.startswith(f"{field}: ")


class TestFaults:
    @pytest.mark.parametrize(
        ("status", "code"),
        [
            (400, grpc.StatusCode.INVALID_ARGUMENT),
            (401, grpc.StatusCode.INTERNAL),
            (429, grpc.StatusCode.RESOURCE_EXHAUSTED),
            (500, grpc.StatusCode.INTERNAL),
            (529, grpc.StatusCode.UNAVAILABLE),
        ],
    )
    async def test_a_status_keeps_its_class_and_tells_no_secret(
        self, client: Client, claude_upstream: ScriptedProvider, status, code
    ):
        body = {"type": "error", "error": {"type": "some_error", "message": f"bad {PROVIDER_KEY}"}}
        claude_upstream.script = lambda exchange: exchange.reply(status, body)
        error = await refusal(client.completion_call(ASK))
        assert error.code is code
        assert PROVIDER_KEY not in f"{error.message} {error.trailing}"
        assert len(claude_upstream.requests) == 1

    async def test_nonsense_is_a_bad_upstream(self, client: Client, claude_upstream: ScriptedProvider):
        claude_upstream.script = lambda exchange: exchange.reply(200, {"content": "no list"})
        error = await refusal(client.completion_call(ASK))
        assert error.code is grpc.StatusCode.INTERNAL
        assert "no message" in error.message

    @pytest.mark.parametrize("is_stream", [False, True])
    async def test_an_error_under_a_status_of_success_keeps_its_class(
        self, client: Client, claude_upstream: ScriptedProvider, is_stream
    ):
        told = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}
        claude_upstream.script = lambda exchange: exchange.reply(200, told)
        error = await refusal(client.completion_call({**ASK, "stream": is_stream}))
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED

    @pytest.mark.parametrize(
        ("kind", "reason"), [("overloaded_error", "provider_unavailable"), ("api_error", "bad_upstream")]
    )
    async def test_an_error_inside_of_a_stream_keeps_its_class(
        self, client: Client, claude_upstream: ScriptedProvider, kind, reason
    ):
        error_event = {"type": "error", "error": {"type": kind, "message": "no"}}
        claude_upstream.script = streaming(*claude_stream(["some "])[:4], error_event)
        parts, error = await outcome(client.completion_call({**ASK, "stream": True}))
        *_, last = events_in(parts)
        assert last["error"]["code"] == reason
        assert error.code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)
