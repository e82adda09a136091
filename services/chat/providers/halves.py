"""Characters that were cut in two, as by programs that count text in units of UTF-16 and cut it where they like.

Beyond the basic plane a character is two such units. Each half alone is no text (RFC 8259, section 8.2), and what is
sent of it may say nothing at all to the client's JSON library.
"""

import json
from typing import Any

import orjson

MOST_HELD = 64
"""Places in events of which a first half is kept; a reply is told in a few of them."""


class Halves:
    """Loads the events of one stream. A first half waits for the second one, at the same place of an event to come."""

    def __init__(self) -> None:
        self._held: dict[tuple[str | int, ...], str] = {}

    def load(self, event: bytes) -> tuple[Any, bytes]:
        """Returns what the JSON of an event says, and the event, both with whole characters only. Raises ValueError."""
        try:
            loaded = orjson.loads(event)
            if not self._held:
                return loaded, event
        except orjson.JSONDecodeError:
            if b"\\ud" not in event.lower():
                raise
            loaded = None
        try:
            whole = self._join(json.loads(event) if loaded is None else loaded, ())
        except RecursionError as error:
            raise ValueError("an event is nested too deep") from error
        return whole, orjson.dumps(whole)

    def _join(self, value: Any, place: tuple[str | int, ...]) -> Any:
        if isinstance(value, str):
            return self._text(value, place)
        if isinstance(value, dict):
            return {name: self._join(one, (*place, name)) for name, one in value.items()}
        if isinstance(value, list):
            return [self._join(one, (*place, number)) for number, one in enumerate(value)]
        return value

    def _text(self, value: str, place: tuple[str | int, ...]) -> str:
        whole = self._held.pop(place, "") + value
        if whole and "\ud800" <= whole[-1] <= "\udbff" and len(self._held) < MOST_HELD:
            self._held[place] = whole[-1]
            whole = whole[:-1]
        # Two halves become one character here, and one that stays alone is replaced.
        return whole if whole.isascii() else whole.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
