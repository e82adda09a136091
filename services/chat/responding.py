"""Asking providers: time limits, retries and fallback before the first word, and what health learns of every call."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from dataclasses import dataclass, replace

from services.chat.catalogue import ModelSpec
from services.chat.fitting import fit
from services.chat.health import HealthBoard
from services.chat.kept_ids import named_ids
from services.chat.providers import errors
from services.chat.resilience.course import Attempt, Course
from services.chat.resilience.policy import RefusedOnly, RetryPolicy
from services.chat.resilience.pool import Lease, Pool
from services.chat.resilience.verdicts import FAULTS
from services.chat.selection import Selection
from services.chat.turn import (
    Delta,
    Dialect,
    Reply,
    ReplyBuilder,
    Turn,
    UnfinishedReply,
    Usage,
)
from shared.errors import GaiaError, InvalidArgument

_NOTHING: AbstractSet[str] = frozenset()
_THINKING = frozenset({"reasoning_effort", "thinking_tokens"})
_SAMPLING = frozenset({"temperature", "top_p", "top_k"})

FAIR_MILLISECONDS = 10_000
"""A caller may set any time limit; missing a shorter one says nothing about the provider."""

MOST_HELD = 4
"""Idle deltas that are held back at the beginning of a stream. Those that tell a role or a count of tokens come alone
before the first word, and as long as the client has seen nothing of a reply, it can be begun again."""

MOST_BYTES = 64 * 1024 * 1024
"""A streamed reply that takes more than this is none: several times the longest that models write, in single tokens."""


Hold = Callable[[ModelSpec, Usage], Awaitable[bool]]
"""Takes in what a try used that failed. Returns whether another one can be paid for beside it."""


Unheard = Callable[[ModelSpec, float], Usage]
"""Estimates what a model used that was cut off after so many seconds."""


def nothing_heard(_model: ModelSpec, _seconds: float) -> Usage:
    """Takes what nobody heard for nothing."""
    return Usage(0)


async def hold_nothing(_model: ModelSpec, _usage: Usage) -> bool:
    """Lets every call go on."""
    return True


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole reply, and who gave it; `attempts` are the tries that failed before."""

    reply: Reply
    model: ModelSpec
    fallback_used: bool
    attempts: Sequence[Attempt] = ()


@dataclass(frozen=True, slots=True)
class Fallback:
    """A provider failed before its first word; `model` is tried now."""

    message: str
    model: ModelSpec


class Responder:
    """Asks the providers. `deadline` is a time of the running event loop's clock.

    `first_token_seconds` is how long a stream may take to its first token.
    """

    def __init__(
        self,
        providers: Mapping[str, Pool],
        board: HealthBoard,
        policy: RetryPolicy | None = None,
        *,
        first_token_seconds: float = 120.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.providers = providers
        self.board = board
        self.first_token_seconds = first_token_seconds
        self.policy = policy or RetryPolicy()
        self._sleep = sleep

    def fit(self, turn: Turn, model: ModelSpec) -> tuple[Turn, tuple[str, ...]]:
        """Returns the turn as the model's provider can take it, and what was left out."""
        provider = self.providers[model.provider]
        if turn.thinking_tokens == 0 and "reasoning" not in model.capabilities:
            # Not to think is what such a model does anyway.
            turn = replace(turn, thinking_tokens=None)
        return fit(turn, provider.id, provider.takes - _not_taken(model))

    def speaks(self, model: ModelSpec, dialect: Dialect) -> bool:
        """Whether a model's provider speaks a dialect."""
        return dialect in self.providers[model.provider].dialects

    async def complete(
        self,
        turn: Turn,
        course: Course,
        deadline: float,
        hold: Hold = hold_nothing,
        unheard: Unheard = nothing_heard,
    ) -> Answer:
        """Returns a whole reply. Raises the last provider's error.

        `course` is a new one for the turn (see `course`); it knows afterwards which tries failed before.
        """
        while True:
            model = course.model
            fitted, _ = self.fit(turn, model)
            try:
                reply = await self._try(course, fitted, model, deadline)
            except FAULTS as failure:
                used, is_estimate = used_by(failure, course, unheard)
                may_go_on = used is None or await hold(model, used)
                wait = course.go_on(failure, used, is_estimate=is_estimate) if may_go_on else None
                if wait is None:
                    raise
            except GaiaError as refusal:
                if not course.is_elsewhere(refusal):
                    raise
                wait = 0.0
            else:
                return Answer(reply, model, course.fallback_used, course.attempts)
            await course.pause(wait)

    def stream(
        self,
        turn: Turn,
        selection: Selection,
        deadline: float,
        hold: Hold = hold_nothing,
        unheard: Unheard = nothing_heard,
    ) -> "StreamedAnswer":
        """Begins a stream; nothing is asked before its events are."""
        return StreamedAnswer(self, turn, selection, deadline, hold, unheard)

    def course(self, turn: Turn, selection: Selection, deadline: float) -> Course:
        """Begins the way of a request."""
        model, original = selection.model, turn.original
        seeks = original is not None and len(self.providers[model.provider].endpoints) > 1 and bool(named_ids(original))
        return Course(
            (model, *selection.fallbacks),
            self.providers,
            RefusedOnly.of(self.policy) if original is not None and original.in_background else self.policy,
            deadline,
            lambda other: self._can_take(turn, other),
            self._sleep,
            seeks=seeks,
        )

    def late(self, lease: Lease, model: ModelSpec, began: float, first_word: float | None = None) -> None:
        """Counts a deadline that passed against the provider, if the caller had left it a fair time."""
        if _milliseconds_since(began) >= FAIR_MILLISECONDS:
            self.failed(lease, model, errors.timed_out(model.provider), first_word)

    def failed(self, lease: Lease, model: ModelSpec, failure: GaiaError, first_word: float | None = None) -> None:
        """Counts a failure against the provider and its endpoint."""
        self.board.failed(model.provider, first_word)
        lease.failed(failure)

    async def _try(self, course: Course, turn: Turn, model: ModelSpec, deadline: float) -> Reply:
        lease = course.lease()
        began = time.perf_counter()
        try:
            async with asyncio.timeout_at(deadline):
                reply = await lease.endpoint.adapter.complete(turn, model)
            lease.succeeded()
        except TimeoutError as late:
            self.late(lease, model, began)
            raise errors.timed_out(model.provider) from late
        except FAULTS as failure:
            self.failed(lease, model, failure)
            raise
        except GaiaError as refusal:
            lease.failed(refusal)
            raise
        finally:
            lease.end()
        if isinstance(reply, UnfinishedReply):
            # How long the provider took to say that it will do it says nothing of the model.
            return replace(reply, endpoint=lease.endpoint.number)
        elapsed = _milliseconds_since(began)
        self.board.succeeded(model.provider, model.id, elapsed, elapsed)
        return reply

    def _can_take(self, turn: Turn, model: ModelSpec) -> bool:
        """Whether a model that stands in can be given the request, be it without some preferences."""
        if turn.original is not None:
            return self.speaks(model, turn.original.dialect)
        try:
            self.fit(turn, model)
        except InvalidArgument:
            return False
        return True


class StreamedAnswer:
    """A reply as it arrives.

    `reply` holds what arrived so far and `model` says who is answering. `attempts` are the tries that failed before:
    the one whose error is raised in the end is not among them, what came of it is in `reply`. `endpoint` is the number
    of the provider's endpoint that is answering. What goes on in the background is told from its first event on.
    """

    def __init__(
        self,
        responder: Responder,
        turn: Turn,
        selection: Selection,
        deadline: float,
        hold: Hold,
        unheard: Unheard,
    ) -> None:
        self.model = selection.model
        self.fallback_used = False
        self.reply = ReplyBuilder()
        self.attempts: Sequence[Attempt] = ()
        self.endpoint = 1
        original = turn.original
        self._at_once = original is not None and original.in_background
        self._responder = responder
        self._turn = turn
        self._selection = selection
        self._deadline = deadline
        self._hold = hold
        self._unheard = unheard
        self._course: Course | None = None
        self._was_seen = False

    @property
    def asked_at(self) -> float | None:
        """Since when a provider is being asked; see `Course`."""
        return None if self._course is None else self._course.asked_at

    async def events(self) -> AsyncGenerator[Delta | Fallback]:
        """Yields the deltas, and before the first one a Fallback for each provider that failed.

        Raises the provider's error when no try is left, or when a reply breaks off of which something was told.
        """
        self._course = course = self._responder.course(self._turn, self._selection, self._deadline)
        self.attempts = course.attempts
        while True:
            try:
                async with aclosing(self._try(course)) as deltas:
                    async for delta in deltas:
                        yield delta
                return
            except FAULTS as failure:
                others = course.has_others()
                used, is_estimate = self.reply.usage, False
                if used is None:
                    used, is_estimate = used_by(failure, course, self._unheard)
                may_go_on = not self._was_seen and (used is None or await self._hold(course.model, used))
                wait = course.go_on(failure, used, is_estimate=is_estimate) if may_go_on else None
                if wait is None:
                    failure.metadata["fallback_available"] = str(others).lower()
                    raise
                told = str(failure)
            except GaiaError as refusal:
                if self._was_seen or not course.is_elsewhere(refusal):
                    raise
                wait, told = 0.0, ""
            # What came of the try that failed is in `attempts` now.
            self.reply = ReplyBuilder()
            await course.pause(wait)
            if course.model is not self.model:
                self.model, self.fallback_used = course.model, True
                yield Fallback(f"{told}; trying {course.model.id} of {course.model.provider}", course.model)

    async def _try(self, course: Course) -> AsyncGenerator[Delta]:
        self.reply = ReplyBuilder()
        responder, model, deadline = self._responder, course.model, self._deadline
        fitted, _ = responder.fit(self._turn, model)
        lease = course.lease()
        self.endpoint = lease.endpoint.number
        began = time.perf_counter()
        limit = min(deadline, asyncio.get_running_loop().time() + responder.first_token_seconds)
        first_word: float | None = None
        passes_all = self._turn.original is not None
        held: list[Delta] = []
        is_idle = True
        try:
            async with aclosing(lease.endpoint.adapter.stream(fitted, model)) as deltas:
                while True:
                    async with asyncio.timeout_at(limit):
                        delta = await anext(deltas, None)
                    if delta is None:
                        break
                    if first_word is None and (delta.text or delta.tool_calls):
                        first_word = _milliseconds_since(began)
                    self._take(delta)
                    if is_idle:
                        is_idle = not self._at_once and (delta.is_idle if passes_all else not _has_content(delta))
                        if not is_idle:
                            limit = deadline
                    if not self._was_seen:
                        if is_idle and (len(held) < MOST_HELD or not passes_all):
                            # Of what only translators see the newest is enough.
                            held[MOST_HELD - 1 :] = [delta]
                            continue
                        self._was_seen = True
                        for one in held:
                            yield one
                    yield delta
            lease.succeeded()
        except TimeoutError as late:
            failure = errors.timed_out(model.provider)
            if limit == deadline:
                responder.late(lease, model, began, first_word)
            else:
                responder.failed(lease, model, failure)
            raise failure from late
        except FAULTS as failure:
            responder.failed(lease, model, failure, first_word)
            raise
        except GaiaError as refusal:
            lease.failed(refusal)
            raise
        finally:
            lease.end()
        elapsed = _milliseconds_since(began)
        responder.board.succeeded(model.provider, model.id, elapsed if first_word is None else first_word, elapsed)
        if not self._was_seen:
            self._was_seen = True
            for one in held:
                yield one

    def _take(self, delta: Delta) -> None:
        self.reply.add(delta)
        if self.reply.size > MOST_BYTES:
            raise errors.nonsense(self.model.provider, f"a reply of more than {MOST_BYTES >> 20} MiB")


def used_by(failure: GaiaError, course: Course, unheard: Unheard) -> tuple[Usage | None, bool]:
    """Returns what the try used that failed just now, None for nothing, and whether that is an estimate.

    Its provider may have told it in its failure. One that was cut off at its work told nothing; one that failed or
    refused by itself, or was never reached, counts nothing.
    """
    told = errors.reported_usage(failure)
    if told is None and course.asked_at is not None and errors.was_at_work(failure):
        return unheard(course.model, time.perf_counter() - course.asked_at), True
    return told, False


def _has_content(delta: Delta) -> bool:
    return bool(
        delta.text or delta.tool_calls or delta.thinking or delta.signature or delta.redacted or delta.other_choices
    )


def _not_taken(model: ModelSpec) -> AbstractSet[str]:
    """Fields that the model's provider takes, and the model does not."""
    thinking = _NOTHING if "reasoning" in model.capabilities else _THINKING
    return thinking if model.supports_temperature else thinking | _SAMPLING


def _milliseconds_since(began: float) -> float:
    """Returns the time since a moment of `time.perf_counter`.

    The event loop's own clock moves in whole milliseconds, which a local reply does not take.
    """
    return (time.perf_counter() - began) * 1000
