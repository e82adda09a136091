"""What the tools of both of OpenAI's dialects have in common: functions, and the choice among them."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services.chat.turn import Tool, ToolChoice, ToolMode
from shared.errors import Violation

_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def check_function(function: Mapping[str, Any], where: str) -> list[Violation]:
    """Returns what is wrong with the function of a tool."""
    wanted = []
    if not isinstance(function.get("name"), str) or not function["name"]:
        wanted.append(Violation(f"{where}.name", "must be a string"))
    for name, kind, kind_name in (
        ("description", str, "a string"),
        ("parameters", dict, "a JSON schema: an object"),
        ("strict", bool, "true or false"),
    ):
        if function.get(name) is not None and not isinstance(function[name], kind):
            wanted.append(Violation(f"{where}.{name}", f"must be {kind_name}"))
    return wanted


def untranslatable_function(function: Mapping[str, Any], where: str) -> list[Violation]:
    """Returns what other families than OpenAI's refuse of a function that was checked."""
    refused = []
    if not _TOOL_NAME.fullmatch(function["name"]):
        refused.append(Violation(f"{where}.name", "must be 1 to 64 letters, digits, _ or -"))
    parameters = function.get("parameters")
    if parameters and parameters.get("type") != "object":
        refused.append(Violation(f"{where}.parameters.type", "must be object, as the arguments have names"))
    return refused


def choose(
    choice: Any,
    tools: Sequence[Tool],
    refused: list[Violation],
    *,
    allowed_in: Callable[[Mapping[str, Any]], Any],
    name_in: Callable[[Mapping[str, Any]], Any],
) -> tuple[ToolChoice | None, Sequence[Tool]]:
    """Translates the choice among tools; returns it with the tools that it leaves, and puts down what it cannot be.

    `allowed_in` returns what an `allowed_tools` allows, `name_in` the name in an object that names a function.
    """
    if choice is None:
        return None, tools
    names = [tool.name for tool in tools]
    kind = choice.get("type") if isinstance(choice, dict) else choice
    if kind == "required" and not tools:
        refused.append(Violation("tool_choice", "must not be required where there are no tools"))
    elif kind in ("auto", "none", "required"):
        return ToolChoice(ToolMode(kind)), tools
    elif kind == "function" and (name := name_in(choice)) in names:
        return ToolChoice(ToolMode.NAMED, name), tools
    elif kind == "function":
        refused.append(Violation("tool_choice", "must name a function among the tools"))
    elif kind == "allowed_tools":
        return _allowed(allowed_in(choice), tools, names, refused, name_in)
    else:
        wanted = "auto, none, required, a function or allowed_tools"
        refused.append(Violation("tool_choice", f"must be {wanted} for this model's provider"))
    return None, tools


def _allowed(
    allowed: Any,
    tools: Sequence[Tool],
    names: Sequence[str],
    refused: list[Violation],
    name_in: Callable[[Mapping[str, Any]], Any],
) -> tuple[ToolChoice | None, Sequence[Tool]]:
    described = allowed if isinstance(allowed, dict) else {}
    listed = described.get("tools")
    chosen = [name_in(one) for one in (listed if isinstance(listed, list) else ()) if isinstance(one, dict)]
    if described.get("mode") in ("auto", "required") and chosen and all(name in names for name in chosen):
        return ToolChoice(ToolMode(described["mode"])), [tool for tool in tools if tool.name in chosen]
    refused.append(Violation("tool_choice", "must allow, by the mode auto or required, functions among the tools"))
    return None, tools
