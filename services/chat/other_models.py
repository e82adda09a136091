"""Models beside the one asked for that a request has its provider use: in its place, or as a tool."""

from collections.abc import Iterator
from typing import Any

from services.chat.turn import Original


def other_models(original: Original) -> Iterator[tuple[str, str]]:
    """Yields the place and the name of each; the name is empty where the provider chooses."""
    for name in ("fallbacks", "tools"):
        value: Any = original.body.get(name)
        for number, one in enumerate(value if isinstance(value, list) else ()):
            if isinstance(one, dict) and isinstance(model := one.get("model"), str):
                yield f"{name}[{number}].model", model
    if isinstance(original.body.get("fallbacks"), str):
        yield "fallbacks", ""
