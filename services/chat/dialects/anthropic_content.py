"""The messages of Anthropic's dialect: checked, translated, and as text for keeping."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from services.chat.dialects.addresses import address_fault
from services.chat.dialects.anthropic_losses import MAX_VIOLATIONS, Losses
from services.chat.dialects.base import SAYS_NOTHING, says_something
from services.chat.records import Stored
from services.chat.turn import Document, Image, Message, Part, Role, Text, Thinking, ToolCall
from shared.errors import Violation

ROLES: Mapping[str, Role] = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}
MAX_DEPTH = 3
"""Blocks that hold blocks: a result holds a document, which holds pictures."""

_END = Text("\n\n")
"""Ends what was a block of its own, since texts that follow each other become one."""
_FILES = "a file of Anthropic's has no counterpart for this model's provider; send it as base64"


def check_messages(value: Any) -> list[Violation]:
    """Returns what is wrong with `messages`. Blocks of kinds that Gaia does not know are Anthropic's to judge."""
    if not isinstance(value, list) or not value:
        return [Violation("messages", "must be a list of at least one message")]
    violations: list[Violation] = []
    for number, message in enumerate(value):
        violations += _check_message(message, f"messages[{number}]")
        if len(violations) >= MAX_VIOLATIONS:
            break
    return violations[:MAX_VIOLATIONS]


def check_system(value: Any) -> list[Violation]:
    """Returns what is wrong with `system`: text, or a list of blocks of text."""
    if value is None or isinstance(value, str):
        return []
    if not isinstance(value, list):
        return [Violation("system", "must be a string or a list of text blocks")]
    violations: list[Violation] = []
    for number, block in enumerate(value):
        place = f"system[{number}]"
        if isinstance(block, dict) and block.get("type") != "text":
            violations.append(Violation(f"{place}.type", "must be text"))
        else:
            violations += _check_block(block, place, MAX_DEPTH)
        if len(violations) >= MAX_VIOLATIONS:
            break
    return violations[:MAX_VIOLATIONS]


def messages(system: Any, value: Sequence[Mapping[str, Any]], losses: Losses) -> list[Message]:
    """Translates instructions and messages that were checked."""
    translated = _instructions(system, "system", losses)
    for number, message in enumerate(value):
        place, content = f"messages[{number}]", message["content"]
        match ROLES[message["role"]]:
            case Role.SYSTEM:
                translated += _instructions(content, f"{place}.content", losses)
            case Role.ASSISTANT:
                translated += _assistant(content, place, losses)
            case _:
                translated += _user(content, place, losses)
    if value and value[-1]["role"] == "assistant":
        losses.refuse(
            f"messages[{len(value) - 1}]", "must be the user's: this model's provider cannot go on with a reply begun"
        )
    if not losses.refused and not says_something(translated):
        losses.refuse("messages", SAYS_NOTHING)
    return translated


def new_input(system: Any, value: Sequence[Mapping[str, Any]]) -> list[Stored]:
    """Returns what is stored of a request: what was said since the last reply, since the rest was said before."""
    start = next((at for at in range(len(value), 0, -1) if value[at - 1]["role"] == "assistant"), 0)
    stored = [Stored(Role.SYSTEM, _plain(system))] if system and not start else []
    for message in value[start:]:
        content, role = message["content"], ROLES[message["role"]]
        if isinstance(content, str):
            stored.append(Stored(role, content))
            continue
        results = [block for block in content if block["type"] == "tool_result"]
        said = [block for block in content if block["type"] != "tool_result"]
        stored += [Stored(Role.TOOL, _plain(block.get("content"))) for block in results]
        stored += [Stored(role, _plain(said))] if said else []
    return stored


def _check_message(message: Any, place: str) -> list[Violation]:
    if not isinstance(message, dict):
        return [Violation(place, "must be an object")]
    violations = []
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or role not in ROLES:
        violations.append(Violation(f"{place}.role", f"must be one of {', '.join(ROLES)}"))
    if content is None:
        violations.append(Violation(f"{place}.content", "is missing"))
    elif not isinstance(content, str | list):
        violations.append(Violation(f"{place}.content", "must be a string or a list of blocks"))
    elif not content and role != "assistant":
        violations.append(Violation(f"{place}.content", "must not be empty"))
    elif isinstance(content, list):
        violations += _check_blocks(content, f"{place}.content", 1)
    return violations


def _check_blocks(blocks: Sequence[Any], place: str, depth: int) -> list[Violation]:
    if depth > MAX_DEPTH:
        return [Violation(place, f"nests blocks more than {MAX_DEPTH} deep")]
    violations: list[Violation] = []
    for at, block in enumerate(blocks):
        violations += _check_block(block, f"{place}[{at}]", depth)
        if len(violations) >= MAX_VIOLATIONS:
            break
    return violations


def _check_block(block: Any, place: str, depth: int) -> list[Violation]:
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        return [Violation(place, "must be an object with a type")]
    wanted = _WANTED.get(block["type"], {})
    violations = [
        Violation(f"{place}.{name}", "is missing" if block.get(name) is None else f"must be {_NAMES[kind]}")
        for name, kind in wanted.items()
        if not isinstance(block.get(name), kind)
    ]
    if violations:
        return violations
    match block["type"]:
        case "image" | "document":
            return _check_source(block["source"], f"{place}.source", depth)
        case "tool_result":
            content = block.get("content")
            if isinstance(content, list):
                return _check_blocks(content, f"{place}.content", depth + 1)
            if content is not None and not isinstance(content, str):
                return [Violation(f"{place}.content", "must be a string or a list of blocks")]
        case "search_result":
            return _check_blocks(block["content"], f"{place}.content", depth + 1)
    return []


def _check_source(source: Mapping[str, Any], place: str, depth: int) -> list[Violation]:
    kind = source.get("type")
    if not isinstance(kind, str):
        return [Violation(f"{place}.type", "must be a string, such as base64 or url")]
    violations = [
        Violation(f"{place}.{name}", "must be a string")
        for name in _SOURCES.get(kind, ())
        if not isinstance(source.get(name), str)
    ]
    if kind == "url" and not violations and (fault := address_fault(source["url"])):
        violations.append(Violation(f"{place}.url", fault))
    if kind == "content":
        content = source.get("content")
        if isinstance(content, list):
            return _check_blocks(content, f"{place}.content", depth + 1)
        if not isinstance(content, str):
            violations.append(Violation(f"{place}.content", "must be a string or a list of blocks"))
    return violations


_NAMES: Mapping[type, str] = {str: "a string", dict: "an object", list: "a list"}
_WANTED: Mapping[str, Mapping[str, type]] = {
    "text": {"text": str},
    "image": {"source": dict},
    "document": {"source": dict},
    "search_result": {"source": str, "title": str, "content": list},
    "thinking": {"thinking": str, "signature": str},
    "redacted_thinking": {"data": str},
    "tool_use": {"id": str, "name": str, "input": dict},
    "tool_result": {"tool_use_id": str},
}
_SOURCES: Mapping[str, Sequence[str]] = {
    "base64": ("media_type", "data"),
    "url": ("url",),
    "text": ("data",),
    "file": ("file_id",),
}


def _instructions(content: Any, place: str, losses: Losses) -> list[Message]:
    """One message: some endpoints take no more than one, and none behind the others' first."""
    if isinstance(content, list):
        parts = _parts(content, place, losses)
        if not all(isinstance(part, Text) for part in parts):
            losses.refuse(place, "must hold text blocks only")
        content = "\n\n".join(part.text for part in parts if isinstance(part, Text))
    return [Message(Role.SYSTEM, (Text(content),))] if content else []


def _user(content: Any, place: str, losses: Losses) -> list[Message]:
    if isinstance(content, str):
        return [Message(Role.USER, (Text(content),))]
    results: list[Message] = []
    parts: list[Part] = []
    for at, block in enumerate(content):
        where = f"{place}.content[{at}]"
        if block["type"] == "tool_result":
            results.append(_result(block, where, losses))
        else:
            parts += _part(block, where, losses)
    return [*results, *([Message(Role.USER, tuple(parts))] if parts else [])]


def _assistant(content: Any, place: str, losses: Losses) -> list[Message]:
    if isinstance(content, str):
        return [Message(Role.ASSISTANT, (Text(content),))] if content else []
    parts: list[Part] = []
    calls: list[ToolCall] = []
    for at, block in enumerate(content):
        where = f"{place}.content[{at}]"
        match block["type"]:
            case "tool_use":
                calls.append(_call(block, where, losses))
            case "thinking":
                losses.leave_out("messages.content.thinking")
                parts.append(Thinking(block["thinking"], block["signature"]))
            case "redacted_thinking":
                losses.leave_out("messages.content.thinking")
                parts.append(Thinking(redacted=block["data"]))
            case _:
                parts += _part(block, where, losses)
    return [Message(Role.ASSISTANT, tuple(parts), tuple(calls))] if parts or calls else []


def _call(block: Mapping[str, Any], place: str, losses: Losses) -> ToolCall:
    losses.check_fields(block, _KNOWN["tool_use"], place)
    return ToolCall(block["id"], block["name"], orjson.dumps(block["input"]).decode())


def _result(block: Mapping[str, Any], place: str, losses: Losses) -> Message:
    losses.check_fields(block, _KNOWN["tool_result"], place)
    content = block.get("content")
    if isinstance(content, list):
        parts = _parts(content, f"{place}.content", losses)
    else:
        parts = [Text(content)] if content else []
    return Message(Role.TOOL, tuple(parts), tool_call_id=block["tool_use_id"], is_error=block.get("is_error") is True)


def _parts(blocks: Sequence[Mapping[str, Any]], place: str, losses: Losses) -> list[Part]:
    return [part for at, block in enumerate(blocks) for part in _part(block, f"{place}[{at}]", losses)]


def _part(block: Mapping[str, Any], place: str, losses: Losses) -> Sequence[Part]:
    translate = _PARTS.get(block["type"])
    if translate is None:
        known = ", ".join((*_PARTS, "tool_use", "tool_result"))
        losses.refuse(f"{place}.type", f"must be one of {known} for this model's provider, not {block['type'][:64]}")
        return ()
    losses.check_fields(block, _KNOWN[block["type"]], place)
    return translate(block, place, losses)


def _text(block: Mapping[str, Any], place: str, losses: Losses) -> Sequence[Part]:  # noqa: ARG001 - as the others
    if block.get("citations"):
        losses.leave_out("citations")
    return (Text(block["text"]),) if block["text"] else ()


def _image(block: Mapping[str, Any], place: str, losses: Losses) -> Sequence[Part]:
    if block.get("transformations"):
        losses.leave_out("transformations")
    source = block["source"]
    match source["type"]:
        case "base64":
            return (Image(media_type=source["media_type"].lower(), data=source["data"]),)
        case "url" if source["url"].startswith(("https://", "http://")):
            return (Image(url=source["url"]),)
        case "url":
            losses.refuse(f"{place}.source.url", "must be an https: address")
        case "file":
            losses.refuse(f"{place}.source", _FILES)
        case kind:
            losses.refuse(f"{place}.source.type", f"must be base64 or url, not {kind[:64]}")
    return ()


def _document(block: Mapping[str, Any], place: str, losses: Losses) -> Sequence[Part]:
    _refuse_citations(block, place, losses)
    title, source = str(block.get("title") or ""), block["source"]
    about = [Text(f"{block['context']}\n")] if block.get("context") else []
    heading = [Text(f"{title}\n")] if title else []
    match source["type"]:
        case "base64":
            return (*about, Document(media_type=source["media_type"].lower(), data=source["data"], name=title))
        case "url" if source["url"].startswith(("https://", "http://")):
            return (*about, Document(url=source["url"], name=title))
        case "url":
            losses.refuse(f"{place}.source.url", "must be an https: address")
        case "text":
            return (*about, *heading, Text(source["data"]), _END)
        case "content" if isinstance(source["content"], str):
            return (*about, *heading, Text(source["content"]), _END)
        case "content":
            return (*about, *heading, *_parts(source["content"], f"{place}.source.content", losses), _END)
        case "file":
            losses.refuse(f"{place}.source", _FILES)
        case kind:
            losses.refuse(f"{place}.source.type", f"must be base64, url, text or content, not {kind[:64]}")
    return ()


def _search_result(block: Mapping[str, Any], place: str, losses: Losses) -> Sequence[Part]:
    _refuse_citations(block, place, losses)
    found = _parts(block["content"], f"{place}.content", losses)
    return (Text(f"{block['title']}\n{block['source']}\n"), *found, _END)


def _refuse_citations(block: Mapping[str, Any], place: str, losses: Losses) -> None:
    wanted = block.get("citations")
    if isinstance(wanted, dict) and wanted.get("enabled"):
        losses.refuse(f"{place}.citations", "this model's provider cites no sources; leave it out")


_PARTS: Mapping[str, Callable[[Mapping[str, Any], str, Losses], Sequence[Part]]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "search_result": _search_result,
}
_KNOWN: Mapping[str, frozenset[str]] = {
    "text": frozenset({"type", "text", "citations"}),
    "image": frozenset({"type", "source", "transformations"}),
    "document": frozenset({"type", "source", "title", "context", "citations"}),
    "search_result": frozenset({"type", "source", "title", "content", "citations"}),
    # `caller` says which of Anthropic's own programs called; the model's direct calls carry it too.
    "tool_use": frozenset({"type", "id", "name", "input", "caller"}),
    "tool_result": frozenset({"type", "tool_use_id", "content", "is_error"}),
}


def _plain(content: Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "\n".join(block["text"] if block["type"] == "text" else f"[{block['type'][:64]}]" for block in content)
