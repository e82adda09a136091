"""Every call to a model: admitted, answered, booked. What was answered before is told again without asking anybody."""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

from services.chat import snapshot
from services.chat.background import BackgroundCalls
from services.chat.cache import ResponseCache
from services.chat.catalogue import ModelSpec
from services.chat.dialects.base import Stamp
from services.chat.ledger import Exchange, State, new_call_id
from services.chat.metering import Admission, Meter, Used, may_use
from services.chat.providers import errors
from services.chat.records import Stored
from services.chat.resilience.course import Attempt
from services.chat.responding import Fallback, Responder, StreamedAnswer, used_by
from services.chat.selection import Selection
from services.chat.snapshot import Told
from services.chat.tokens import reply_tokens, turn_tokens
from services.chat.turn import Delta, Reply, ReplyBuilder, ToolCallDelta, Turn, Usage
from services.chat.unheard import used_unheard
from shared.errors import GaiaError
from shared.idempotency import Kept, answer_of
from shared.identity.principal import Principal

logger = logging.getLogger(__name__)

BREAK_OFF_SECONDS = 5.0
"""How long booking a call that failed may hold up telling its caller."""
_TOO_DEAR = "BUDGET_EXCEEDED"
_NOT_PAID_FOR = (_TOO_DEAR, "PRICE_UNKNOWN")
"""Reasons of a budget to refuse a call that may be those of a model which stands in."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Once:
    """An idempotency key, and the SHA-256 of the request that it came with."""

    key: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A call to a model. `deadline` is a time of the running event loop's clock.

    `exchange` makes what is kept of the conversation from a reply, the ids of the provider and the model that gave it,
    and whether it is whole.
    `max_output_tokens` is the client's limit for all replies together. A call with a `cache_key` may be answered by the
    reply to an earlier one of the same key. Of a call that may go on in the background, `said` is what is stored beside
    the reply, whose content is left out unless `keeps_content`.
    """

    caller: Principal
    request_id: str
    operation: str
    turn: Turn
    selection: Selection
    deadline: float
    exchange: Callable[[Reply, str, str, bool], Exchange]
    is_stream: bool = False
    max_output_tokens: int | None = None
    once: Once | None = None
    cache_key: bytes | None = None
    said: Sequence[Stored] = ()
    keeps_content: bool = True


class Calls:
    """Makes calls. It writes in tasks of its own: a caller that leaves does not undo what was begun.

    `background` looks after those that go on when they were answered.
    """

    def __init__(
        self, responder: Responder, meter: Meter, cache: ResponseCache, background: BackgroundCalls | None = None
    ) -> None:
        self.responder = responder
        self.meter = meter
        self.cache = cache
        self.background = background
        self._running: set[asyncio.Task[Any]] = set()

    async def begin(self, call: ModelCall, made: "type[BegunCall] | None" = None) -> "BegunCall":
        """Admits a call. It has to be closed (it is an asynchronous context manager), whether it was made or not.

        `made` is how it is made, where that is not the usual way. Raises AlreadyExists for an idempotency key that is
        in use or belongs to another request, and what `Meter.admit` raises.
        """
        call_id, now = new_call_id(), self.meter.now()
        seconds = max(0.0, call.deadline - asyncio.get_running_loop().time())
        kept: Kept | None = None
        try:
            if call.once is not None:
                lease = self.meter.lease(now, seconds)
                user_id = uuid.UUID(call.caller.user_id)
                kept = await self.meter.ledger.claim(user_id, call.once.key, call.once.fingerprint, call_id, lease)
                if kept is not None:
                    return BegunCall(self, call, snapshot.decode(answer_of(kept, call.once.fingerprint)))
            if call.cache_key is not None and (cached := self.cache.get(call.cache_key)) is not None:
                return BegunCall(self, call, await self._tell_cached(call, call_id, cached), "hit")
            call = replace(call, selection=_allowed(call.selection, call.caller))
            try:
                admission = await self._admit(call, call_id, seconds)
            except GaiaError as refused:
                if not call.selection.fallbacks or refused.reason not in _NOT_PAID_FOR:
                    raise
                # What cannot be paid for cannot stand in, and is no reason to refuse what was asked for.
                call = replace(call, selection=replace(call.selection, fallbacks=()))
                # Without a price it was refused before its tokens were counted.
                admission = await self._admit(call, call_id, seconds, is_counted=refused.reason == _TOO_DEAR)
        except BaseException:
            # Whoever is cancelled does not hear whether the key was claimed.
            if call.once is not None and kept is None:
                self.in_background(self.meter.ledger.release(call_id))
            raise
        return (made or BegunCall)(self, call, admission, "" if call.cache_key is None else "miss")

    async def _admit(
        self, call: ModelCall, call_id: uuid.UUID, seconds: float, *, is_counted: bool = False
    ) -> Admission:
        return await self.meter.admit(
            call_id=call_id,
            caller=call.caller,
            request_id=call.request_id,
            operation=call.operation,
            turn=call.turn,
            candidates=[call.selection.model, *call.selection.fallbacks],
            max_output_tokens=call.max_output_tokens,
            is_stream=call.is_stream,
            seconds=seconds,
            is_counted=is_counted,
        )

    async def _tell_cached(self, call: ModelCall, call_id: uuid.UUID, cached: Told) -> Told:
        """Books a call that nobody is paid for, and returns its answer."""
        meter = self.meter
        opening = meter.opening(
            call_id=call_id,
            caller=call.caller,
            request_id=call.request_id,
            operation=call.operation,
            provider=cached.provider,
            model=cached.model,
            is_stream=call.is_stream,
            seconds=0,
        )
        entry = meter.entry(opening, State.CACHED, (), provider=cached.provider, model=cached.model, total_ms=0)
        exchange = call.exchange(cached.reply, cached.provider, cached.model, True)
        told = replace(
            cached,
            call_id=call_id,
            created_at=opening.created_at,
            total_ms=0,
            conversation_id=exchange.conversation_of(call_id),
        )
        answer = snapshot.encode(told) if call.once is not None else None
        conversation_id = await meter.settle(Admission(opening, call.caller, 0), entry, exchange, answer)
        return replace(told, conversation_id=conversation_id)

    def in_background(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Runs work in a task that `drain` waits for; a failure that nobody else sees is logged by its class."""
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def drain(self) -> None:
        """Returns when all that was begun has ended."""
        while self._running:
            await asyncio.wait(self._running)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._running.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            logger.warning("the end of a call was not written", extra={"cause": type(failure).__name__})


class BegunCall:
    """A call that was admitted, or answered before. It is made once, either by `complete` or by `events`.

    `told` is the answer, once it is whole and stored. `cache` is `hit` or `miss` where a kept reply was looked for.
    """

    def __init__(self, calls: Calls, call: ModelCall, begun: Admission | Told, cache: str = "") -> None:
        self.told: Told | None = begun if isinstance(begun, Told) else None
        self.cache = cache
        self._calls = calls
        self._call = call
        self._admission = None if isinstance(begun, Told) else begun
        self._answer: StreamedAnswer | None = None
        self._is_made = False
        self._began = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Lets go of what was held for the call, if it was not made."""
        if self._admission is not None and not self._is_made:
            self._is_made = True
            self._began = time.perf_counter()
            self._break_off(self._admission, State.CANCELLED, "", None, ())

    @property
    def stamp(self) -> Stamp:
        """What the answer is known by."""
        if self.told is not None:
            return Stamp(self.told.call_id, self.told.created_at)
        return Stamp(self._admitted.opening.id, self._admitted.opening.created_at)

    @property
    def provider(self) -> str:
        """Id of the provider that is answering at the moment."""
        if self.told is not None:
            return self.told.provider
        return self._answer.model.provider if self._answer else self._call.selection.model.provider

    @property
    def model(self) -> str:
        """Id of the model that is answering at the moment."""
        if self.told is not None:
            return self.told.model
        return self._answer.model.id if self._answer else self._call.selection.model.id

    async def complete(self) -> Told:
        """Returns the whole answer, once it is stored. Raises the last provider's error."""
        if self.told is not None:
            return self.told
        call, admission, responder = self._call, self._start(), self._calls.responder
        course = responder.course(call.turn, call.selection, call.deadline)
        try:
            answer = await responder.complete(call.turn, course, call.deadline, self._hold, self._unheard)
        except GaiaError as failure:
            last, is_estimate = used_by(failure, course, self._unheard)
            used = [*used_before(course.attempts), *_used(course.model, last)]
            error = failure.reason or failure.code
            estimated = is_estimate or has_estimate(course.attempts)
            broken = self._break_off(admission, State.FAILED, error, None, used, course.model, is_estimate=estimated)
            await _briefly(broken)
            raise
        except BaseException:
            used = [*used_before(course.attempts), *_used(course.model, self._cut_off(course.model, course.asked_at))]
            self._break_off(admission, State.CANCELLED, "", None, used, course.model)
            raise
        return await self._finish(admission, answer.reply, answer.model, answer.attempts, answer.fallback_used, None)

    async def events(self) -> AsyncGenerator[Delta | Fallback]:
        """Yields the answer as it arrives; when that is over, it is stored and `told`.

        When the provider or the caller breaks off, what arrived is booked, and stored as incomplete.
        """
        if self.told is not None:
            for delta in _again(self.told):
                yield delta
            return
        call, admission = self._call, self._start()
        responder = self._calls.responder
        answer = responder.stream(call.turn, call.selection, call.deadline, self._hold, self._unheard)
        self._answer = answer
        records: list[bytes] = []
        kept_bytes = 0
        keeps = call.once is not None or call.cache_key is not None
        first_word: float | None = None
        state, error, was_at_work = State.CANCELLED, "", True
        try:
            async with aclosing(self._arriving(answer)) as events:
                async for event in events:
                    if isinstance(event, Delta):
                        if first_word is None and (event.text or event.tool_calls or event.thinking):
                            first_word = self._elapsed()
                        # Beyond its bound an answer is not kept, so no more of it has to be.
                        if keeps and kept_bytes <= snapshot.MAX_BYTES:
                            records.append(event.records)
                            kept_bytes += len(event.records)
                    yield event
            state = State.DONE
        except GaiaError as failure:
            state, error, was_at_work = State.FAILED, failure.reason or failure.code, errors.was_at_work(failure)
            raise
        finally:
            if state is not State.DONE:
                used = [*used_before(answer.attempts), *self._heard(answer, was_at_work=was_at_work)]
                is_estimate = not answer.reply.is_told or has_estimate(answer.attempts)
                parts = (answer.model, answer.reply)
                broken = self._break_off(admission, state, error, first_word, used, *parts, is_estimate=is_estimate)
                if state is State.FAILED:
                    await _briefly(broken)
        whole, model = answer.reply.build(), answer.model
        streamed = (b"".join(records), answer.reply.last_record)
        await self._finish(admission, whole, model, answer.attempts, answer.fallback_used, first_word, *streamed)

    def _arriving(self, answer: StreamedAnswer) -> AsyncGenerator[Delta | Fallback]:
        return answer.events()

    @property
    def _admitted(self) -> Admission:
        assert self._admission is not None
        return self._admission

    async def _hold(self, model: ModelSpec, usage: Usage) -> bool:
        """Holds the cost of a try that failed beside what the next one may cost."""
        return await self._calls.meter.hold_more(self._admitted, Used(model.provider, model.id, usage))

    def _start(self) -> Admission:
        if self._is_made:
            raise RuntimeError("a call is made once")
        self._is_made = True
        self._began = time.perf_counter()
        return self._admitted

    def _elapsed(self) -> float:
        # The event loop's own clock moves in whole milliseconds, which a local reply does not take.
        return (time.perf_counter() - self._began) * 1000

    async def _finish(
        self,
        admission: Admission,
        reply: Reply,
        model: ModelSpec,
        failed: Sequence[Attempt],
        fallback_used: bool,
        first_word_ms: float | None,
        records: bytes = b"",
        last_record: bytes = b"",
    ) -> Told:
        call, meter = self._call, self._calls.meter
        usage = reply.usage or Usage(turn_tokens(call.turn), reply_tokens(reply))
        total_ms = self._elapsed()
        entry = meter.entry(
            admission.opening,
            State.DONE,
            [*used_before(failed), Used(model.provider, model.id, usage, reply.served)],
            provider=model.provider,
            model=model.id,
            is_estimate=reply.usage is None or has_estimate(failed),
            first_word_ms=first_word_ms,
            total_ms=total_ms,
            conditions=admission.conditions,
            kept_ids=reply.kept_ids,
        )
        exchange = call.exchange(reply, model.provider, model.id, True)
        told = Told(
            call_id=admission.opening.id,
            created_at=admission.opening.created_at,
            reply=reply,
            provider=model.provider,
            model=model.id,
            fallback_used=fallback_used,
            total_ms=round(total_ms),
            conversation_id=exchange.conversation_of(admission.opening.id),
            records=records,
            last_record=last_record,
        )
        answer = snapshot.encode(told) if call.once is not None else None
        conversation_id = await meter.settle(admission, entry, exchange, answer)
        if call.cache_key is not None:
            self._calls.cache.put(call.cache_key, told)
        self.told = replace(told, conversation_id=conversation_id)
        return self.told

    def _break_off(
        self,
        admission: Admission,
        state: State,
        error: str,
        first_word_ms: float | None,
        used: Sequence[Used],
        model: ModelSpec | None = None,
        arrived: ReplyBuilder | None = None,
        *,
        is_estimate: bool = True,
    ) -> "asyncio.Task[None]":
        """Books a call that did not come to its end, and stores what arrived of its reply."""
        call, meter = self._call, self._calls.meter
        model = model or call.selection.model
        entry = meter.entry(
            admission.opening,
            state,
            used,
            provider=model.provider,
            model=model.id,
            is_estimate=is_estimate and bool(used),
            first_word_ms=first_word_ms,
            total_ms=self._elapsed(),
            error=error,
            conditions=admission.conditions,
            kept_ids=() if arrived is None else arrived.kept_ids,
        )
        exchange = None
        if arrived is not None and arrived.has_content:
            exchange = call.exchange(arrived.build(), model.provider, model.id, False)

        async def write() -> None:
            await meter.settle(admission, entry, exchange)
            if call.once is not None:
                await meter.ledger.release(admission.opening.id)

        return self._calls.in_background(write())

    def _unheard(self, model: ModelSpec, seconds: float) -> Usage:
        """Estimates what a model used that was cut off after so many seconds, before anything of it was heard."""
        call = self._call
        return used_unheard(call.turn, model, seconds, call.max_output_tokens, is_stream=call.is_stream)

    def _cut_off(self, model: ModelSpec, asked_at: float | None) -> Usage | None:
        """The same for a model that is being asked; None where none is."""
        return None if asked_at is None else self._unheard(model, time.perf_counter() - asked_at)

    def _heard(self, answer: StreamedAnswer, *, was_at_work: bool) -> Sequence[Used]:
        """What a model used for a reply that broke off: what it said of it, and what arrived beyond that.

        Where it said nothing and nothing arrived, that is an estimate, unless it broke off by itself.
        """
        builder, model = answer.reply, answer.model
        if builder.is_told:
            return [Used(model.provider, model.id, builder.usage, builder.served)]
        if builder.usage is None and not builder.has_content:
            return _used(model, self._cut_off(model, answer.asked_at) if was_at_work else None)
        said = builder.usage or Usage(turn_tokens(self._call.turn))
        arrived = replace(said, output_tokens=max(said.output_tokens, reply_tokens(builder.build())))
        return [Used(model.provider, model.id, arrived, builder.served)]


def _allowed(selection: Selection, caller: Principal) -> Selection:
    if not selection.fallbacks or not caller.allowed_models:
        return selection
    return replace(selection, fallbacks=[model for model in selection.fallbacks if may_use(caller, model)])


def _again(told: Told) -> Iterator[Delta]:
    """Yields an answer as if it had just arrived: what was thought piece by piece, all else at once."""
    reply = told.reply
    if not told.records:
        for one in reply.thinking:
            yield Delta(thinking=one.text, signature=one.signature, redacted=one.redacted)
    yield Delta(
        text=reply.text,
        tool_calls=[
            ToolCallDelta(number, call.id, call.name, call.arguments) for number, call in enumerate(reply.tool_calls)
        ],
        finish_reason=reply.finish_reason,
        usage=reply.usage,
        records=told.records,
        other_choices=list(enumerate(reply.other_choices, start=1)),
        is_refusal=reply.is_refusal,
    )


def used_before(attempts: Sequence[Attempt]) -> Sequence[Used]:
    """What tries used that failed before the answer came: their provider counts it all the same."""
    return [Used(one.model.provider, one.model.id, one.usage) for one in attempts if one.usage is not None]


def has_estimate(attempts: Sequence[Attempt]) -> bool:
    return any(one.is_estimate for one in attempts)


def _used(model: ModelSpec, usage: Usage | None) -> Sequence[Used]:
    return () if usage is None else [Used(model.provider, model.id, usage)]


async def _briefly(task: "asyncio.Task[None]") -> None:
    """Waits for a write for a moment: whoever is told of a failure finds it written, unless that is what fails."""
    await asyncio.wait([task], timeout=BREAK_OFF_SECONDS)
