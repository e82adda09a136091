"""The input of OpenAI's responses: its items checked, translated, and as text for keeping."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.chat.dialects.addresses import address_fault
from services.chat.dialects.openai_checks import MAX_VIOLATIONS, unknown
from services.chat.dialects.openai_media import document, document_at, image
from services.chat.dialects.openai_responses_reasoning import is_gaias, thinking_in
from services.chat.records import Stored
from services.chat.turn import Message, Part, Role, Text, Thinking, ToolCall
from shared.errors import InvalidArgument, Violation

ROLES: Mapping[str, Role] = {
    "developer": Role.SYSTEM,
    "system": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
}
KEPT_BY_OPENAI = "refers to what OpenAI keeps, which this model's provider cannot see; send the whole input"
_REPLIES = frozenset({"reasoning", "compaction", "mcp_list_tools", "mcp_approval_request", "program"})
"""Kinds of items, beside messages and calls, that a model's reply holds."""
# Fields of items and parts that a translated request knows the meaning of, or that are without one there.
_ITEM = frozenset(
    {
        "type",
        "id",
        "status",
        "role",
        "content",
        "call_id",
        "name",
        "arguments",
        "output",
        "summary",
        "encrypted_content",
    }
)
_PART = frozenset(
    {
        "type",
        "text",
        "refusal",
        "annotations",
        "logprobs",
        "image_url",
        "detail",
        "file_id",
        "file_data",
        "file_url",
        "filename",
    }
)
_STATES_CONTENT = ("input_text", "output_text")


def check_input(value: Any) -> list[Violation]:
    """Returns what is wrong with `input`."""
    if isinstance(value, str):
        return []
    if not isinstance(value, list) or not value:
        return [Violation("input", "must be a string or a list of at least one item")]
    violations: list[Violation] = []
    for number, item in enumerate(value):
        violations += _check_item(item, f"input[{number}]")
        if len(violations) >= MAX_VIOLATIONS:
            break
    return violations


def items_of(value: Any) -> Sequence[Mapping[str, Any]]:
    """Returns an input that was checked as items."""
    if value is None:
        return ()
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


def messages(items: Sequence[Mapping[str, Any]], refused: list[Violation], left_out: list[str]) -> list[Message]:
    """Translates items that were checked; puts down what has no counterpart elsewhere, and what is lost."""
    transcript = _Transcript()
    lost: set[str] = set()
    for number, item in enumerate(items):
        where = f"input[{number}]"
        lost.update(unknown(item, _ITEM))
        match kind_of(item):
            case "message":
                transcript.say(ROLES[item["role"]], _parts(item["content"], f"{where}.content", refused, lost))
            case "function_call":
                transcript.call(ToolCall(item["call_id"], item["name"], item["arguments"]))
            case "function_call_output":
                call_id = item.get("call_id")
                if call_id not in transcript.call_ids:
                    refused.append(Violation(f"{where}.call_id", "must name a function_call that stands before it"))
                parts = _parts(item["output"], f"{where}.output", refused, lost)
                transcript.answer(str(call_id), parts)
            case "reasoning":
                if is_gaias(item):
                    transcript.think(thinking_in(item))
                else:
                    lost.add("reasoning")
            case "item_reference":
                refused.append(Violation(where, KEPT_BY_OPENAI))
            case kind:
                refused.append(Violation(f"{where}.type", f"has no counterpart for this model's provider: {kind[:64]}"))
    left_out += [f"input.{name}" for name in sorted(lost)]
    return transcript.end()


def kind_of(item: Mapping[str, Any]) -> str:
    """Returns the type of an item, which messages and references may leave out."""
    kind: str | None = item.get("type")
    return kind or ("message" if "role" in item else "item_reference")


def new_input(value: Any, instructions: str | None, *, keep_content: bool) -> list[Stored]:
    """Returns what is stored of a request: what was said since the last reply, since the rest was said before.

    `instructions` are those of a conversation that begins, None for one that goes on elsewhere.
    """
    items = items_of(value)
    start = next((at for at in range(len(items), 0, -1) if _is_reply(items[at - 1])), 0)
    said = [(_role_of(item), _plain(item)) for item in items[start:]]
    if instructions and not start:
        said.insert(0, (Role.SYSTEM, instructions))
    return [Stored(role, text if keep_content else "") for role, text in said]


class _Transcript:
    """Messages as they are put together: the items of one reply become one message."""

    def __init__(self) -> None:
        self.call_ids: set[str] = set()
        self._messages: list[Message] = []
        self._parts: list[Part] = []
        self._calls: list[ToolCall] = []

    def say(self, role: Role, parts: Sequence[Part]) -> None:
        if role is not Role.ASSISTANT:
            self._add(Message(role, tuple(parts)))
            return
        if not self._calls and any(isinstance(part, Text) for part in self._parts):
            # Two messages in a row are two; one between a call and its result belongs to the call.
            self._end_reply()
        self._parts += parts

    def think(self, thinking: Thinking) -> None:
        self._parts.append(thinking)

    def call(self, call: ToolCall) -> None:
        self.call_ids.add(call.id)
        self._calls.append(call)

    def answer(self, call_id: str, parts: Sequence[Part]) -> None:
        self._add(Message(Role.TOOL, tuple(parts), tool_call_id=call_id))

    def end(self) -> list[Message]:
        self._end_reply()
        return self._messages

    def _add(self, message: Message) -> None:
        self._end_reply()
        self._messages.append(message)

    def _end_reply(self) -> None:
        if self._parts or self._calls:
            self._messages.append(Message(Role.ASSISTANT, tuple(self._parts), tuple(self._calls)))
            self._parts, self._calls = [], []


def _check_item(item: Any, where: str) -> list[Violation]:
    if not isinstance(item, dict):
        return [Violation(where, "must be an object")]
    if item.get("type") is None and "role" not in item and not isinstance(item.get("id"), str):
        return [Violation(where, "must have a role, or a type")]
    if not isinstance(item.get("type"), str | None):
        return [Violation(f"{where}.type", "must be a string")]
    match kind_of(item):
        case "message":
            return _check_message(item, where)
        case "function_call":
            return _check_texts(item, ("call_id", "name", "arguments"), where)
        case "function_call_output":
            return _check_content(item.get("output"), f"{where}.output")
        case "reasoning":
            return _check_summary(item.get("summary"), f"{where}.summary")
        case _:
            return []


def _check_message(message: Mapping[str, Any], where: str) -> list[Violation]:
    violations = []
    role = message.get("role")
    if not isinstance(role, str) or role not in ROLES:
        violations.append(Violation(f"{where}.role", f"must be one of {', '.join(ROLES)}"))
    content = message.get("content")
    if content == [] and role != "assistant":
        violations.append(Violation(f"{where}.content", "must hold at least one part"))
    return violations + _check_content(content, f"{where}.content")


def _check_content(content: Any, where: str) -> list[Violation]:
    if content is None:
        return [Violation(where, "is missing")]
    if isinstance(content, str):
        return []
    if not isinstance(content, list):
        return [Violation(where, "must be a string or a list of parts")]
    violations: list[Violation] = []
    for number, part in enumerate(content):
        violations += _check_part(part, f"{where}[{number}]")
    return violations


def _check_part(part: Any, where: str) -> list[Violation]:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        return [Violation(where, "must be an object with a type")]
    match part["type"]:
        case "input_text" | "output_text":
            return _check_texts(part, ("text",), where)
        case "refusal":
            return _check_texts(part, ("refusal",), where)
        case "input_image":
            return _check_source(part, ("image_url", "file_id"), where)
        case "input_file":
            return _check_source(part, ("file_data", "file_url", "file_id"), where)
        case _:
            return []


def _check_texts(item: Mapping[str, Any], names: Iterable[str], where: str) -> list[Violation]:
    return [Violation(f"{where}.{name}", "must be a string") for name in names if not isinstance(item.get(name), str)]


def _check_source(part: Mapping[str, Any], names: Sequence[str], where: str) -> list[Violation]:
    given = [name for name in names if part.get(name) is not None]
    if not given:
        return [Violation(where, f"must have {' or '.join(names)}")]
    return _check_texts(part, given, where) or [
        Violation(f"{where}.{name}", fault)
        for name in given
        if name.endswith("_url") and (fault := address_fault(part[name]))
    ]


def _check_summary(summary: Any, where: str) -> list[Violation]:
    if not isinstance(summary, list):
        return [Violation(where, "must be a list")]
    return [
        Violation(f"{where}[{number}].text", "must be a string")
        for number, part in enumerate(summary)
        if not isinstance(part, dict) or not isinstance(part.get("text"), str)
    ]


def _parts(content: Any, where: str, refused: list[Violation], lost: set[str]) -> list[Part]:
    if isinstance(content, str):
        return [Text(content)]
    parts = []
    for number, part in enumerate(content):
        lost.update(f"content.{name}" for name in unknown(part, _PART))
        try:
            parts.append(_part(part, f"{where}[{number}]"))
        except InvalidArgument as error:
            refused += error.violations
    return parts


def _part(part: Mapping[str, Any], where: str) -> Part:
    match part["type"]:
        case "input_text" | "output_text":
            return Text(part["text"])
        case "refusal":
            return Text(part["refusal"])
        case "input_image" | "input_file" if part.get("file_id"):
            raise InvalidArgument.field(f"{where}.file_id", "names a file that OpenAI keeps; send the file itself")
        case "input_image":
            return image(part["image_url"], part.get("detail"), f"{where}.image_url")
        case "input_file":
            name = str(part.get("filename") or "")
            if part.get("file_data"):
                return document(part["file_data"], name, f"{where}.file_data")
            return document_at(part["file_url"], name, f"{where}.file_url")
        case kind:
            raise InvalidArgument.field(
                f"{where}.type",
                f"must be input_text, input_image or input_file for this model's provider, not {kind[:64]}",
            )


def _is_reply(item: Mapping[str, Any]) -> bool:
    kind = kind_of(item)
    return item["role"] == "assistant" if kind == "message" else kind.endswith("_call") or kind in _REPLIES


def _role_of(item: Mapping[str, Any]) -> Role:
    kind = kind_of(item)
    if kind == "message":
        return ROLES[item["role"]]
    return Role.TOOL if kind.endswith("_output") else Role.USER


def _plain(item: Mapping[str, Any]) -> str:
    kind = kind_of(item)
    content = item.get("content") if kind == "message" else item.get("output")
    if isinstance(content, str):
        return content
    if kind not in ("message", "function_call_output") or not isinstance(content, list):
        return f"[{kind[:64]}]"
    return "\n".join(part["text"] if part["type"] in _STATES_CONTENT else f"[{part['type'][:64]}]" for part in content)
