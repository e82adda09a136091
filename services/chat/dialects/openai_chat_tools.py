"""The tools of OpenAI's chat completions: functions are translated, custom tools have no counterpart elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.chat.dialects.openai_checks import unknown
from services.chat.dialects.openai_tools import check_function, choose, untranslatable_function
from services.chat.turn import Tool, ToolChoice
from shared.errors import Violation

_TOOL = frozenset({"type", "function"})
_FUNCTION = frozenset({"name", "description", "parameters", "strict"})


def check_tools(tools: Any) -> list[Violation]:
    """Returns what is wrong with `tools`."""
    if tools is None:
        return []
    if not isinstance(tools, list):
        return [Violation("tools", "must be a list of objects")]
    violations = []
    for number, tool in enumerate(tools):
        where = f"tools[{number}]"
        if not isinstance(tool, dict):
            violations.append(Violation(where, "must be an object"))
        elif not isinstance(tool.get("type"), str):
            violations.append(Violation(f"{where}.type", "must be a string"))
        elif tool["type"] == "function":
            function = tool.get("function")
            if isinstance(function, dict):
                violations += check_function(function, f"{where}.function")
            else:
                violations.append(Violation(f"{where}.function", "must be an object"))
    return violations


def translate_tools(
    tools: Sequence[Mapping[str, Any]], refused: list[Violation], left_out: list[str]
) -> Sequence[Tool]:
    """Translates tools that were checked; puts down what has no counterpart, and what is lost."""
    translated = []
    for number, tool in enumerate(tools):
        where = f"tools[{number}]"
        if tool["type"] != "function":
            refused.append(Violation(f"{where}.type", "must be function for this model's provider"))
            continue
        function = tool["function"]
        refused += untranslatable_function(function, f"{where}.function")
        left_out += [f"{where}.{name}" for name in unknown(tool, _TOOL)]
        left_out += [f"{where}.function.{name}" for name in unknown(function, _FUNCTION)]
        translated.append(
            Tool(
                function["name"], function.get("description") or "", function.get("parameters"), function.get("strict")
            )
        )
    return translated


def translate_choice(
    choice: Any, tools: Sequence[Tool], refused: list[Violation]
) -> tuple[ToolChoice | None, Sequence[Tool]]:
    """Translates the choice among tools; returns it with the tools that it leaves, and puts down what it cannot be."""
    return choose(choice, tools, refused, allowed_in=lambda allowed: allowed.get("allowed_tools"), name_in=_name_in)


def _name_in(one: Mapping[str, Any]) -> Any:
    function = one.get("function")
    return function.get("name") if isinstance(function, dict) else None
