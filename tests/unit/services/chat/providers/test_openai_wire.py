"""Requests and replies of OpenAI's family."""

import orjson
import pytest

from services.chat.providers.openai_wire import ChunkDecoder, decode_reply, encode_request, wants_usage
from services.chat.turn import (
    Delta,
    Dialect,
    FinishReason,
    Image,
    JsonSchema,
    Message,
    Original,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    ToolMode,
    Turn,
    Usage,
    say,
)
from shared.errors import BadUpstream, ResourceExhausted


def openai(body):
    return Original(Dialect.CHAT_COMPLETIONS, body)


def encoded(turn: Turn, *, stream: bool = False):
    return orjson.loads(encode_request(turn, "m", stream=stream, max_tokens_field="max_completion_tokens"))


def test_a_plain_turn_is_a_plain_request():
    turn = Turn((say(Role.SYSTEM, "s"), say(Role.USER, "u")), max_tokens=5, temperature=0.5)
    assert encoded(turn) == {
        "model": "m",
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}],
        "max_completion_tokens": 5,
        "temperature": 0.5,
    }


def test_everything_of_a_turn_is_encoded():
    turn = Turn(
        (
            Message(Role.USER, (Text("see"), Image(media_type="image/png", data="QQ==", detail="low"))),
            Message(Role.ASSISTANT, (), (ToolCall("c", "f", "{}"),)),
            Message(Role.TOOL, (Text("r"),), tool_call_id="c"),
        ),
        tools=(Tool("f", "does", {"type": "object"}, strict=True), Tool("g")),
        tool_choice=ToolChoice(ToolMode.NAMED, "f"),
        parallel_tool_calls=False,
        response_schema=JsonSchema("s", {"type": "object"}),
        top_p=0.9,
        stop=("x",),
        reasoning_effort="low",
        end_user="u",
    )
    body = encoded(turn)
    assert body["messages"][0]["content"][1]["image_url"] == {"url": "data:image/png;base64,QQ==", "detail": "low"}
    assert body["messages"][1]["tool_calls"] == [
        {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    ]
    assert body["messages"][2] == {"role": "tool", "content": "r", "tool_call_id": "c"}
    assert body["tools"] == [
        {
            "type": "function",
            "function": {"name": "f", "description": "does", "parameters": {"type": "object"}, "strict": True},
        },
        {"type": "function", "function": {"name": "g"}},
    ]
    assert body["tool_choice"] == {"type": "function", "function": {"name": "f"}}
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "s", "schema": {"type": "object"}},
    }
    assert (body["parallel_tool_calls"], body["top_p"], body["stop"], body["user"]) == (False, 0.9, ["x"], "u")


def test_what_a_tool_shows_stands_in_the_users_message_behind_all_results():
    image = Image(media_type="image/png", data="QQ==")
    results = (
        Message(Role.TOOL, (Text("a"), image), tool_call_id="1"),
        Message(Role.TOOL, (Text("b"),), tool_call_id="2", is_error=True),
    )
    shown = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}}
    first, second, user = encoded(Turn((*results, say(Role.USER, "and?"))))["messages"]
    assert first == {"role": "tool", "tool_call_id": "1", "content": "a[image]"}
    assert second == {"role": "tool", "tool_call_id": "2", "content": "Error: b"}
    assert user == {"role": "user", "content": [shown, {"type": "text", "text": "and?"}]}
    assert encoded(Turn(results))["messages"][-1] == {"role": "user", "content": [shown]}
    between = encoded(Turn((*results, say(Role.ASSISTANT, "so"))))["messages"]
    assert [message["role"] for message in between] == ["tool", "tool", "user", "assistant"]


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_what_the_model_thought_is_told_apart(name):
    message = {"content": "a", name: "hm"}
    body = orjson.dumps({"choices": [{"message": message, "finish_reason": "stop"}]})
    assert decode_reply("p", body).thinking == [Thinking("hm")]
    decoder = ChunkDecoder("p", show_usage=False)
    delta = decoder.decode([chunk({name: "h"}), chunk({name: "m"}), chunk({"content": "a"})])
    assert (delta.thinking, delta.text) == ("hm", "a")
    assert decoder.decode([chunk({name: {"of": "another kind"}})]).thinking == ""


def test_a_clients_own_request_passes_with_its_stream_options():
    turn = Turn(
        (),
        original=Original(
            Dialect.CHAT_COMPLETIONS, {"model": "p/m", "odd": 1, "stream_options": {"include_obfuscation": False}}
        ),
    )
    assert encoded(turn, stream=True) == {
        "model": "m",
        "odd": 1,
        "stream": True,
        "stream_options": {"include_obfuscation": False, "include_usage": True},
    }
    assert not wants_usage(turn)
    assert wants_usage(Turn((), original=openai({"stream_options": {"include_usage": True}})))


def test_a_whole_reply_is_decoded():
    body = orjson.dumps(
        {
            "choices": [
                {
                    "message": {
                        "content": None,
                        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                    },
                    "finish_reason": "tool_calls",
                },
                {"message": {"content": "other"}, "finish_reason": "stop"},
            ],
            "usage": {
                "prompt_tokens": 9,
                "completion_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
        }
    )
    reply = decode_reply("p", body)
    assert (reply.text, reply.tool_calls) == ("", [ToolCall("c", "f", "{}")])
    assert reply.other_choices == ["other"]
    assert reply.finish_reason is FinishReason.TOOL_CALLS
    assert reply.usage == Usage(9, 5, 4, 2)
    assert reply.body == body


WHOLE = b'{"choices":[{"message":{"content":%b,"tool_calls":%b},"finish_reason":"stop"}],"usage":%b}'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'{"choices":[{}]}',
        b'{"choices":[{"message":[],"finish_reason":1}]}',
        WHOLE % (b"5", b"[]", b"{}"),
        WHOLE % (b'["x"]', b"[]", b"{}"),
        WHOLE % (b'"x"', b'[{"id":1,"function":{"name":"f","arguments":"{}"}}]', b"{}"),
        WHOLE % (b'"x"', b'[{"id":"1","function":{"name":"f","arguments":[]}}]', b"{}"),
        WHOLE % (b'"x"', b"[]", b'{"prompt_tokens":"many"}'),
        WHOLE % (b'"x"', b"[]", b'{"prompt_tokens":-1,"completion_tokens":1}'),
        WHOLE % (b'"x"', b"[]", b'{"prompt_tokens":1,"completion_tokens":9999999999}'),
    ],
)
def test_a_reply_that_is_none_is_a_bad_upstream(body):
    with pytest.raises(BadUpstream):
        decode_reply("p", body)


def chunk(delta, finish_reason=None, index=0, **more):
    return orjson.dumps({"choices": [{"index": index, "delta": delta, "finish_reason": finish_reason}], **more})


TWO = chunk({"content": "x"}, index=1)
USAGE = orjson.dumps({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}})


def test_deltas_that_came_together_are_told_together():
    decoder = ChunkDecoder("p", show_usage=False)
    first = [chunk({"role": "assistant", "content": ""}), chunk({"content": "Hel"}), chunk({"content": "lo"})]
    delta = decoder.decode([*first, chunk({"content": "no. 2"}, index=1)])
    assert delta.text == "Hello"
    assert delta.other_choices == [(1, "no. 2")]
    assert delta.records.count(b"data: ") == 4
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}
    more = {"index": 0, "function": {"arguments": "{}"}}
    delta = decoder.decode([chunk({"tool_calls": [call]}), chunk({"tool_calls": [more]}, "tool_calls")])
    assert delta.tool_calls == [ToolCallDelta(0, "c", "f"), ToolCallDelta(0, arguments="{}")]
    assert delta.finish_reason is FinishReason.TOOL_CALLS
    assert decoder.decode([USAGE, b"[DONE]", b"after"]) == Delta(usage=Usage(1, 2), tool_calls=[], other_choices=[])
    decoder.check_end()


@pytest.mark.parametrize("space", [b"", b" "])
def test_the_usage_is_withheld_wherever_it_stands(space):
    text = b'{"choices":[{"index":0,"delta":{"content":",\\"usage\\":null"},"finish_reason":%b}]%b}'
    nothing = b',"usage":' + space + b"null"
    counted = b',"usage":{"prompt_tokens":1,"completion_tokens":2}'
    events = [text % (b"null", nothing), text % (b'"stop"', counted), b'{"choices":[]' + nothing + b"}", USAGE]
    shown = ChunkDecoder("p", show_usage=True).decode(events)
    withheld = ChunkDecoder("p", show_usage=False).decode(events)
    assert shown is not None
    assert withheld is not None
    assert shown.records == b"".join(b"data: " + event + b"\n\n" for event in events)
    rest = [text % (b"null", b""), text % (b'"stop"', b""), b'{"choices":[]}']
    assert withheld.records == b"".join(b"data: " + event + b"\n\n" for event in rest)
    assert shown.usage == withheld.usage == Usage(1, 2)
    assert shown.text == withheld.text == ',"usage":null' * 2


def test_sound_is_kept_as_what_was_heard():
    pieces = [chunk({"audio": {"id": "a", "transcript": "he"}}), chunk({"audio": {"data": "QQ==", "transcript": "y"}})]
    delta = ChunkDecoder("p", show_usage=False).decode(pieces)
    assert delta is not None
    assert delta.text == "hey"
    counts = {
        "prompt_tokens": 9,
        "completion_tokens": 8,
        "prompt_tokens_details": {"audio_tokens": 3, "cache_write_tokens": 2},
        "completion_tokens_details": {"audio_tokens": 5},
    }
    choice = {"message": {"content": None, "audio": {"transcript": "hey"}}, "finish_reason": "stop"}
    reply = decode_reply("p", orjson.dumps({"choices": [choice], "usage": counts}))
    assert reply.text == "hey"
    assert reply.usage == Usage(9, 8, cache_write_tokens=2, input_audio_tokens=3, output_audio_tokens=5)


def test_the_usage_is_passed_on_to_who_asked_for_it():
    assert ChunkDecoder("p", show_usage=True).decode([USAGE]).records == b"data: " + USAGE + b"\n\n"


@pytest.mark.parametrize(
    "events",
    [[], [b"[DONE]"], [chunk({"content": "x"})], [chunk({"content": "x"}), b"[DONE]"], [TWO, chunk({}, "stop")]],
)
def test_a_stream_without_finish_is_cut(events):
    decoder = ChunkDecoder("p", show_usage=False)
    decoder.decode(events)
    with pytest.raises(BadUpstream, match="broke off"):
        decoder.check_end()


@pytest.mark.parametrize("events", [[chunk({}, "stop")], [TWO, chunk({}, "stop", 1), chunk({}, "stop")]])
def test_one_in_which_every_choice_is_finished_needs_no_marker(events):
    decoder = ChunkDecoder("p", show_usage=False)
    decoder.decode([*events, USAGE])
    decoder.check_end()


@pytest.mark.parametrize(
    "bad",
    [
        b"{",
        b"3",
        b'{"choices":3}',
        b'{"choices":[[]]}',
        b'{"choices":[{"delta":"x"}]}',
        b'{"choices":[{"delta":{"content":5}}]}',
    ],
)
def test_what_came_before_nonsense_is_told_first(bad):
    decoder = ChunkDecoder("p", show_usage=False)
    assert decoder.decode([chunk({"content": "good"}), bad]).text == "good"
    with pytest.raises(BadUpstream):
        decoder.check_end()


def test_an_error_in_the_stream_keeps_its_class():
    decoder = ChunkDecoder("p", show_usage=False)
    assert decoder.decode([orjson.dumps({"error": {"code": "rate_limit_exceeded", "message": "m"}})]) is None
    with pytest.raises(ResourceExhausted):
        decoder.check_end()


def test_what_some_endpoints_tell_in_a_form_of_their_own_is_understood():
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    function = {"name": "f", "arguments": {"a": 1}}
    message = {"content": parts, "tool_calls": [{"type": "function", "function": function}]}
    reply = decode_reply("p", orjson.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}))
    assert (reply.text, reply.tool_calls) == ("Hello", [ToolCall("", "f", '{"a":1}')])
    delta = ChunkDecoder("p", show_usage=True).decode([orjson.dumps({"choices": [{"index": 0, "delta": message}]})])
    assert delta is not None
    assert (delta.text, delta.tool_calls) == ("Hello", [ToolCallDelta(0, "", "f", '{"a":1}')])
