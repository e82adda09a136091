"""The tools of OpenAI's responses: functions are translated, what OpenAI runs itself has no counterpart elsewhere."""

from collections.abc import Mapping, Sequence
from typing import Any

from services.chat.dialects.openai_tools import check_function, choose, untranslatable_function
from services.chat.turn import Tool, ToolChoice
from shared.errors import Violation

# Values of a function that say no more than leaving them out.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "allowed_callers": (["direct"], []),
    "async": (False,),
    "defer_loading": (False,),
}
_TRANSLATED = frozenset({"type", "name", "description", "parameters", "strict"})
_PREFERENCES = frozenset({"defer_loading", "output_schema"})


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
            violations += check_function(tool, where)
    return violations


def translate_tools(
    tools: Sequence[Mapping[str, Any]], refused: list[Violation], left_out: list[str]
) -> Sequence[Tool]:
    """Translates tools that were checked; puts down what has no counterpart, and which preferences are lost."""
    translated = []
    for number, tool in enumerate(tools):
        where = f"tools[{number}]"
        if tool["type"] != "function":
            refused.append(
                Violation(f"{where}.type", f"must be function for this model's provider, not {tool['type'][:64]}")
            )
            continue
        refused += untranslatable_function(tool, where)
        for name, value in tool.items():
            if name in _TRANSLATED or value is None or value in _NEUTRAL.get(name, ()):
                continue
            if name in _PREFERENCES:
                left_out.append(f"{where}.{name}")
            else:
                refused.append(Violation(f"{where}.{name[:64]}", "has no counterpart for this model's provider"))
        translated.append(Tool(tool["name"], tool.get("description") or "", tool.get("parameters"), tool.get("strict")))
    return translated


def translate_choice(
    choice: Any, tools: Sequence[Tool], refused: list[Violation]
) -> tuple[ToolChoice | None, Sequence[Tool]]:
    """Translates the choice among tools; returns it with the tools that it leaves, and puts down what it cannot be."""
    return choose(choice, tools, refused, allowed_in=lambda allowed: allowed, name_in=lambda one: one.get("name"))
