"""Requests and replies of Anthropic's messages API."""

import base64
from typing import Any

import orjson
import pytest

from services.chat.providers.anthropic_reply import EventDecoder, decode_count, decode_reply
from services.chat.providers.anthropic_request import DEFAULT_MAX_TOKENS, encode_request
from services.chat.turn import (
    Delta,
    Dialect,
    Document,
    FinishReason,
    Image,
    Message,
    Original,
    ReplyBuilder,
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
from shared.errors import BadUpstream, InvalidArgument, Unavailable

USER = say(Role.USER, "u")


def encoded(turn: Turn, *, stream: bool = False):
    return orjson.loads(encode_request(turn, "m", stream=stream))


def text(value: str):
    return {"type": "text", "text": value}


def test_instructions_stand_apart_and_later_ones_stay_in_their_place():
    turn = Turn((say(Role.SYSTEM, "a"), say(Role.SYSTEM, "b"), USER, say(Role.SYSTEM, "c"), USER))
    assert encoded(turn, stream=True) == {
        "model": "m",
        "max_tokens": DEFAULT_MAX_TOKENS,
        "system": "a\n\nb",
        "messages": [
            {"role": "user", "content": [text("u")]},
            {"role": "system", "content": [text("c")]},
            {"role": "user", "content": [text("u")]},
        ],
        "stream": True,
    }


def test_texts_of_white_space_which_the_api_refuses_are_nothing():
    said = (say(Role.USER, "u"), say(Role.ASSISTANT, "\n"), Message(Role.USER, (Text(" "), Text("v "))))
    assert orjson.loads(encode_request(Turn(said), "m", stream=False))["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "u"}, {"type": "text", "text": "v "}]}
    ]


def test_results_of_parallel_calls_stand_in_one_message_before_what_the_user_adds():
    turn = Turn(
        (
            USER,
            Message(Role.ASSISTANT, (Text(""),), (ToolCall("call.1", "f", '{"a":1}'), ToolCall("2", "f", ""))),
            Message(Role.TOOL, (Text("one"),), tool_call_id="call.1"),
            Message(Role.TOOL, (), tool_call_id="2"),
            USER,
        )
    )
    _, assistant, user = encoded(turn)["messages"]
    assert assistant["content"] == [
        {"type": "tool_use", "id": "call_1", "name": "f", "input": {"a": 1}},
        {"type": "tool_use", "id": "2", "name": "f", "input": {}},
    ]
    assert user["content"] == [
        {"type": "tool_result", "tool_use_id": "call_1", "content": [text("one")]},
        {"type": "tool_result", "tool_use_id": "2", "content": []},
        text("u"),
    ]


@pytest.mark.parametrize(
    ("choice", "parallel", "expected"),
    [
        (None, None, None),
        (None, True, None),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        (ToolChoice(ToolMode.AUTO), None, {"type": "auto"}),
        (ToolChoice(ToolMode.NONE), False, {"type": "none"}),
        (ToolChoice(ToolMode.REQUIRED), False, {"type": "any", "disable_parallel_tool_use": True}),
        (ToolChoice(ToolMode.NAMED, "f"), None, {"type": "tool", "name": "f"}),
    ],
)
def test_the_choice_of_tools_is_translated(choice, parallel, expected):
    turn = Turn((USER,), tools=(Tool("f"),), tool_choice=choice, parallel_tool_calls=parallel)
    assert encoded(turn).get("tool_choice") == expected


@pytest.mark.parametrize(
    ("effort", "expected"),
    [
        ("none", {"thinking": {"type": "disabled"}}),
        ("minimal", {"output_config": {"effort": "low"}}),
        ("max", {"output_config": {"effort": "max"}}),
    ],
)
def test_effort_is_translated(effort, expected):
    body = encoded(Turn((USER,), reasoning_effort=effort))
    assert {name: body[name] for name in ("thinking", "output_config") if name in body} == expected


@pytest.mark.parametrize(
    ("turn", "field"),
    [
        (Turn((Message(Role.USER, (Image(media_type="image/tiff", data=""),)),)), r"messages\[0\].content"),
        (Turn((Message(Role.ASSISTANT, (), (ToolCall("c", "f", "[1]"),)),)), r"messages\[0\].tool_calls"),
        (Turn((Message(Role.ASSISTANT, (), (ToolCall("c", "f", "{"),)),)), r"messages\[0\].tool_calls"),
        (Turn((Message(Role.ASSISTANT, (), (ToolCall("c", "f", '{"a": 1} x'),)),)), r"messages\[0\].tool_calls"),
        (Turn((USER,), reasoning_effort="huge"), "reasoning_effort"),
    ],
)
def test_what_has_no_counterpart_is_refused_with_its_place(turn, field):
    with pytest.raises(InvalidArgument, match=field):
        encode_request(turn, "m", stream=False)


def test_a_whole_reply_is_its_text_and_tool_calls_with_the_thinking_apart():
    body = {
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "secret"},
            {"type": "of_tomorrow"},
            text("a"),
            {"type": "tool_use", "id": "t", "name": "f", "input": {"x": 1}},
            text("b"),
        ],
        "stop_reason": "tool_use",
        "usage": {
            "input_tokens": 5,
            "output_tokens": 7,
            "cache_read_input_tokens": 2,
            "cache_creation_input_tokens": 3,
            "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 1},
            "output_tokens_details": {"thinking_tokens": 4},
        },
    }
    reply = decode_reply("p", orjson.dumps(body))
    assert reply.thinking == [Thinking("hm", "s"), Thinking(redacted="secret")]
    assert reply.body == orjson.dumps(body)
    assert (reply.text, reply.tool_calls) == ("ab", [ToolCall("t", "f", '{"x":1}')])
    assert reply.finish_reason is FinishReason.TOOL_CALLS
    assert reply.usage == Usage(10, 7, 2, 4, cache_write_tokens=3, cache_write_1h_tokens=1)


@pytest.mark.parametrize(
    ("stop_reason", "expected"),
    [
        ("end_turn", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("refusal", FinishReason.CONTENT_FILTER),
        ("something_new", FinishReason.STOP),
    ],
)
def test_why_it_ended_is_translated(stop_reason, expected):
    body = {"content": [], "stop_reason": stop_reason, "usage": {"input_tokens": 1, "output_tokens": 1}}
    assert decode_reply("p", orjson.dumps(body)).finish_reason is expected


def event(kind: str, **fields) -> bytes:
    return orjson.dumps({"type": kind, **fields})


START = event("message_start", message={"usage": {"input_tokens": 5, "output_tokens": 1}})
END = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 9})
STOP = event("message_stop")


def piece(index: int, **delta) -> bytes:
    return event("content_block_delta", index=index, delta=delta)


def test_events_that_came_together_are_told_together():
    decoder = EventDecoder("p")
    assert decoder.decode([event("ping")]) == []
    assert decoder.decode([START]) == [Delta(usage=Usage(5, 1), tool_calls=[], is_idle=True)]
    [delta] = decoder.decode(
        [
            event("content_block_start", index=0, content_block={"type": "thinking", "thinking": ""}),
            piece(0, type="thinking_delta", thinking="hm"),
            event("content_block_start", index=1, content_block=text("")),
            piece(1, type="text_delta", text="Hel"),
            piece(1, type="text_delta", text="lo"),
            event(
                "content_block_start", index=2, content_block={"type": "tool_use", "id": "t", "name": "f", "input": {}}
            ),
            piece(2, type="input_json_delta", partial_json=""),
            piece(2, type="input_json_delta", partial_json='{"x":1}'),
            event("content_block_stop", index=2),
            event("something_new"),
        ]
    )
    assert (delta.text, delta.thinking, delta.records) == ("Hello", "hm", b"")
    assert delta.tool_calls == [ToolCallDelta(0, "t", "f"), ToolCallDelta(0, arguments='{"x":1}')]
    [last] = decoder.decode([END, STOP])
    assert (last.usage, last.finish_reason) == (Usage(5, 9), FinishReason.STOP)
    decoder.check_end()


def test_pieces_of_thinking_keep_their_own_signatures_however_they_arrive():
    decoder, built = EventDecoder("p"), ReplyBuilder()
    deltas = decoder.decode(
        [
            piece(0, type="thinking_delta", thinking="one"),
            piece(0, type="signature_delta", signature="s1"),
            event("content_block_start", index=1, content_block={"type": "redacted_thinking", "data": "hidden"}),
            piece(2, type="thinking_delta", thinking="two"),
            piece(2, type="signature_delta", signature="s2"),
            piece(3, type="text_delta", text="text"),
        ]
    )
    for delta in deltas:
        built.add(delta)
    assert built.build().thinking == [Thinking("one", "s1"), Thinking(redacted="hidden"), Thinking("two", "s2")]
    assert built.build().text == "text"


def test_what_was_said_before_more_thinking_is_told_before_it_however_they_arrive():
    deltas = EventDecoder("p").decode(
        [
            START,
            piece(0, type="thinking_delta", thinking="one"),
            piece(0, type="signature_delta", signature="s1"),
            piece(1, type="text_delta", text="text"),
            piece(2, type="thinking_delta", thinking="two"),
            piece(2, type="signature_delta", signature="s2"),
            event("content_block_start", index=3, content_block={"type": "tool_use", "id": "t", "name": "f"}),
        ]
    )
    assert [(one.thinking, one.signature, one.text, len(one.tool_calls)) for one in deltas] == [
        ("one", "s1", "", 0),
        ("", "", "text", 0),
        ("two", "s2", "", 0),
        ("", "", "", 1),
    ]


def test_a_client_of_the_dialect_gets_the_events_as_they_came_and_the_last_one_apart():
    decoder = EventDecoder("p", keeps_records=True)
    odd = b'{"type": "of_tomorrow",  "x": [1.0]}'
    [delta] = decoder.decode([START, event("ping"), odd])
    assert delta.records == b"".join(
        b"event: %b\ndata: %b\n\n" % (kind, data)
        for kind, data in ((b"message_start", START), (b"ping", event("ping")), (b"of_tomorrow", odd))
    )
    assert delta.usage == Usage(5, 1)
    [last] = decoder.decode([END, STOP])
    assert last.records.startswith(b"event: message_delta\n")
    assert last.last_record == b"event: message_stop\ndata: " + STOP + b"\n\n"


def test_what_a_cache_took_is_known_from_the_start_of_the_message():
    decoder = EventDecoder("p")
    creation = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 7}
    counts = {"input_tokens": 1, "output_tokens": 1, "cache_creation_input_tokens": 7, "cache_creation": creation}
    decoder.decode([event("message_start", message={"usage": counts})])
    [delta] = decoder.decode([END])
    assert delta.usage == Usage(8, 9, cache_write_tokens=7, cache_write_1h_tokens=7)


def test_a_clients_own_request_passes_with_nothing_but_its_model_and_stream_set():
    body = {"model": "alias", "stream": False, "max_tokens": 3, "of_tomorrow": {"kept": True}, "messages": []}
    turn = Turn((), original=Original(Dialect.MESSAGES, body))
    kept = {"max_tokens": 3, "of_tomorrow": {"kept": True}, "messages": []}
    assert encoded(turn) == {"model": "m", **kept}
    assert encoded(turn, stream=True) == {"model": "m", "stream": True, **kept}


def test_thinking_is_asked_for_in_tokens():
    assert encoded(Turn((USER,), thinking_tokens=2000))["thinking"] == {"type": "enabled", "budget_tokens": 2000}
    assert encoded(Turn((USER,), thinking_tokens=0))["thinking"] == {"type": "disabled"}


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"input_tokens":"many"}', b'{"input_tokens":-1}'])
def test_a_count_that_is_none_is_a_bad_upstream(body):
    with pytest.raises(BadUpstream):
        decode_count("p", body)


@pytest.mark.parametrize("events", [[], [START], [START, END], [START, STOP]])
def test_a_stream_without_reason_or_stop_is_cut(events):
    decoder = EventDecoder("p")
    decoder.decode(events)
    with pytest.raises(BadUpstream, match="broke off"):
        decoder.check_end()


@pytest.mark.parametrize(
    "bad",
    [
        b"{",
        b"[]",
        b"{}",
        event("content_block_delta"),
        event("message_delta", delta={}),
        piece(0, type="text_delta", text=5),
    ],
)
def test_what_came_before_nonsense_is_told_first(bad):
    decoder = EventDecoder("p")
    [delta] = decoder.decode([piece(0, type="text_delta", text="good"), bad])
    assert delta.text == "good"
    with pytest.raises(BadUpstream):
        decoder.check_end()


def test_an_error_in_the_stream_keeps_its_class():
    decoder = EventDecoder("p")
    assert decoder.decode([event("error", error={"type": "overloaded_error", "message": "m"})]) == []
    with pytest.raises(Unavailable):
        decoder.check_end()


def document(media_type: str, data: bytes) -> dict[str, Any]:
    parts = (Document(media_type=media_type, data=base64.b64encode(data).decode()),)
    [message] = orjson.loads(encode_request(Turn([Message(Role.USER, parts)]), "m", stream=False))["messages"]
    source: dict[str, Any] = message["content"][0]["source"]
    return source


def test_documents_go_as_the_kinds_that_claude_takes():
    assert document("application/pdf", b"%PDF")["type"] == "base64"
    assert document("text/csv", "ä,b".encode()) == {"type": "text", "media_type": "text/plain", "data": "ä,b"}
    with pytest.raises(InvalidArgument, match="Claude takes documents of application/pdf and text"):
        document("application/msword", b"x")
    with pytest.raises(InvalidArgument, match="must be UTF-8"):
        document("text/plain", b"\xff")


def test_what_a_reply_took_beside_its_own_counts_is_counted_and_another_models_price_is_not_known():
    message: dict[str, Any] = {
        "id": "m",
        "content": [{"type": "text", "text": "x"}],
        "stop_reason": "end_turn",
        "usage": {
            "input_tokens": 5,
            "output_tokens": 4,
            "iterations": [
                {"type": "message", "input_tokens": 5, "output_tokens": 4},
                {"type": "compaction", "input_tokens": 70, "output_tokens": 6, "cache_read_input_tokens": 3},
            ],
        },
    }
    assert decode_reply("claude", orjson.dumps(message)).usage == Usage(78, 10, cached_input_tokens=3)
    message["usage"]["iterations"] = [{"type": "fallback_message", "input_tokens": 5, "output_tokens": 4}]
    assert decode_reply("claude", orjson.dumps(message)).usage == Usage(5, 4, unpriced_calls=1)
