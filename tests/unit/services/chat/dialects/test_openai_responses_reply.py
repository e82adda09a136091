"""Replies in the shapes of OpenAI's responses, read back by the OpenAI SDK's own types."""

import datetime as dt
import uuid
from typing import Any, get_args

import orjson
import pytest
from openai.types.responses import Response, ResponseStreamEvent

from services.chat.dialects.base import Stamp
from services.chat.dialects.openai_responses import parse
from services.chat.turn import (
    Delta,
    FinishReason,
    Reply,
    ReplyBuilder,
    Text,
    Thinking,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from shared.errors import BadUpstream, InvalidArgument

STAMP = Stamp(uuid.UUID(int=1), dt.datetime.fromtimestamp(1, dt.UTC))
KINDS = {get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(get_args(ResponseStreamEvent)[0])}
ASK: dict[str, Any] = {"model": "m", "input": "hi"}


def asking(**fields):
    return parse(orjson.dumps({**ASK, **fields}))


def read(records: bytes) -> list[Any]:
    """Reads events by the SDK's types, strictly; the name of each is its type."""
    events = []
    for record in records.decode().removesuffix("\n\n").split("\n\n"):
        name, data = record.split("\n")
        event = orjson.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(KINDS[event["type"]].model_validate(event, strict=True))
    return events


def told(*deltas: Delta, **fields: Any) -> list[Any]:
    """Returns the events of a stream of deltas."""
    writer, builder, records = asking(**fields).writer(STAMP), ReplyBuilder(), b""
    for delta in deltas:
        builder.add(delta)
        records += writer.write(delta, "model-1")
    assert b"response.completed" not in records, "this waits until the reply is stored"
    return read(records + writer.end(builder.build()))


def whole(reply: Reply, **fields: Any) -> Any:
    return Response.model_validate(orjson.loads(asking(**fields).encode(reply, "model-1", STAMP)), strict=True)


def test_a_whole_reply_is_a_response():
    answer = whole(
        Reply(
            "hello",
            (ToolCall("c1", "f", "{}"), ToolCall("", "g", "{}")),
            FinishReason.TOOL_CALLS,
            Usage(5, 7, cached_input_tokens=2, reasoning_tokens=3, cache_write_tokens=1),
            thinking=(Thinking("hm", "proof"), Thinking(redacted="secret")),
        )
    )
    assert (answer.object, answer.status, answer.model, answer.output_text) == (
        "response",
        "completed",
        "model-1",
        "hello",
    )
    assert [item.type for item in answer.output] == ["reasoning", "reasoning", "message", *["function_call"] * 2]
    thought, hidden, _, call, other = answer.output
    assert [part.text for part in thought.summary] == ["hm"]
    assert (thought.encrypted_content, hidden.encrypted_content) == ("gaia:signed:proof", "gaia:redacted:secret")
    assert (call.call_id, call.name, call.arguments, call.status) == ("c1", "f", "{}", "completed")
    assert other.call_id, "a call without an id could not be answered"
    usage = answer.usage
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (5, 7, 12)
    assert (usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens) == (2, 3)
    assert len({item.id for item in answer.output}) == 5


def test_a_response_repeats_its_request():
    tools = [{"type": "function", "name": "f"}]
    asked = {
        "instructions": "be kind",
        "metadata": {"a": "b"},
        "temperature": 0.5,
        "text": {"verbosity": "low"},
        "tools": tools,
        "tool_choice": {"type": "function", "name": "f"},
        "max_output_tokens": 9,
        "user": "u",
    }
    answer = whole(Reply("x"), **asked).to_dict()
    assert {name: answer[name] for name in asked if name not in ("text", "tools")} == {
        name: value for name, value in asked.items() if name not in ("text", "tools")
    }
    assert answer["text"] == {"format": {"type": "text"}, "verbosity": "low"}
    assert answer["tools"] == [
        {"type": "function", "name": "f", "description": None, "parameters": None, "strict": None}
    ]
    silent = whole(Reply("x"))
    assert (silent.metadata, silent.tool_choice, silent.tools, silent.usage) == ({}, "auto", [], None)


@pytest.mark.parametrize(
    ("reason", "status", "why"),
    [
        (FinishReason.STOP, "completed", None),
        (FinishReason.TOOL_CALLS, "completed", None),
        (FinishReason.LENGTH, "incomplete", "max_output_tokens"),
        (FinishReason.CONTENT_FILTER, "incomplete", "content_filter"),
    ],
)
def test_the_status_says_why_it_ended(reason: FinishReason, status: str, why: str | None):
    answer = whole(Reply("x", finish_reason=reason))
    streamed = told(Delta("x"), Delta(finish_reason=reason))[-1]
    assert streamed.type == f"response.{status}"
    for response in (answer, streamed.response):
        details = response.incomplete_details
        assert (response.status, details and details.reason, response.output[0].status) == (status, why, status)


def test_a_text_is_told_from_its_beginning_to_its_end():
    events = told(Delta("Hel"), Delta("lo"), Delta(finish_reason=FinishReason.STOP), Delta(usage=Usage(1, 2)))
    assert [event.type for event in events] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[6].text == events[7].part.text == events[8].item.content[0].text == "Hello"
    first, last = events[0].response, events[-1].response
    assert (first.status, first.output, first.usage) == ("in_progress", [], None)
    assert last.id == f"resp_{STAMP.call_id.hex}"
    assert (last.id, last.output_text, last.usage.total_tokens) == (first.id, "Hello", 3)
    assert last.output == [events[8].item]
    assert {event.item_id for event in events[3:8]} == {events[2].item.id}


def test_thinking_text_and_calls_follow_one_another():
    events = told(
        Delta(thinking="let me "),
        Delta(thinking="see", signature="proof"),
        Delta(redacted="secret"),
        Delta("text", tool_calls=[ToolCallDelta(0, "c1", "f")]),
        Delta(tool_calls=[ToolCallDelta(0, arguments='{"a"'), ToolCallDelta(0, arguments=":1}")]),
        Delta(tool_calls=[ToolCallDelta(1, "c2", "g", "{}")], finish_reason=FinishReason.TOOL_CALLS),
        instructions="be kind",
    )
    assert [event.type.removeprefix("response.") for event in events[2:-1]] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    done = [event for event in events if event.type == "response.output_item.done"]
    assert [event.output_index for event in done] == [0, 1, 2, 3, 4]
    output = events[-1].response.output
    assert output == [event.item for event in done]
    assert len({item.id for item in output}) == 5
    assert [item.type for item in output] == ["reasoning", "reasoning", "message", "function_call", "function_call"]
    assert [part.text for part in output[0].summary] == ["let me see"]
    assert [item.encrypted_content for item in output[:2]] == ["gaia:signed:proof", "gaia:redacted:secret"]
    assert [(item.call_id, item.name, item.arguments) for item in output[3:]] == [
        ("c1", "f", '{"a":1}'),
        ("c2", "g", "{}"),
    ]


def test_what_a_model_thought_comes_back_as_it_was():
    output = told(Delta(thinking="hm", signature="proof"), Delta(redacted="x"), Delta("hi"))[-1].response.output
    sent = [{"role": "user", "content": "go"}, *[item.to_dict() for item in output]]
    turn, left_out = asking(input=sent).translated()
    assert left_out == ()
    assert turn.messages[1].parts[:2] == (Thinking("hm", "proof"), Thinking(redacted="x"))


def test_an_empty_reply_has_a_beginning_and_an_end():
    events = told(Delta(usage=Usage(1, 0)), Delta(finish_reason=FinishReason.STOP))
    assert [event.type for event in events] == ["response.created", "response.in_progress", "response.completed"]
    assert events[-1].response.output == []


def test_nothing_is_told_before_there_is_something_to_tell():
    assert asking().writer(STAMP).write(Delta(usage=Usage(1, 0)), "m") == b""


def test_arguments_that_go_on_behind_a_text_are_a_bad_upstream():
    writer = asking().writer(STAMP)
    writer.write(Delta(tool_calls=[ToolCallDelta(0, "a", "f")]), "m")
    writer.write(Delta("text"), "m")
    with pytest.raises(BadUpstream, match="mixed"):
        writer.write(Delta(tool_calls=[ToolCallDelta(0, arguments="{}")]), "m")


def test_an_error_in_a_stream_is_an_event_that_goes_on_with_the_numbers():
    asked = asking()
    events = read(asked.writer(STAMP).write(Delta("half"), "m"))
    record = asked.error_record(InvalidArgument.field("input[0]", "is odd"))
    [error] = read(record)
    assert error.sequence_number == len(events)
    assert (error.message, error.param, error.code) == ("input[0]: is odd", "input[0]", "invalid_argument")
    within = orjson.loads(record.split(b"data: ")[1])["error"]
    assert within["message"] == error.message
    assert within["type"] == "invalid_request_error"


def test_the_tier_that_was_asked_for_is_not_told_as_the_one_that_served():
    assert whole(Reply("hi"), service_tier="flex").service_tier is None


def test_what_was_said_between_pieces_of_thinking_stays_between_them():
    calls = (ToolCall("c", "f", "{}"),)
    answer: Any = whole(Reply("beforeafter", calls, thinking=(Thinking("1", "s"), Thinking("2", "t", at=6))))
    assert [item.type for item in answer.output] == ["reasoning", "message", "reasoning", "message", "function_call"]
    assert [item.content[0].text for item in answer.output if item.type == "message"] == ["before", "after"]
    # So it goes back to its provider.
    sent = [{"role": "user", "content": "go"}, *[item.to_dict() for item in answer.output]]
    turn, _ = asking(input=[*sent, {"type": "function_call_output", "call_id": "c", "output": "1"}]).translated()
    [_, *told, _] = turn.messages
    assert [one.parts for one in told] == [
        (Thinking("1", "s"), Text("before"), Thinking("2", "t")),
        (Text("after"),),
    ]
