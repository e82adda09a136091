"""Turns as Anthropic's messages API takes them."""

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from services.chat.turn import (
    Document,
    Image,
    Message,
    Part,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolChoice,
    ToolMode,
    Turn,
)
from shared.errors import InvalidArgument

DEFAULT_MAX_TOKENS = 16_384
"""The API wants a limit. This leaves room for thinking, and a reply of this length ends within the ten minutes that a
request without streaming may take (at most 21,333 tokens, by the SDK's rule of 128,000 an hour)."""

IMAGE_TYPES = ("image/jpeg", "image/png", "image/gif", "image/webp")
EFFORTS: Mapping[str, str] = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "xhigh",
    "max": "max",
}
PDF = "application/pdf"
_TOOL_ID = re.compile(r"[^a-zA-Z0-9_-]")
_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}


def encode_request(turn: Turn, model: str, *, stream: bool) -> bytes:
    """Encodes a turn: its original as it is, if it has one. Raises InvalidArgument for what has no counterpart."""
    if turn.original is None:
        body = _body(turn, model)
    else:
        body = {**turn.original.body, "model": model}
        body.pop("stream", None)
    if stream:
        body["stream"] = True
    return orjson.dumps(body)


def _body(turn: Turn, model: str) -> dict[str, Any]:
    system, messages = _split_system(turn.messages)
    body: dict[str, Any] = {
        "model": model,
        "max_tokens": turn.max_tokens or DEFAULT_MAX_TOKENS,
        "messages": _messages(messages),
    }
    if system:
        body["system"] = system
    if turn.stop:
        body["stop_sequences"] = list(turn.stop)
    if turn.tools:
        body["tools"] = [_tool(tool.name, tool.description, tool.parameters, tool.strict) for tool in turn.tools]
        if choice := _tool_choice(turn.tool_choice, turn.parallel_tool_calls):
            body["tool_choice"] = choice
    if turn.thinking_tokens:
        body["thinking"] = {"type": "enabled", "budget_tokens": turn.thinking_tokens}
    output: dict[str, Any] = {}
    if turn.response_schema is not None:
        output["format"] = {"type": "json_schema", "schema": turn.response_schema.schema}
    if turn.reasoning_effort == "none" or turn.thinking_tokens == 0:
        body["thinking"] = {"type": "disabled"}
    elif turn.reasoning_effort is not None:
        if turn.reasoning_effort not in EFFORTS:
            allowed = ", ".join(("none", *EFFORTS))
            raise InvalidArgument.field("reasoning_effort", f"must be one of {allowed}")
        output["effort"] = EFFORTS[turn.reasoning_effort]
    if output:
        body["output_config"] = output
    if turn.end_user is not None:
        body["metadata"] = {"user_id": turn.end_user}
    return body


def _split_system(messages: Sequence[Message]) -> tuple[str, Sequence[Message]]:
    """Takes the instructions off the front; later ones stay in their place."""
    count = next((at for at, message in enumerate(messages) if message.role is not Role.SYSTEM), len(messages))
    return "\n\n".join(message.text for message in messages[:count] if message.text), messages[count:]


def _messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    encoded: list[dict[str, Any]] = []
    for number, message in enumerate(messages):
        blocks = _blocks(message, number)
        if not blocks:
            continue
        role = "user" if message.role is Role.TOOL else message.role.value
        if encoded and role == "user" and encoded[-1]["role"] == role:
            # The results of parallel calls belong into one message, what the user adds behind them.
            encoded[-1]["content"] += blocks
        else:
            encoded.append({"role": role, "content": blocks})
    return encoded


def _blocks(message: Message, number: int) -> list[dict[str, Any]]:
    # The API refuses texts of nothing but white space.
    parts = [_part(part, number) for part in message.parts if not (isinstance(part, Text) and not part.text.strip())]
    if message.role is Role.TOOL:
        result = {"type": "tool_result", "tool_use_id": _tool_id(message.tool_call_id), "content": parts}
        return [{**result, "is_error": True} if message.is_error else result]
    return parts + [_tool_use(call, number) for call in message.tool_calls]


def _part(part: Part, number: int) -> dict[str, Any]:
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Image():
            return {"type": "image", "source": _source(part, number)}
        case Document():
            return {"type": "document", "source": _document(part), **({"title": part.name} if part.name else {})}
        case Thinking():
            if part.redacted:
                return {"type": "redacted_thinking", "data": part.redacted}
            return {"type": "thinking", "thinking": part.text, "signature": part.signature}


def _document(document: Document) -> dict[str, Any]:
    if document.url:
        return {"type": "url", "url": document.url}
    if document.media_type.startswith("text/"):
        return {"type": "text", "media_type": "text/plain", "data": _decoded(document)}
    if document.media_type != PDF:
        raise InvalidArgument.field(
            "messages", f"Claude takes documents of {PDF} and text/*, not {document.media_type[:64]}"
        )
    return {"type": "base64", "media_type": PDF, "data": document.data}


def _decoded(document: Document) -> str:
    try:
        return base64.b64decode(document.data, validate=True).decode()
    except ValueError as error:
        raise InvalidArgument.field("messages", "a text document must be UTF-8 in base64") from error


def _source(image: Image, number: int) -> dict[str, Any]:
    if image.url:
        return {"type": "url", "url": image.url}
    if image.media_type not in IMAGE_TYPES:
        raise InvalidArgument.field(
            f"messages[{number}].content",
            f"Claude takes images of {', '.join(IMAGE_TYPES)}, not {image.media_type[:64]}",
        )
    return {"type": "base64", "media_type": image.media_type, "data": image.data}


def _tool_use(call: ToolCall, number: int) -> dict[str, Any]:
    written = call.arguments or "{}"
    try:
        is_object = isinstance(orjson.loads(written), dict)
    except orjson.JSONDecodeError:
        is_object = False
    if not is_object:
        raise InvalidArgument.field(
            f"messages[{number}].tool_calls", f"the arguments of {call.name[:64]} must be a JSON object for Claude"
        )
    return {"type": "tool_use", "id": _tool_id(call.id), "name": call.name, "input": orjson.Fragment(written)}


def _tool_id(tool_call_id: str) -> str:
    # Ids of other providers may hold characters that the API refuses; call and result are mended alike.
    return _TOOL_ID.sub("_", tool_call_id)


def _tool(name: str, description: str, parameters: Mapping[str, Any] | None, strict: bool | None) -> dict[str, Any]:
    tool: dict[str, Any] = {"name": name, "input_schema": parameters or _NO_PARAMETERS}
    if description:
        tool["description"] = description
    if strict is not None:
        tool["strict"] = strict
    return tool


def _tool_choice(choice: ToolChoice | None, parallel: bool | None) -> dict[str, Any] | None:
    if choice is None and parallel is not False:
        return None
    mode = choice.mode if choice is not None else ToolMode.AUTO
    kinds = {ToolMode.AUTO: "auto", ToolMode.NONE: "none", ToolMode.REQUIRED: "any", ToolMode.NAMED: "tool"}
    encoded: dict[str, Any] = {"type": kinds[mode]}
    if choice is not None and mode is ToolMode.NAMED:
        encoded["name"] = choice.name
    if parallel is False and mode is not ToolMode.NONE:
        encoded["disable_parallel_tool_use"] = True
    return encoded
