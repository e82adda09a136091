"""Replies as Anthropic's messages: held to the types of its own SDK, and streams to its accumulator."""

import datetime as dt
import uuid
from typing import Any

import orjson
import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from services.chat.dialects.anthropic_messages_reply import MessageWriter, error_record, message
from services.chat.dialects.base import Stamp
from services.chat.turn import Delta, FinishReason, Reply, ReplyBuilder, Thinking, ToolCall, ToolCallDelta, Usage
from shared.errors import (
    BadUpstream,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)

EVENTS = TypeAdapter(RawMessageStreamEvent)
STAMP = Stamp(uuid.UUID(int=1), dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
PING = {"type": "ping"}
USAGE = Usage(20, 9, cached_input_tokens=5, reasoning_tokens=4, cache_write_tokens=3, cache_write_1h_tokens=1)


def whole(reply: Reply, *, shows_thinking: bool = True) -> Message:
    made = message(reply, STAMP, "m", shows_thinking=shows_thinking)
    return Message.model_validate(orjson.loads(made), strict=True)


def events(*deltas: Delta, shows_thinking: bool = True) -> list:
    writer, built = MessageWriter(STAMP, shows_thinking=shows_thinking), ReplyBuilder()
    written = b""
    for delta in deltas:
        built.add(delta)
        written += writer.write(delta, "m")
    return read(written + writer.end(built.build()))


def read(written: bytes) -> list:
    found = []
    for record in written.decode().removesuffix("\n\n").split("\n\n"):
        name, data = record.split("\n")
        found.append(orjson.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def accumulated(told: list) -> Any:
    """Puts a stream together as the SDK does; its types are strict about what each event holds."""
    snapshot: Any = None
    pieces: dict[int, bytes] = {}
    for event in told:
        if event != PING:
            parsed = EVENTS.validate_python(event, strict=True)
            snapshot = accumulate_event(event=parsed, current_snapshot=snapshot, json_bufs=pieces)
    return snapshot


def outline(told: list) -> list:
    return [(event["type"], event["index"]) if "index" in event else event["type"] for event in told]


class TestWholeReplies:
    def test_blocks_stand_in_the_order_of_claude(self):
        reply = Reply(
            "text",
            tool_calls=[ToolCall("t", "f", '{"a": 1.0}'), ToolCall("", "g", "")],
            finish_reason=FinishReason.TOOL_CALLS,
            usage=USAGE,
            thinking=[Thinking("hm", "s"), Thinking(redacted="x")],
        )
        made = whole(reply)
        assert [block.type for block in made.content] == [
            "thinking",
            "redacted_thinking",
            "text",
            "tool_use",
            "tool_use",
        ]
        thinking, redacted, text, call, other = made.content
        assert (thinking.thinking, thinking.signature, redacted.data, text.text) == ("hm", "s", "x", "text")
        assert (call.id, call.name, call.input) == ("t", "f", {"a": 1})
        assert other.id == f"toolu_{uuid.UUID(int=1).hex}1"
        assert other.input == {}
        assert (made.id, made.model, made.stop_reason) == (f"msg_{uuid.UUID(int=1).hex}", "m", "tool_use")

    def test_tokens_of_a_cache_are_counted_beside_the_others(self):
        usage = whole(Reply("x", usage=USAGE)).usage
        assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (12, 5, 3)
        assert (usage.cache_creation.ephemeral_5m_input_tokens, usage.cache_creation.ephemeral_1h_input_tokens) == (
            2,
            1,
        )
        assert (usage.output_tokens, usage.output_tokens_details.thinking_tokens) == (9, 4)

    def test_thinking_is_shown_to_those_only_who_asked_for_it(self):
        reply = Reply("x", thinking=[Thinking("hm")])
        assert [block.type for block in whole(reply, shows_thinking=False).content] == ["text"]

    @pytest.mark.parametrize("arguments", ["{", "[1]", "null", '{"a": 1} x'])
    def test_arguments_that_are_no_object_are_told_as_they_came(self, arguments):
        [call] = whole(Reply("", tool_calls=[ToolCall("t", "f", arguments)])).content
        assert call.input == {"INVALID_JSON": arguments}

    @pytest.mark.parametrize(
        ("reason", "calls", "told"),
        [
            (FinishReason.STOP, False, "end_turn"),
            (FinishReason.STOP, True, "tool_use"),
            (FinishReason.TOOL_CALLS, True, "tool_use"),
            (FinishReason.LENGTH, True, "max_tokens"),
            (FinishReason.CONTENT_FILTER, False, "refusal"),
        ],
    )
    def test_why_it_ended(self, reason, calls, told):
        made_calls = [ToolCall("t", "f", "{}")] if calls else []
        assert whole(Reply("x", tool_calls=made_calls, finish_reason=reason)).stop_reason == told
        deltas = [Delta(tool_calls=[ToolCallDelta(0, "t", "f", "{}")])] if calls else []
        assert accumulated(events(*deltas, Delta(finish_reason=reason))).stop_reason == told


class TestStreams:
    def test_every_kind_of_block_is_begun_and_ended_in_its_turn(self):
        told = events(
            Delta(usage=Usage(20, 0)),
            Delta(thinking="h"),
            Delta(thinking="m", signature="s"),
            Delta(redacted="x"),
            Delta(text="te"),
            Delta(text="xt", tool_calls=[ToolCallDelta(0, "t", "f")]),
            Delta(tool_calls=[ToolCallDelta(0, arguments='{"a"'), ToolCallDelta(0, arguments=":1}")]),
            Delta(tool_calls=[ToolCallDelta(1, "u", "g", "{}")], finish_reason=FinishReason.TOOL_CALLS),
            Delta(usage=USAGE),
        )
        start, piece, stop = "content_block_start", "content_block_delta", "content_block_stop"
        assert outline(told) == [
            "message_start",
            "ping",
            *[(start, 0), (piece, 0), (piece, 0), (piece, 0), (stop, 0)],
            *[(start, 1), (stop, 1)],
            *[(start, 2), (piece, 2), (piece, 2), (stop, 2)],
            *[(start, 3), (piece, 3), (piece, 3), (stop, 3)],
            *[(start, 4), (piece, 4), (stop, 4)],
            "message_delta",
            "message_stop",
        ]
        made = accumulated(told)
        thinking, redacted, text, call, other = made.content
        assert (thinking.thinking, thinking.signature, redacted.data, text.text) == ("hm", "s", "x", "text")
        assert (call.id, call.name, call.input, other.id, other.input) == ("t", "f", {"a": 1}, "u", {})
        assert made.stop_reason == "tool_use"
        assert (made.usage.input_tokens, made.usage.cache_read_input_tokens, made.usage.output_tokens) == (12, 5, 9)

    def test_what_says_that_the_reply_is_whole_waits_for_the_end(self):
        writer = MessageWriter(STAMP, shows_thinking=True)
        written = writer.write(Delta("x", finish_reason=FinishReason.STOP, usage=USAGE), "m")
        assert outline(read(written))[-1] == ("content_block_stop", 0)
        assert outline(read(writer.end(Reply("x")))) == ["message_delta", "message_stop"]

    def test_an_empty_reply_is_a_message_too(self):
        assert accumulated(events(Delta(finish_reason=FinishReason.STOP))).content == []
        assert outline(events()) == ["message_start", "ping", "message_delta", "message_stop"]

    def test_thinking_is_shown_to_those_only_who_asked_for_it(self):
        told = events(Delta(thinking="hm", signature="s"), Delta(redacted="x"), Delta("text"), shows_thinking=False)
        assert [block.type for block in accumulated(told).content] == ["text"]

    def test_a_call_goes_on_for_as_long_as_nothing_else_is_told(self):
        with pytest.raises(BadUpstream, match="mixed"):
            events(
                Delta(tool_calls=[ToolCallDelta(0, "t", "f", "{")]),
                Delta("text"),
                Delta(tool_calls=[ToolCallDelta(0, arguments="}")]),
            )

    def test_a_refusal_is_told_as_the_reason_of_the_end(self):
        told = events(Delta("I will not", is_refusal=True), Delta(finish_reason=FinishReason.STOP))
        for made in (accumulated(told), whole(Reply("I will not", is_refusal=True))):
            assert ([block.text for block in made.content], made.stop_reason) == (["I will not"], "refusal")
            assert made.stop_details.type == "refusal"

    pieces = st.one_of(
        st.builds(lambda text: Delta(text=text), st.text(max_size=5)),
        st.builds(lambda text: Delta(thinking=text), st.text(max_size=5)),
        st.builds(lambda text: Delta(thinking=text, signature="s"), st.text(min_size=1, max_size=5)),
        st.builds(lambda text: Delta(redacted=text), st.text(min_size=1, max_size=5)),
        st.builds(lambda text, more: Delta(text=text, thinking=more), st.text(max_size=5), st.text(max_size=5)),
    )

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(pieces, max_size=8), st.lists(st.dictionaries(st.text(max_size=3), st.integers(0, 9)), max_size=3))
    def test_a_stream_holds_what_the_whole_reply_does(self, pieces, inputs):
        calls = []
        for index, one in enumerate(inputs):
            written = orjson.dumps(one).decode()
            calls.append(Delta(tool_calls=[ToolCallDelta(index, f"t{index}", "f", written[:2])]))
            calls += [Delta(tool_calls=[ToolCallDelta(index, arguments=char)]) for char in written[2:]]
        deltas = [*pieces, *calls, Delta(finish_reason=FinishReason.STOP, usage=USAGE)]
        built = ReplyBuilder()
        for delta in deltas:
            built.add(delta)
        streamed, at_once = accumulated(events(*deltas)), whole(built.build())

        def said(made: Message) -> tuple:
            texts = "".join(block.text for block in made.content if block.type == "text")
            thoughts = "".join(block.thinking for block in made.content if block.type == "thinking")
            hidden = [block.data for block in made.content if block.type == "redacted_thinking"]
            return texts, thoughts, hidden, [block.input for block in made.content if block.type == "tool_use"]

        assert said(streamed) == said(at_once)
        assert streamed.stop_reason == at_once.stop_reason
        # How long a cache keeps what is told at the start of a stream only, where that is known by then.
        unsaid = {"cache_creation": None}
        assert streamed.usage.model_copy(update=unsaid) == at_once.usage.model_copy(update=unsaid)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InvalidArgument("no"), "invalid_request_error"),
        (NotFound("no"), "not_found_error"),
        (ResourceExhausted("no"), "rate_limit_error"),
        (Unavailable("no"), "overloaded_error"),
        (DeadlineExceeded("no"), "timeout_error"),
        (BadUpstream("no"), "api_error"),
    ],
)
def test_an_error_in_a_stream_has_the_shape_of_the_dialect(error, kind):
    assert read(error_record(error, "r1")) == [
        {"type": "error", "error": {"type": kind, "message": "no"}, "request_id": "r1"}
    ]
