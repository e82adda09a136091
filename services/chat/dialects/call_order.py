"""Tool calls one after the other, for dialects that tell each as a whole before the next one begins."""

from collections.abc import Iterator, Sequence

import orjson

from services.chat.turn import ToolCallDelta
from shared.errors import BadUpstream


class CallOrder:
    """Orders the pieces of tool calls, which some providers send mixed: those of a later call wait for the earlier one.

    A call is over when its arguments are whole and another one has begun; nothing waits where providers do it in order.
    """

    def __init__(self) -> None:
        self._current: int | None = None
        self._written: list[str] = []
        self._waiting: dict[int, list[ToolCallDelta]] = {}
        self._over: set[int] = set()

    def take(self, pieces: Sequence[ToolCallDelta]) -> Iterator[ToolCallDelta]:
        """Yields what can be told now. Raises BadUpstream for a piece of a call that was whole before."""
        for piece in pieces:
            if self._current is None:
                self._current = piece.index
            if piece.index in self._over:
                if piece.arguments:
                    raise BadUpstream("the model's provider added to the arguments of a tool call that were whole")
            elif piece.index == self._current:
                self._written.append(piece.arguments)
                yield piece
                yield from self._go_on()
            else:
                self._waiting.setdefault(piece.index, []).append(piece)
                yield from self._go_on()

    def rest(self) -> Iterator[ToolCallDelta]:
        """Yields what waited until the end."""
        for pieces in self._waiting.values():
            yield from pieces
        self._waiting = {}

    def _go_on(self) -> Iterator[ToolCallDelta]:
        while self._waiting and self._current is not None and self._is_whole():
            self._over.add(self._current)
            self._current = next(iter(self._waiting))
            pieces = self._waiting.pop(self._current)
            self._written = [piece.arguments for piece in pieces]
            yield from pieces

    def _is_whole(self) -> bool:
        written = "".join(self._written).strip()
        if not written.endswith("}"):
            return False
        try:
            orjson.loads(written)
        except orjson.JSONDecodeError:
            return False
        return True
