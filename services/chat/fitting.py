"""Leaving out of a turn what its provider does not heed: named where it is a preference, refused where it matters."""

from collections.abc import Set as AbstractSet
from dataclasses import replace

from services.chat.schema_bounds import without_bounds
from services.chat.turn import Image, Tool, ToolMode, Turn
from shared.errors import InvalidArgument

NEUTRAL_TEMPERATURE = 1.0
"""What every provider takes when nothing is said; leaving it out changes nothing."""


_FIELDS = {"thinking": "thinking_tokens"}
"""Fields of a Turn by what clients call them, where that is something else."""


def fit(turn: Turn, provider: str, takes: AbstractSet[str]) -> tuple[Turn, tuple[str, ...]]:
    """Returns the turn as the provider can take it, and the names of the preferences that were left out.

    `takes` are the fields that the provider heeds. Raises InvalidArgument for a field whose loss would change what the
    reply means: a form that it must have, a tool that must be called.
    """
    if turn.original is not None:
        return turn, ()
    if turn.response_schema is not None and "response_schema" not in takes:
        raise InvalidArgument.field("response_format", f"{provider} cannot answer in a given form; leave it out")
    must_call = turn.tool_choice is not None and turn.tool_choice.mode in (ToolMode.REQUIRED, ToolMode.NAMED)
    if must_call and "tools" not in takes:
        raise InvalidArgument.field("tool_choice", f"{provider} cannot call tools; send auto or none")
    turn, bounds = (turn, ()) if "schema_bounds" in takes else _unbounded(turn)
    worded = "reasoning_effort" in takes
    left_out = [
        name
        for name, is_set in (
            ("temperature", turn.temperature is not None and turn.temperature != NEUTRAL_TEMPERATURE),
            ("top_p", turn.top_p is not None and turn.top_p != 1.0),
            ("top_k", turn.top_k is not None),
            ("stop", bool(turn.stop)),
            ("tools", bool(turn.tools)),
            ("image_detail", _has_detail(turn)),
            ("parallel_tool_calls", turn.parallel_tool_calls is not None),
            ("reasoning_effort", turn.reasoning_effort is not None and turn.thinking_tokens is None),
            # Both say the same: thinking is left out where the provider takes neither.
            ("thinking", turn.thinking_tokens is not None and not (turn.reasoning_effort and worded)),
        )
        if is_set and _FIELDS.get(name, name) not in takes
    ]
    fitted = replace(
        turn,
        temperature=turn.temperature if "temperature" in takes else None,
        top_p=turn.top_p if "top_p" in takes else None,
        top_k=turn.top_k if "top_k" in takes else None,
        stop=turn.stop if "stop" in takes else (),
        tools=turn.tools if "tools" in takes else (),
        tool_choice=turn.tool_choice if "tools" in takes else None,
        parallel_tool_calls=turn.parallel_tool_calls if "parallel_tool_calls" in takes else None,
        reasoning_effort=turn.reasoning_effort if "reasoning_effort" in takes else None,
        thinking_tokens=turn.thinking_tokens if "thinking_tokens" in takes else None,
        end_user=turn.end_user if "end_user" in takes else None,
    )
    return fitted, (*left_out, *bounds)


def _has_detail(turn: Turn) -> bool:
    return any(isinstance(part, Image) and part.detail for message in turn.messages for part in message.parts)


def _unbounded(turn: Turn) -> tuple[Turn, tuple[str, ...]]:
    """Returns a turn whose schemas hold no bounds, as far as a reply is held to them, and the names of the bounds."""
    form, lost = turn.response_schema, dict[str, None]()
    if form is not None:
        schema, names = without_bounds(form.schema)
        lost |= dict.fromkeys(f"response_format.{name}" for name in names)
        form = replace(form, schema=schema)
    tools: list[Tool] = []
    for tool in turn.tools:
        parameters, names = without_bounds(tool.parameters) if tool.strict and tool.parameters else (None, ())
        lost |= dict.fromkeys(f"tools.{name}" for name in names)
        tools.append(tool if parameters is None else replace(tool, parameters=parameters))
    return replace(turn, response_schema=form, tools=tuple(tools)), tuple(lost)
