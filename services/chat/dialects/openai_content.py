"""The messages of OpenAI's chat completions: checked, translated, and as text for keeping."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from services.chat.records import Stored
from services.chat.turn import Image, Message, Part, Role, Text, ToolCall
from shared.errors import InvalidArgument, Violation

ROLES: Mapping[str, Role] = {
    "developer": Role.SYSTEM,
    "system": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
    "function": Role.TOOL,
}
MAX_VIOLATIONS = 20
"""More would not help anybody to mend a list of ten thousand messages."""

_DATA_URL = re.compile(r"data:([\w.+-]+/[\w.+-]+);base64,", re.ASCII)


def check_messages(value: Any) -> list[Violation]:
    """Returns what is wrong with `messages`."""
    if not isinstance(value, list) or not value:
        return [Violation("messages", "must be a list of at least one message")]
    violations: list[Violation] = []
    for number, message in enumerate(value):
        violations += _check_message(message, f"messages[{number}]")
        if len(violations) >= MAX_VIOLATIONS:
            break
    return violations


def messages(value: Sequence[Mapping[str, Any]]) -> list[Message]:
    """Translates messages that were checked. Raises InvalidArgument for what has no counterpart elsewhere."""
    return [_message(message, f"messages[{number}]") for number, message in enumerate(value)]


def new_input(value: Sequence[Mapping[str, Any]], *, keep_content: bool) -> list[Stored]:
    """Returns what is stored of a request: what was said since the last reply, since the rest was said before."""
    start = next((at for at in range(len(value), 0, -1) if value[at - 1]["role"] == "assistant"), 0)
    return [Stored(ROLES[one["role"]], _plain(one.get("content")) if keep_content else "") for one in value[start:]]


def _check_message(message: Any, where: str) -> list[Violation]:
    if not isinstance(message, dict):
        return [Violation(where, "must be an object")]
    violations = []
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or role not in ROLES:
        violations.append(Violation(f"{where}.role", f"must be one of {', '.join(ROLES)}"))
    if isinstance(content, list):
        if not content and role != "assistant":
            violations.append(Violation(f"{where}.content", "must hold at least one part"))
        for number, part in enumerate(content):
            violations += _check_part(part, f"{where}.content[{number}]")
    elif content is None:
        if role != "assistant":
            violations.append(Violation(f"{where}.content", "is missing"))
    elif not isinstance(content, str):
        violations.append(Violation(f"{where}.content", "must be a string or a list of parts"))
    violations += _check_calls(message.get("tool_calls"), f"{where}.tool_calls")
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        violations.append(Violation(f"{where}.tool_call_id", "must name the tool call that is answered"))
    return violations


def _check_part(part: Any, where: str) -> list[Violation]:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        return [Violation(where, "must be an object with a type")]
    if part["type"] == "text" and not isinstance(part.get("text"), str):
        return [Violation(f"{where}.text", "must be a string")]
    if part["type"] == "image_url":
        image = part.get("image_url")
        if not isinstance(image, dict) or not isinstance(image.get("url"), str):
            return [Violation(f"{where}.image_url.url", "must be a string")]
    return []


def _check_calls(calls: Any, where: str) -> list[Violation]:
    if calls is None:
        return []
    if not isinstance(calls, list):
        return [Violation(where, "must be a list")]
    return [
        Violation(f"{where}[{number}]", "must be an object with an id and a type")
        for number, call in enumerate(calls)
        if not isinstance(call, dict) or not isinstance(call.get("id"), str)
    ]


def _message(message: Mapping[str, Any], where: str) -> Message:
    if message["role"] == "function" or message.get("function_call"):
        raise InvalidArgument.field(where, "calls functions in the old way; send tools for this model's provider")
    return Message(
        ROLES[message["role"]],
        _parts(message.get("content"), where),
        tuple(_call(call, f"{where}.tool_calls[{at}]") for at, call in enumerate(message.get("tool_calls") or ())),
        message.get("tool_call_id") or "",
    )


def _parts(content: Any, where: str) -> tuple[Part, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (Text(content),)
    return tuple(_part(part, f"{where}.content[{number}]") for number, part in enumerate(content))


def _part(part: Mapping[str, Any], where: str) -> Part:
    match part["type"]:
        case "text":
            return Text(part["text"])
        case "refusal":
            return Text(str(part.get("refusal") or ""))
        case "image_url":
            return _image(part["image_url"], where)
        case kind:
            raise InvalidArgument.field(
                f"{where}.type", f"must be text or image_url for this model's provider, not {kind[:64]}"
            )


def _image(image: Mapping[str, Any], where: str) -> Image:
    url, detail = image["url"], str(image.get("detail") or "")
    if url.startswith(("https://", "http://")):
        return Image(url=url, detail=detail)
    found = _DATA_URL.match(url)
    if found is None:
        raise InvalidArgument.field(f"{where}.image_url.url", "must be an https: address or data:<type>;base64,<data>")
    return Image(media_type=found[1].lower(), data=url[found.end() :], detail=detail)


def _call(call: Mapping[str, Any], where: str) -> ToolCall:
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise InvalidArgument.field(where, "must call a function for this model's provider")
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        raise InvalidArgument.field(f"{where}.function.arguments", "must be JSON in a string")
    return ToolCall(call["id"], function["name"], arguments)


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(part["text"] if part["type"] == "text" else f"[{part['type'][:64]}]" for part in content)
