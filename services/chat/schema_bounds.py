"""Bounds in a JSON schema, such as `minimum`, for providers whose models can be held to a schema's structure only.

What cannot be held is said in the description instead, so that the model may heed it, as those providers' own SDKs do.
"""

from collections.abc import Mapping
from typing import Any

_BOUNDS = frozenset(
    {
        "exclusiveMaximum",
        "exclusiveMinimum",
        "maxItems",
        "maxLength",
        "maxProperties",
        "maximum",
        "minItems",
        "minLength",
        "minProperties",
        "minimum",
        "multipleOf",
        "pattern",
        "uniqueItems",
    }
)
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"},
)
_HELD_MIN_ITEMS = (0, 1)
_OF_NAMED = ("properties", "$defs", "definitions")
_OF_LISTED = ("anyOf", "oneOf", "allOf")


def without_bounds(schema: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Returns a schema whose bounds stand in its descriptions, and the names of the bounds.

    Objects that do not say whether they may hold more than their properties are closed: those providers insist on it,
    and what they write then is of the form all the same. What is no schema stays as it is, for the provider to refuse.
    """
    found: set[str] = set()
    return _loosened(schema, found), tuple(sorted(found))


def _loosened(schema: Any, found: set[str]) -> Any:
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    bounds: dict[str, Any] = {}
    for name, value in schema.items():
        if _is_bound(name, value):
            bounds[name] = value
        elif name in _OF_NAMED and isinstance(value, dict):
            kept[name] = {one: _loosened(inner, found) for one, inner in value.items()}
        elif name in _OF_LISTED and isinstance(value, list):
            kept[name] = [_loosened(inner, found) for inner in value]
        elif name == "items":
            kept[name] = _loosened(value, found)
        else:
            kept[name] = value
    if schema.get("type") == "object" and "additionalProperties" not in schema:
        kept["additionalProperties"] = False
    if bounds:
        found.update(bounds)
        said = "{" + ", ".join(f"{name}: {value}" for name, value in bounds.items()) + "}"
        description = schema.get("description")
        kept["description"] = f"{description}\n\n{said}" if isinstance(description, str) and description else said
    return kept


def _is_bound(name: str, value: Any) -> bool:
    if name == "minItems":
        return value not in _HELD_MIN_ITEMS
    if name == "format":
        return isinstance(value, str) and value not in _FORMATS
    return name in _BOUNDS
