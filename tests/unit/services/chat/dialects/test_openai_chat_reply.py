"""Replies in OpenAI's shapes, read back by the OpenAI SDK's own types."""

import datetime as dt
import uuid

import orjson
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from services.chat.dialects.base import Stamp
from services.chat.dialects.openai_chat_reply import ChunkWriter, completion, error_record
from services.chat.turn import Delta, FinishReason, Reply, ToolCall, ToolCallDelta, Usage
from shared.errors import (
    BadUpstream,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)

STAMP = Stamp(uuid.UUID(int=1), dt.datetime.fromtimestamp(1, dt.UTC))


def chunks_of(records: bytes) -> list[ChatCompletionChunk]:
    lines = records.decode().removesuffix("\n\n").split("\n\n")
    return [
        ChatCompletionChunk.model_validate(orjson.loads(line.removeprefix("data: ")), strict=True) for line in lines
    ]


def read(reply: Reply) -> ChatCompletion:
    body = completion(reply, STAMP, "m")
    return ChatCompletion.model_validate(orjson.loads(body), strict=True)


def test_a_whole_reply_is_a_completion():
    answer = read(Reply("hi", (ToolCall("c", "f", "{}"),), FinishReason.TOOL_CALLS, Usage(3, 4, 1, 2)))
    [choice] = answer.choices
    assert (choice.message.content, choice.finish_reason) == ("hi", "tool_calls")
    assert [call.id for call in choice.message.tool_calls or []] == ["c"]
    assert answer.usage is not None
    assert answer.usage.total_tokens == 7


def test_a_reply_of_tool_calls_only_has_no_content_and_an_empty_one_has_an_empty_text():
    assert read(Reply("", (ToolCall("c", "f", "{}"),))).choices[0].message.content is None
    assert read(Reply("")).choices[0].message.content == ""
    assert read(Reply("")).usage is None


def test_the_first_chunk_names_the_role_and_the_last_one_the_reason():
    writer = ChunkWriter(STAMP, include_usage=True)
    records = writer.write(Delta("Hel"), "m") + writer.write(Delta("lo"), "m")
    records += writer.write(Delta(tool_calls=[ToolCallDelta(0, "c", "f"), ToolCallDelta(0, arguments="{}")]), "m")
    records += writer.write(Delta(finish_reason=FinishReason.TOOL_CALLS), "m")
    records += writer.end(Reply("", usage=Usage(1, 2)))
    chunks = chunks_of(records)
    assert [chunk.choices[0].delta.role for chunk in chunks[:-1]] == ["assistant", None, None, None]
    assert [chunk.choices[0].delta.content for chunk in chunks[:-1]] == ["Hel", "lo", None, None]
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None, None, None, "tool_calls"]
    assert chunks[-1].choices == []
    assert {(chunk.id, chunk.created, chunk.model) for chunk in chunks} == {(f"chatcmpl-{STAMP.call_id.hex}", 1, "m")}


def test_an_empty_reply_still_names_its_role():
    writer = ChunkWriter(STAMP, include_usage=False)
    assert writer.write(Delta(usage=Usage(1, 0)), "m") == b""
    [chunk] = chunks_of(writer.write(Delta(finish_reason=FinishReason.STOP), "m"))
    assert (chunk.choices[0].delta.role, chunk.choices[0].delta.content) == ("assistant", "")
    assert writer.end(Reply("", usage=Usage(1, 0))) == b""


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (InvalidArgument.field("messages", "are odd"), "invalid_request_error", "invalid_argument"),
        (NotFound("x", reason="UNKNOWN_MODEL"), "not_found_error", "model_not_found"),
        (
            InvalidArgument("x", reason="PROVIDER_REFUSED", metadata={"provider_code": "context_length_exceeded"}),
            "invalid_request_error",
            "context_length_exceeded",
        ),
        (ResourceExhausted("x"), "rate_limit_error", "resource_exhausted"),
        (Unavailable("x"), "service_unavailable_error", "unavailable"),
        (DeadlineExceeded("x", reason="PROVIDER_TIMEOUT"), "timeout_error", "provider_timeout"),
        (BadUpstream("x"), "api_error", "bad_upstream"),
    ],
)
def test_an_error_in_a_stream_has_openais_shape(error, kind, code):
    body = orjson.loads(error_record(error).removeprefix(b"data: "))["error"]
    assert (body["type"], body["code"], body["message"]) == (kind, code, str(error))
    assert body["param"] == ("messages" if error.violations else None)
