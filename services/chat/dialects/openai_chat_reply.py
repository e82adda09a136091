"""Replies in the shapes of OpenAI's chat completions: the whole one, its chunks, and an error inside of a stream."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from services.chat.dialects.base import Stamp
from services.chat.dialects.openai_chat_reasoning import BLOCKS, TEXT, block_of, thought_fields
from services.chat.told_faults import CODE, PARAM
from services.chat.turn import Delta, FinishReason, Reply, Thinking, ToolCall, Usage
from shared.errors import (
    DeadlineExceeded,
    GaiaError,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)

DONE = b"data: [DONE]\n\n"

_ERROR_TYPES: Sequence[tuple[type[GaiaError], str]] = (
    (InvalidArgument, "invalid_request_error"),
    (NotFound, "not_found_error"),
    (ResourceExhausted, "rate_limit_error"),
    (Unavailable, "service_unavailable_error"),
    (DeadlineExceeded, "timeout_error"),
    (GaiaError, "api_error"),
)
_ERROR_CODES: Mapping[str, str] = {"UNKNOWN_MODEL": "model_not_found"}
"""Codes that OpenAI's clients know by another name than the reason's."""


def completion_id(stamp: Stamp) -> str:
    """Returns the id of a completion."""
    return f"chatcmpl-{stamp.call_id.hex}"


def completion(reply: Reply, stamp: Stamp, model: str, *, shows_thinking: bool = False) -> bytes:
    """Encodes a whole reply. `shows_thinking` is for clients that bring it back with the result of a tool."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None, "refusal": None}
    if reply.tool_calls:
        message["tool_calls"] = [_call(call) for call in reply.tool_calls]
    elif not reply.text:
        message["content"] = ""
    if shows_thinking and reply.thinking:
        message |= thought_fields(reply.thinking)
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reply.finish_reason.value}
    body: dict[str, Any] = {
        "id": completion_id(stamp),
        "object": "chat.completion",
        "created": stamp.created,
        "model": model,
        "choices": [choice],
    }
    if reply.usage is not None:
        body["usage"] = _usage(reply.usage)
    return orjson.dumps(body)


class ChunkWriter:
    """Encodes deltas as chunks, each a server-sent event. `shows_thinking` is as with `completion`."""

    def __init__(self, stamp: Stamp, *, include_usage: bool, shows_thinking: bool = False) -> None:
        self._head = {"id": completion_id(stamp), "object": "chat.completion.chunk", "created": stamp.created}
        self._include_usage = include_usage
        self._shows_thinking = shows_thinking
        self._thoughts: list[str] = []
        self._blocks = 0
        self._began = False
        self._model = ""

    def write(self, delta: Delta, model: str) -> bytes:
        """Returns the events of a delta, which may be none."""
        self._model = model
        added: dict[str, Any] = self._thought(delta) if self._shows_thinking else {}
        if delta.text:
            added["content"] = delta.text
        if delta.tool_calls:
            added["tool_calls"] = [
                {
                    "index": call.index,
                    **({"id": call.id, "type": "function"} if call.id else {}),
                    "function": {**({"name": call.name} if call.name else {}), "arguments": call.arguments},
                }
                for call in delta.tool_calls
            ]
        records = b""
        if added and not self._began:
            self._began = True
            added = {"role": "assistant", "content": None, **added}
        if added:
            records = self._record([_choice(added, None)])
        if delta.finish_reason is not None:
            role = {} if self._began else {"role": "assistant", "content": ""}
            self._began = True
            records += self._record([_choice(role, delta.finish_reason.value)])
        return records

    def end(self, reply: Reply) -> bytes:
        """Returns the last event before the end marker: the usage, where the client asked for it."""
        if not self._include_usage or reply.usage is None:
            return b""
        return self._record([], usage=_usage(reply.usage))

    def last(self, reason: FinishReason, model: str, usage: Usage | None, more: Mapping[str, Any]) -> bytes:
        """Returns the event of the finish reason, with the usage and further fields."""
        self._model = model
        delta = {} if self._began else {"role": "assistant", "content": ""}
        counts = {} if usage is None else {"usage": _usage(usage)}
        return self._record([_choice(delta, reason.value)], **counts, **more)

    def _thought(self, delta: Delta) -> dict[str, Any]:
        """Makes the fields of what was thought: its text as it comes, each piece once more, whole, with its proof."""
        added: dict[str, Any] = {}
        if delta.thinking:
            self._thoughts.append(delta.thinking)
            added[TEXT] = delta.thinking
        ended = [Thinking("".join(self._thoughts), delta.signature)] if delta.signature else []
        ended += [Thinking(redacted=delta.redacted)] if delta.redacted else []
        if ended:
            self._thoughts = []
            added[BLOCKS] = [{"index": self._blocks + at, **(block_of(one) or {})} for at, one in enumerate(ended)]
            self._blocks += len(ended)
        return added

    def _record(self, choices: Sequence[dict[str, Any]], **more: Any) -> bytes:
        return b"data: " + orjson.dumps({**self._head, "model": self._model, "choices": choices, **more}) + b"\n\n"


def error_record(error: GaiaError) -> bytes:
    """Encodes an error in the middle of a stream as an event."""
    return b"data: " + orjson.dumps({"error": error_object(error)}) + b"\n\n"


def error_object(error: GaiaError) -> dict[str, Any]:
    """Makes the `error` that OpenAI's SDKs read."""
    kind = next(name for cls, name in _ERROR_TYPES if isinstance(error, cls))
    param = error.violations[0].field if error.violations else error.metadata.get(PARAM)
    reason = error.reason or error.code
    code = error.metadata.get(CODE) or _ERROR_CODES.get(reason, reason.lower())
    return {"message": str(error), "type": kind, "param": param, "code": code}


def _choice(delta: dict[str, Any], finish_reason: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
