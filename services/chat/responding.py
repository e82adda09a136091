"""Asking providers: time limits, fallback before the first word, and what every call tells about health."""

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from services.chat.catalogue import ModelSpec
from services.chat.fitting import fit
from services.chat.health import HealthBoard
from services.chat.providers import errors
from services.chat.providers.base import Provider
from services.chat.selection import Selection
from services.chat.turn import Delta, Dialect, Reply, ReplyBuilder, Turn
from shared.errors import BadUpstream, DeadlineExceeded, ResourceExhausted, Unavailable

FAULTS = (Unavailable, BadUpstream, DeadlineExceeded, ResourceExhausted)
"""Errors that are the provider's and not the request's: they count against it, and another one may do better."""

FAIR_MILLISECONDS = 10_000
"""A caller may set any time limit; missing a shorter one says nothing about the provider."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole reply, and who gave it."""

    reply: Reply
    model: ModelSpec
    fallback_used: bool


@dataclass(frozen=True, slots=True)
class Fallback:
    """A provider failed before its first word; `model` is tried now."""

    message: str
    model: ModelSpec


class Responder:
    """Asks the providers. `deadline` is a time of the running event loop's clock."""

    def __init__(self, providers: Mapping[str, Provider], board: HealthBoard) -> None:
        self.providers = providers
        self.board = board

    def fit(self, turn: Turn, model: ModelSpec) -> tuple[Turn, tuple[str, ...]]:
        """Returns the turn as the model's provider can take it, and what was left out."""
        provider = self.providers[model.provider]
        return fit(turn, provider.id, provider.takes)

    def speaks(self, model: ModelSpec, dialect: Dialect) -> bool:
        """Whether a model's provider speaks a dialect."""
        return dialect in self.providers[model.provider].dialects

    async def complete(self, turn: Turn, selection: Selection, deadline: float) -> Answer:
        """Returns a whole reply. Raises the last provider's error."""
        candidates = [selection.model, *selection.fallbacks]
        for number, model in enumerate(candidates):
            began = time.perf_counter()
            try:
                fitted, _ = self.fit(turn, model)
                async with asyncio.timeout_at(deadline):
                    reply = await self.providers[model.provider].complete(fitted, model)
            except TimeoutError as late:
                self.late(model, began)
                raise errors.timed_out(model.provider) from late
            except FAULTS:
                self.board.failed(model.provider)
                if number + 1 == len(candidates):
                    raise
                continue
            elapsed = _milliseconds_since(began)
            self.board.succeeded(model.provider, model.id, elapsed, elapsed)
            return Answer(reply, model, fallback_used=number > 0)
        raise AssertionError("there is at least one candidate")

    def stream(self, turn: Turn, selection: Selection, deadline: float) -> "StreamedAnswer":
        """Begins a stream; nothing is asked before its events are."""
        return StreamedAnswer(self, turn, selection, deadline)

    def late(self, model: ModelSpec, began: float, first_word: float | None = None) -> None:
        """Counts a deadline that passed against the provider, if the caller had left it a fair time."""
        if _milliseconds_since(began) >= FAIR_MILLISECONDS:
            self.board.failed(model.provider, first_word)


class StreamedAnswer:
    """A reply as it arrives. `reply` holds what arrived so far, `model` says who is answering."""

    def __init__(self, responder: Responder, turn: Turn, selection: Selection, deadline: float) -> None:
        self.model = selection.model
        self.fallback_used = False
        self.reply = ReplyBuilder()
        self._responder = responder
        self._turn = turn
        self._candidates = [selection.model, *selection.fallbacks]
        self._deadline = deadline

    async def events(self) -> AsyncGenerator[Delta | Fallback]:
        """Yields the deltas, and before the first one a Fallback for each provider that failed.

        Raises the provider's error when no candidate is left, or when a reply that began breaks off.
        """
        for number, model in enumerate(self._candidates):
            self.model, self.fallback_used, self.reply = model, number > 0, ReplyBuilder()
            try:
                async with aclosing(self._of(model)) as deltas:
                    async for delta in deltas:
                        yield delta
                return
            except FAULTS as failure:
                others = number + 1 < len(self._candidates)
                if not others or self.reply.has_content or self._late():
                    failure.metadata["fallback_available"] = str(others).lower()
                    raise
                following = self._candidates[number + 1]
                yield Fallback(f"{failure}; trying {following.id} of {following.provider}", following)

    async def _of(self, model: ModelSpec) -> AsyncGenerator[Delta]:
        board = self._responder.board
        provider = self._responder.providers[model.provider]
        fitted, _ = self._responder.fit(self._turn, model)
        began = time.perf_counter()
        first_word: float | None = None
        async with aclosing(provider.stream(fitted, model)) as deltas:
            while True:
                try:
                    async with asyncio.timeout_at(self._deadline):
                        delta = await anext(deltas, None)
                except TimeoutError as late:
                    self._responder.late(model, began, first_word)
                    raise errors.timed_out(model.provider) from late
                except FAULTS:
                    board.failed(model.provider, first_word)
                    raise
                if delta is None:
                    break
                if first_word is None and (delta.text or delta.tool_calls):
                    first_word = _milliseconds_since(began)
                self.reply.add(delta)
                yield delta
        elapsed = _milliseconds_since(began)
        board.succeeded(model.provider, model.id, elapsed if first_word is None else first_word, elapsed)

    def _late(self) -> bool:
        return asyncio.get_running_loop().time() >= self._deadline


def _milliseconds_since(began: float) -> float:
    # The event loop's own clock moves in whole milliseconds, which a local reply does not take.
    return (time.perf_counter() - began) * 1000
