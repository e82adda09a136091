"""OpenAI's responses, as they are passed on: what of them is metered, stored or an error."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from services.chat.providers.openai_responses_wire import ResponseDecoder, decode_reply, encode_request
from services.chat.turn import Delta, Dialect, FinishReason, Original, ReplyBuilder, ToolCall, Usage
from shared.errors import BadUpstream, GaiaError, InvalidArgument, ResourceExhausted

USAGE = {
    "input_tokens": 5,
    "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
    "output_tokens": 4,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 9,
}
METERED = Usage(5, 4, cached_input_tokens=2, reasoning_tokens=3, cache_write_tokens=1)
TEXT = {"type": "message", "content": [{"type": "output_text", "text": "hel"}, {"type": "refusal", "refusal": "lo"}]}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"a":1}'}
WHOLE: dict[str, Any] = {"id": "resp_1", "status": "completed", "output": [TEXT], "usage": USAGE, "novelty": 1}


def decoded(**fields):
    return decode_reply("openai", orjson.dumps({**WHOLE, **fields}))


def data(kind: str, **fields: Any) -> bytes:
    return orjson.dumps({"type": kind, **fields})


def record(one: bytes) -> bytes:
    return b"event: " + orjson.loads(one)["type"].encode() + b"\ndata: " + one + b"\n\n"


def run(decoder: ResponseDecoder, *batches: list[bytes]) -> tuple[list[Delta], ReplyBuilder]:
    deltas, builder = [], ReplyBuilder()
    for events in batches:
        if (delta := decoder.decode(events)) is not None:
            deltas.append(delta)
            builder.add(delta)
    return deltas, builder


def test_a_request_goes_as_it_is_but_for_the_models_name():
    body = {"model": "alias", "input": "hi", "stream": False, "novelty": {"a": None}}
    original = Original(Dialect.RESPONSES, body)
    assert orjson.loads(encode_request(original, "gpt-5", stream=False)) == {**body, "model": "gpt-5"}
    assert orjson.loads(encode_request(original, "gpt-5", stream=True))["stream"] is True
    assert body["model"] == "alias"


def test_a_whole_reply_is_passed_on_and_read():
    reply = decoded(output=[{"type": "web_search_call"}, TEXT, CALL])
    assert orjson.loads(reply.body) == {**WHOLE, "output": [{"type": "web_search_call"}, TEXT, CALL]}
    searched = replace(METERED, web_searches=1)
    assert (reply.text, reply.tool_calls, reply.usage) == ("hello", [ToolCall("c1", "f", '{"a":1}')], searched)
    assert reply.finish_reason is FinishReason.TOOL_CALLS


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, FinishReason.STOP),
        ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}, FinishReason.LENGTH),
        ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}, FinishReason.CONTENT_FILTER),
        ({"status": "incomplete", "incomplete_details": {"reason": "steered"}}, FinishReason.STOP),
        ({"status": "incomplete", "incomplete_details": None}, FinishReason.STOP),
    ],
)
def test_the_reason_is_read(fields, reason):
    assert decoded(**fields).finish_reason is reason


def test_a_reply_without_usage_has_none():
    assert decoded(usage=None).usage is None
    assert decoded(usage={"input_tokens": 1, "output_tokens": 2}).usage == Usage(1, 2)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": "rate_limit_exceeded", "message": "slow down"}, ResourceExhausted),
        ({"code": "server_error", "message": "broken"}, BadUpstream),
        ({"code": "invalid_prompt", "message": "odd"}, InvalidArgument),
        ({"code": "image_too_small", "message": "tiny"}, InvalidArgument),
        (None, BadUpstream),
    ],
)
def test_a_response_that_failed_is_an_error_of_its_class(error, kind: type[GaiaError]):
    with pytest.raises(kind):
        decoded(status="failed", error=error)
    decoder = ResponseDecoder("openai")
    deltas, _ = run(decoder, [data("response.failed", response={"status": "failed", "error": error, "usage": USAGE})])
    assert isinstance(decoder.failure, kind)
    assert [(delta.usage, delta.records, delta.last_record) for delta in deltas] == [(METERED, b"", b"")]


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"{}", b'{"status": "queued", "output": []}', b'{"status": "completed", "output": [3]}']
)
def test_nonsense_is_a_bad_upstream(body):
    with pytest.raises(BadUpstream, match="no response"):
        decode_reply("openai", body)


def test_events_pass_as_they_came_and_the_last_one_waits():
    events = [
        data("response.created", response={"status": "in_progress"}),
        data("response.output_item.added", output_index=0, item={"type": "message"}),
        data("response.output_text.delta", output_index=0, delta="hel"),
        data("response.refusal.delta", output_index=0, delta="lo"),
        data("response.output_item.added", output_index=1, item={**CALL, "arguments": ""}),
        data("response.function_call_arguments.delta", output_index=1, delta='{"a":1}'),
        data("response.output_item.done", output_index=1, item=CALL),
        data("response.output_item.added", output_index=2, item={**CALL, "call_id": "c2"}),
        data("response.output_item.done", output_index=2, item={**CALL, "call_id": "c2"}),
        data("response.something.new", novelty=[1]),
    ]
    last = data("response.completed", response=WHOLE)
    decoder = ResponseDecoder("openai")
    deltas, builder = run(decoder, events[:4], events[4:], [last])
    decoder.check_end()
    assert b"".join(delta.records for delta in deltas) == b"".join(record(event) for event in events)
    assert builder.last_record == record(last)
    reply = builder.build()
    assert reply.text == "hello"
    assert list(reply.tool_calls) == [ToolCall("c1", "f", '{"a":1}'), ToolCall("c2", "f", '{"a":1}')]
    assert (reply.finish_reason, reply.usage) == (FinishReason.TOOL_CALLS, METERED)


def test_an_error_event_is_told_by_its_class_after_what_came_before():
    for error in (
        {"code": "rate_limit_exceeded", "message": "slow down", "param": None},
        {"error": {"type": "rate_limit_error", "code": "x", "message": "slow down"}},
    ):
        decoder = ResponseDecoder("openai")
        text = data("response.output_text.delta", output_index=0, delta="half")
        [delta], _ = run(decoder, [text, data("error", **error)])
        assert (delta.text, delta.records) == ("half", record(text))
        with pytest.raises(ResourceExhausted):
            decoder.check_end()


@pytest.mark.parametrize("event", [b"{", b"[]", b"{}", b'{"type": "a\\nb"}', b'{"type": "response.output_text.delta"}'])
def test_an_event_that_is_none_is_a_bad_upstream(event):
    decoder = ResponseDecoder("openai")
    assert decoder.decode([event]) is None
    assert isinstance(decoder.failure, BadUpstream)


def test_a_stream_that_is_over_before_the_reply_is_cut():
    decoder = ResponseDecoder("openai")
    decoder.decode([data("response.output_text.delta", output_index=0, delta="half")])
    with pytest.raises(BadUpstream, match="broke off"):
        decoder.check_end()
