"""Replies in the shapes of Anthropic's messages: the whole one, the events of a stream, and an error inside of it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from services.chat.dialects.base import Stamp
from services.chat.dialects.call_order import CallOrder
from services.chat.told_faults import DETAILS
from services.chat.turn import Delta, FinishReason, Reply, Thinking, ToolCall, ToolCallDelta, Usage
from shared.errors import (
    BadUpstream,
    DeadlineExceeded,
    GaiaError,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)

_REASONS: Mapping[FinishReason, str] = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.CONTENT_FILTER: "refusal",
}
_NO_END: Mapping[str, Any] = {"stop_reason": None, "stop_sequence": None, "stop_details": None}
# The types that the edge gives the errors of whole responses.
_ERROR_TYPES: Sequence[tuple[type[GaiaError], str]] = (
    (Unauthenticated, "authentication_error"),
    (PermissionDenied, "permission_error"),
    (NotFound, "not_found_error"),
    (ResourceExhausted, "rate_limit_error"),
    (Unavailable, "overloaded_error"),
    (DeadlineExceeded, "timeout_error"),
    (BadUpstream, "api_error"),
    (GaiaError, "invalid_request_error"),
)


def message(reply: Reply, stamp: Stamp, model: str, *, shows_thinking: bool) -> bytes:
    """Encodes a whole reply."""
    content = [_thought(one) for one in reply.thinking] if shows_thinking else []
    if reply.text:
        content.append({"type": "text", "text": reply.text, "citations": None})
    content += [_call(call, stamp, number) for number, call in enumerate(reply.tool_calls)]
    body = _head(stamp, model, content, _usage(reply.usage))
    body |= _end_of(reply, calls=bool(reply.tool_calls))
    return orjson.dumps(body)


class MessageWriter:
    """Encodes deltas as the events of a stream: one block at a time, each begun and ended, in the order of arrival."""

    def __init__(self, stamp: Stamp, *, shows_thinking: bool) -> None:
        self._stamp = stamp
        self._shows_thinking = shows_thinking
        self._began = False
        self._blocks = 0
        self._open: str | int | None = None  # the kind of the block that is open, or the number of its tool call
        self._calls: set[int] = set()
        self._order = CallOrder()
        self._model = ""

    def write(self, delta: Delta, model: str) -> bytes:
        """Returns the events of a delta. The reason of the end and the usage wait for `end`."""
        self._model = model
        events: list[bytes] = []
        if not self._began:
            events += self._begin(delta.usage)
        if self._shows_thinking:
            events += self._think(delta)
        if delta.text:
            events += self._switch("text", {"type": "text", "text": "", "citations": None})
            events.append(self._piece({"type": "text_delta", "text": delta.text}))
        for call in self._order.take(delta.tool_calls):
            events += self._call(call)
        if delta.finish_reason is not None:
            events += self._end_content()
        return b"".join(events)

    def end(self, reply: Reply) -> bytes:
        """Returns the events that end the message."""
        events = [] if self._began else self._begin(reply.usage)
        events += self._end_content()
        delta = _end_of(reply, calls=bool(self._calls))
        events.append(_event({"type": "message_delta", "delta": delta, "usage": _last_usage(reply.usage)}))
        events.append(_event({"type": "message_stop"}))
        return b"".join(events)

    def _begin(self, usage: Usage | None) -> list[bytes]:
        self._began = True
        # What the prompt cost is mostly told at the end; the counts of `message_delta` stand for the whole message.
        start = {"type": "message_start", "message": _head(self._stamp, self._model, [], _usage(usage))}
        return [_event(start), _event({"type": "ping"})]

    def _think(self, delta: Delta) -> Iterable[bytes]:
        if delta.thinking:
            yield from self._switch("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            yield self._piece({"type": "thinking_delta", "thinking": delta.thinking})
        if delta.signature:
            yield from self._switch("thinking", {"type": "thinking", "thinking": "", "signature": ""})
            yield self._piece({"type": "signature_delta", "signature": delta.signature})
            yield from self._close()
        if delta.redacted:
            yield from self._switch("redacted", {"type": "redacted_thinking", "data": delta.redacted})
            yield from self._close()

    def _end_content(self) -> Iterable[bytes]:
        for call in self._order.rest():
            yield from self._call(call)
        yield from self._close()

    def _call(self, call: ToolCallDelta) -> Iterable[bytes]:
        if call.index != self._open and call.index in self._calls:
            raise BadUpstream("the model's provider sent the pieces of several tool calls mixed")
        self._calls.add(call.index)
        call_id = call.id or _call_id(self._stamp, call.index)
        block = {"type": "tool_use", "id": call_id, "name": call.name, "input": {}}
        yield from self._switch(call.index, block)
        if call.arguments:
            yield self._piece({"type": "input_json_delta", "partial_json": call.arguments})

    def _switch(self, kind: str | int, block: Mapping[str, Any]) -> Iterable[bytes]:
        """Yields the events that end the open block and begin another, unless it is of this kind already."""
        if self._open == kind:
            return
        yield from self._close()
        self._open = kind
        yield _event({"type": "content_block_start", "index": self._blocks, "content_block": block})

    def _close(self) -> Iterable[bytes]:
        if self._open is not None:
            yield _event({"type": "content_block_stop", "index": self._blocks})
            self._open = None
            self._blocks += 1

    def _piece(self, piece: Mapping[str, Any]) -> bytes:
        return _event({"type": "content_block_delta", "index": self._blocks, "delta": piece})


def error_record(error: GaiaError, request_id: str) -> bytes:
    """Encodes an error in the middle of a stream as an event."""
    kind = next(name for cls, name in _ERROR_TYPES if isinstance(error, cls))
    told: dict[str, Any] = {"type": kind, "message": str(error)}
    if details := error.metadata.get(DETAILS):
        told["details"] = orjson.Fragment(details)
    return _event({"type": "error", "error": told, "request_id": request_id})


def _event(event: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event))


def _head(stamp: Stamp, model: str, content: Sequence[Any], usage: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": f"msg_{stamp.call_id.hex}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        **_NO_END,
        "usage": usage,
    }


def _end_of(reply: Reply, *, calls: bool) -> dict[str, Any]:
    """Makes the fields that say why a reply ended."""
    reason = _REASONS[reply.finish_reason]
    if reply.finish_reason is FinishReason.STOP:
        # OpenAI tells a refusal as an ordinary end, and a call that it was made to make.
        reason = "refusal" if reply.is_refusal else "tool_use" if calls else reason
    details = {"type": "refusal", "category": None, "explanation": None} if reason == "refusal" else None
    return {**_NO_END, "stop_reason": reason, "stop_details": details}


def _thought(one: Thinking) -> dict[str, Any]:
    if one.redacted:
        return {"type": "redacted_thinking", "data": one.redacted}
    return {"type": "thinking", "thinking": one.text, "signature": one.signature}


def _call_id(stamp: Stamp, number: int) -> str:
    """The id of a call that its provider gave none: a result cannot be told without."""
    return f"toolu_{stamp.call_id.hex}{number}"


def _call(call: ToolCall, stamp: Stamp, number: int) -> dict[str, Any]:
    return {
        "type": "tool_use",
        "id": call.id or _call_id(stamp, number),
        "name": call.name,
        "input": _arguments(call.arguments or "{}"),
    }


def _arguments(written: str) -> Any:
    try:
        if isinstance(orjson.loads(written), dict):
            return orjson.Fragment(written)
    except orjson.JSONDecodeError:
        pass
    # As Anthropic's guide to streamed arguments wants broken ones to be told: as text, in an object.
    return {"INVALID_JSON": written}


def _last_usage(usage: Usage | None) -> dict[str, Any]:
    counts = usage or Usage()
    cached = counts.cached_input_tokens + counts.cache_write_tokens
    return {
        # What was read from a cache or written to it is counted beside the rest.
        "input_tokens": max(counts.input_tokens - cached, 0),
        "cache_creation_input_tokens": counts.cache_write_tokens,
        "cache_read_input_tokens": counts.cached_input_tokens,
        "output_tokens": counts.output_tokens,
        "output_tokens_details": {"thinking_tokens": counts.reasoning_tokens},
    }


def _usage(usage: Usage | None) -> dict[str, Any]:
    if usage is None:
        # Not known yet: the stream's end tells the counts, though not how long a cache keeps what.
        return {**_last_usage(None), "cache_creation": None}
    long = usage.cache_write_1h_tokens
    kept = {"ephemeral_5m_input_tokens": max(usage.cache_write_tokens - long, 0), "ephemeral_1h_input_tokens": long}
    return {**_last_usage(usage), "cache_creation": kept}
