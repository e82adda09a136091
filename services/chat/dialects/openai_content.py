"""The messages of OpenAI's chat completions: checked, translated, and as text for keeping."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.chat.dialects.addresses import address_fault
from services.chat.dialects.base import SAYS_NOTHING, says_something
from services.chat.dialects.openai_chat_reasoning import BLOCKS, TEXT, thinking_in
from services.chat.dialects.openai_checks import MAX_VIOLATIONS, unknown
from services.chat.dialects.openai_media import document, image
from services.chat.records import Stored
from services.chat.turn import Message, Part, Role, Text, ToolCall
from shared.errors import InvalidArgument, Violation

ROLES: Mapping[str, Role] = {
    "developer": Role.SYSTEM,
    "system": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "tool": Role.TOOL,
    "function": Role.TOOL,
}
# Fields of messages and parts that a translated request knows the meaning of, or that are without one there.
_MESSAGE = frozenset(
    {"role", "content", "refusal", "tool_calls", "tool_call_id", "annotations", "audio", "function_call"}
)
_WITH_THINKING = _MESSAGE | {TEXT, BLOCKS}
_PART = frozenset({"type", "text", "refusal", "image_url", "file"})


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


def messages(value: Sequence[Mapping[str, Any]], refused: list[Violation], left_out: list[str]) -> list[Message]:
    """Translates messages that were checked; puts down what has no counterpart elsewhere, and what is lost."""
    translated: list[Message] = []
    call_ids: set[str] = set()
    lost: set[str] = set()
    for number, message in enumerate(value):
        where = f"messages[{number}]"
        thinking = thinking_in(message) if BLOCKS in message and message["role"] == "assistant" else ()
        lost.update(unknown(message, _WITH_THINKING if thinking else _MESSAGE))
        if message["role"] == "function" or message.get("function_call"):
            refused.append(Violation(where, "calls functions in the old way; send tools for this model's provider"))
        if message.get("audio"):
            refused.append(Violation(f"{where}.audio", "names sound that OpenAI keeps; send the text that was said"))
        calls = _calls(message.get("tool_calls") or (), f"{where}.tool_calls", refused)
        if calls and message["role"] != "assistant":
            refused.append(Violation(f"{where}.tool_calls", "belong to the assistant"))
        call_ids.update(call.id for call in calls)
        if message["role"] == "tool" and message["tool_call_id"] not in call_ids:
            refused.append(Violation(f"{where}.tool_call_id", "must name a tool call that stands before it"))
        content = message.get("refusal") if message.get("content") is None else message["content"]
        parts = _parts(content, f"{where}.content", refused, lost)
        translated.append(
            Message(ROLES[message["role"]], (*thinking, *parts), calls, message.get("tool_call_id") or "")
        )
    left_out += [f"messages.{name}" for name in sorted(lost)]
    if not refused and not says_something(translated):
        refused.append(Violation("messages", SAYS_NOTHING))
    return translated


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
    match part["type"]:
        case "text" | "refusal" as kind if not isinstance(part.get(kind), str):
            return [Violation(f"{where}.{kind}", "must be a string")]
        case "image_url":
            wrong = _check_texts(part, "image_url", ("url",), ("detail",), where)
            return wrong or _check_address(part["image_url"]["url"], f"{where}.image_url.url")
        case "input_audio":
            return _check_texts(part, "input_audio", ("data", "format"), (), where)
        case "file":
            return _check_texts(part, "file", (), ("file_data", "file_id", "filename"), where)
        case kind if kind.endswith("_url"):
            # Sound and films, which some endpoints of this dialect take.
            inner = part.get(kind)
            url = inner.get("url") if isinstance(inner, dict) else inner
            return _check_address(url, f"{where}.{kind}") if isinstance(url, str) else []
        case _:
            return []


def _check_address(url: str, where: str) -> list[Violation]:
    fault = address_fault(url)
    return [Violation(where, fault)] if fault else []


def _check_texts(
    part: Mapping[str, Any], name: str, required: Sequence[str], optional: Sequence[str], where: str
) -> list[Violation]:
    inner = part.get(name)
    if not isinstance(inner, dict):
        return [Violation(f"{where}.{name}", "must be an object")]
    wrong = [one for one in required if not isinstance(inner.get(one), str)]
    wrong += [one for one in optional if not isinstance(inner.get(one), str | None)]
    return [Violation(f"{where}.{name}.{one}", "must be a string") for one in wrong]


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


def _parts(content: Any, where: str, refused: list[Violation], lost: set[str]) -> tuple[Part, ...]:
    if content is None:
        return ()
    if isinstance(content, str):
        return (Text(content),)
    parts = []
    for number, part in enumerate(content):
        lost.update(f"content.{name}" for name in unknown(part, _PART))
        try:
            parts.append(_part(part, f"{where}[{number}]"))
        except InvalidArgument as error:
            refused += error.violations
    return tuple(parts)


def _part(part: Mapping[str, Any], where: str) -> Part:
    match part["type"]:
        case "text":
            return Text(part["text"])
        case "refusal":
            return Text(part["refusal"])
        case "image_url":
            picture = part["image_url"]
            return image(picture["url"], picture.get("detail"), f"{where}.image_url.url")
        case "file" if part["file"].get("file_data"):
            file = part["file"]
            return document(file["file_data"], file.get("filename") or "", f"{where}.file.file_data")
        case "file":
            raise InvalidArgument.field(f"{where}.file", "must hold its file_data for this model's provider")
        case kind:
            raise InvalidArgument.field(
                f"{where}.type", f"must be text, image_url or file for this model's provider, not {kind[:64]}"
            )


def _calls(calls: Sequence[Mapping[str, Any]], where: str, refused: list[Violation]) -> tuple[ToolCall, ...]:
    translated = []
    for number, call in enumerate(calls):
        function = call.get("function")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            refused.append(Violation(f"{where}[{number}]", "must call a function for this model's provider"))
        elif not isinstance(function.get("arguments"), str):
            refused.append(Violation(f"{where}[{number}].function.arguments", "must be JSON in a string"))
        else:
            translated.append(ToolCall(call["id"], function["name"], function["arguments"]))
    return tuple(translated)


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(part["text"] if part["type"] == "text" else f"[{part['type'][:64]}]" for part in content)
