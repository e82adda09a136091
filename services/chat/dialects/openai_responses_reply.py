"""Replies in the shapes of OpenAI's responses: the whole one with its items, and the events of streams."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from services.chat.dialects.base import Stamp
from services.chat.dialects.openai_chat_reply import error_object
from services.chat.dialects.openai_responses_reasoning import reasoning_item
from services.chat.turn import FinishReason, Reply, Usage
from shared.errors import GaiaError

COMPLETED, INCOMPLETE = "completed", "incomplete"
_INCOMPLETE: Mapping[FinishReason, str] = {
    FinishReason.LENGTH: "max_output_tokens",
    FinishReason.CONTENT_FILTER: "content_filter",
}
# What a response repeats of its request, and what it says where the request is silent.
_REPEATED: Mapping[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "store": True,
    "temperature": None,
    "tool_choice": "auto",
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
_TEXT: Mapping[str, Any] = {"format": {"type": "text"}}
_FUNCTION: Mapping[str, Any] = {"description": None, "parameters": None, "strict": None}


def response(asked: Mapping[str, Any], reply: Reply, model: str, stamp: Stamp) -> bytes:
    """Encodes a whole reply to a request."""
    status = status_of(reply.finish_reason)
    items: list[dict[str, Any]] = []
    told = 0

    def say(text: str) -> None:
        if text:
            said = said_part(text, is_refusal=reply.is_refusal)
            items.append(message_item(item_id(stamp, "msg", len(items)), said, status))

    for thinking in reply.thinking:
        say(reply.text[told : thinking.at])
        told = thinking.at
        items.append(reasoning_item(thinking, item_id(stamp, "rs", len(items))))
    say(reply.text[told:])
    for call in reply.tool_calls:
        number = len(items)
        call_id = call.id or item_id(stamp, "call", number)
        items.append(call_item(item_id(stamp, "fc", number), call_id, call.name, call.arguments, COMPLETED))
    return orjson.dumps(whole(head(asked, stamp), model, items, reply))


def head(asked: Mapping[str, Any], stamp: Stamp) -> dict[str, Any]:
    """Makes what a response to a request says from its beginning on."""
    repeated = {name: default if asked.get(name) is None else asked[name] for name, default in _REPEATED.items()}
    return {
        "id": f"resp_{stamp.call_id.hex}",
        "object": "response",
        "created_at": stamp.created,
        "error": None,
        "incomplete_details": None,
        **repeated,
        # How it was served, which is as other families do: the tier that was asked for was left out.
        "service_tier": None,
        "text": {**_TEXT, **(asked.get("text") or {})},
        "tools": [{**_FUNCTION, **tool} for tool in asked.get("tools") or ()],
    }


def beginning(said: Mapping[str, Any], model: str) -> dict[str, Any]:
    """Makes the response to a request as it is while it is being made; `said` is its head."""
    return {**said, "model": model, "status": "in_progress", "output": [], "usage": None}


def whole(said: Mapping[str, Any], model: str, output: Sequence[Mapping[str, Any]], reply: Reply) -> dict[str, Any]:
    """Makes the response to a request as it is at its end; `said` is its head."""
    reason = _INCOMPLETE.get(reply.finish_reason)
    return {
        **said,
        "model": model,
        "status": status_of(reply.finish_reason),
        "incomplete_details": {"reason": reason} if reason else None,
        "output": output,
        "usage": None if reply.usage is None else _usage(reply.usage),
    }


def status_of(reason: FinishReason) -> str:
    """Returns the status of a response, and of a message in it, that ended for a reason."""
    return INCOMPLETE if reason in _INCOMPLETE else COMPLETED


def message_item(item_id: str, part: Mapping[str, Any], status: str) -> dict[str, Any]:
    """Makes the item of a reply's text, which is a part."""
    item = {"id": item_id, "type": "message", "role": "assistant", "status": status}
    return {**item, "content": [part]}


def said_part(text: str, *, is_refusal: bool) -> dict[str, Any]:
    """Makes the part of a message that holds its text, or the refusal to say one."""
    if is_refusal:
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def call_item(item_id: str, call_id: str, name: str, arguments: str, status: str) -> dict[str, Any]:
    """Makes the item of a tool call."""
    item = {"id": item_id, "type": "function_call", "status": status}
    return {**item, "call_id": call_id, "name": name, "arguments": arguments}


def event(kind: str, number: int, fields: Mapping[str, Any]) -> bytes:
    """Encodes an event of a stream by its number, counted from 0."""
    data = orjson.dumps({"type": kind, "sequence_number": number, **fields})
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def error_record(error: GaiaError, number: int) -> bytes:
    """Encodes an error in the middle of a stream as an event, by its number.

    The fields of the error stand in the event, as OpenAI documents it, and in its `error`, where the SDKs look.
    """
    told = error_object(error)
    fields = {name: told[name] for name in ("code", "message", "param")}
    return event("error", number, {**fields, "error": told})


def item_id(stamp: Stamp, kind: str, number: int) -> str:
    """Returns the id of an item of a `kind` (msg, fc, rs, call) by its place in the output."""
    return f"{kind}_{stamp.call_id.hex}{number:04x}"


def _usage(usage: Usage) -> dict[str, Any]:
    read = {"cached_tokens": usage.cached_input_tokens, "cache_write_tokens": usage.cache_write_tokens}
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": read,
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
