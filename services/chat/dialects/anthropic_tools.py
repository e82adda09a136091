"""The tools of Anthropic's messages: checked, and translated for providers of other families."""

import re
from collections.abc import Sequence
from typing import Any

from services.chat.dialects.anthropic_losses import MAX_VIOLATIONS, Losses
from services.chat.turn import Tool, ToolChoice, ToolMode
from shared.errors import Violation

_KNOWN = frozenset({"type", "name", "description", "input_schema", "strict", "allowed_callers"})
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_MODES = {"auto": ToolMode.AUTO, "any": ToolMode.REQUIRED, "tool": ToolMode.NAMED, "none": ToolMode.NONE}


def check_tools(value: Any) -> list[Violation]:
    """Returns what is wrong with `tools`. Tools of Anthropic's own have a type of their own and are its to judge."""
    if value is None:
        return []
    if not isinstance(value, list):
        return [Violation("tools", "must be a list of objects")]
    violations: list[Violation] = []
    for number, tool in enumerate(value):
        violations += _check_tool(tool, f"tools[{number}]")
        if len(violations) >= MAX_VIOLATIONS:
            break
    return violations[:MAX_VIOLATIONS]


def check_tool_choice(value: Any) -> list[Violation]:
    """Returns what is wrong with `tool_choice`."""
    if value is None:
        return []
    if not isinstance(value, dict) or not isinstance(value.get("type"), str) or value["type"] not in _MODES:
        return [Violation("tool_choice.type", f"must be one of {', '.join(_MODES)}")]
    violations = []
    if value["type"] == "tool" and not isinstance(value.get("name"), str):
        violations.append(Violation("tool_choice.name", "must name a tool"))
    if value.get("disable_parallel_tool_use") not in (None, True, False):
        violations.append(Violation("tool_choice.disable_parallel_tool_use", "must be true or false"))
    return violations


def tools(value: Any, losses: Losses) -> Sequence[Tool]:
    """Translates tools that were checked."""
    return [tool for number, one in enumerate(value or ()) if (tool := _tool(one, f"tools[{number}]", losses))]


def tool_choice(value: Any, tools: Sequence[Tool], losses: Losses) -> tuple[ToolChoice | None, bool | None]:
    """Translates a choice that was checked: the choice itself, and whether tools may be called in parallel."""
    if value is None:
        return None, None
    if not losses.refused and value["type"] == "any" and not tools:
        losses.refuse("tool_choice", "must not be any where there are no tools")
    if not losses.refused and value["type"] == "tool" and value["name"] not in [tool.name for tool in tools]:
        losses.refuse("tool_choice.name", "must name one of the tools")
    parallel = False if value.get("disable_parallel_tool_use") else None
    return ToolChoice(_MODES[value["type"]], str(value.get("name") or "")), parallel


def _check_tool(tool: Any, place: str) -> list[Violation]:
    if not isinstance(tool, dict):
        return [Violation(place, "must be an object")]
    if not _is_custom(tool):
        return [] if isinstance(tool["type"], str) else [Violation(f"{place}.type", "must be a string")]
    violations = []
    if not isinstance(tool.get("name"), str) or not tool["name"]:
        violations.append(Violation(f"{place}.name", "must be a string that is not empty"))
    if not isinstance(tool.get("input_schema"), dict):
        violations.append(Violation(f"{place}.input_schema", "must be a JSON schema: an object"))
    if tool.get("description") is not None and not isinstance(tool["description"], str):
        violations.append(Violation(f"{place}.description", "must be a string"))
    if tool.get("strict") is not None and not isinstance(tool["strict"], bool):
        violations.append(Violation(f"{place}.strict", "must be true or false"))
    return violations


def _is_custom(tool: dict[str, Any]) -> bool:
    return tool.get("type") in (None, "custom")


def _tool(tool: dict[str, Any], place: str, losses: Losses) -> Tool | None:
    if not _is_custom(tool):
        losses.refuse(
            f"{place}.type", f"{tool['type'][:64]} is Anthropic's own; this model's provider takes custom tools only"
        )
        return None
    if not _NAME.fullmatch(tool["name"]):
        losses.refuse(f"{place}.name", "must be 1 to 64 letters, digits, _ or - for this model's provider")
    callers = tool.get("allowed_callers")
    if callers and callers != ["direct"]:
        losses.refuse(f"{place}.allowed_callers", "must be direct only for this model's provider")
    losses.check_fields(tool, _KNOWN, place)
    return Tool(tool["name"], tool.get("description") or "", tool["input_schema"], tool.get("strict"))
