"""Every call for what is no conversation: admitted, made, booked. What was made before is told again."""

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from services.chat.calls import BREAK_OFF_SECONDS, Calls
from services.chat.catalogue import Catalogue, ModelSpec
from services.chat.completing import Asking
from services.chat.ledger import State, new_call_id
from services.chat.media.asked import Asked
from services.chat.media.events import Overheard
from services.chat.media.kept import Keeping, decode
from services.chat.media.making import Makers
from services.chat.metering import Admission, Used, check_model
from services.chat.providers import errors
from services.chat.turn import Usage
from shared.errors import GaiaError
from shared.idempotency import Kept, answer_of

ADVICE = "asking for less makes that less"

Piece = tuple[str, bytes]
"""Type of a response, and some of its body."""


class MediaCalls:
    """Makes calls. Nothing is kept of them but what they used, and the response where it may be asked for again."""

    def __init__(self, catalogue: Catalogue, calls: Calls) -> None:
        self._catalogue = catalogue
        self._calls = calls
        self._makers = Makers(calls.responder)

    async def answer(self, asked: Asked, who: Asking) -> AsyncGenerator[Piece]:
        """Yields the response. Its last piece comes when the call is booked.

        Raises NotFound or InvalidArgument for the model, AlreadyExists for an idempotency key that is in use or belongs
        to another request, what `Meter.admit_measured` raises, and the provider's error.
        """
        deadline = asyncio.get_running_loop().time() + who.seconds
        model = self._catalogue.maker(asked.kind.value, asked.model)
        check_model(who.caller, model)
        begun = await self._begin(asked, who, model)
        if isinstance(begun, bytes):
            yield decode(begun)
            return
        meter = self._calls.meter
        asked = asked.telling(meter.prices.at(model.provider, model.id, meter.now()))
        call = _Call(self._calls, begun, asked, model, is_kept=who.once is not None)
        pieces = self._streamed(call, deadline) if asked.is_stream else self._whole(call, deadline)
        async with aclosing(pieces) as made:
            async for piece in made:
                yield piece

    async def _begin(self, asked: Asked, who: Asking, model: ModelSpec) -> Admission | bytes:
        """Returns that the call may be made, or what was kept of the same one before."""
        meter = self._calls.meter
        call_id = new_call_id()
        kept: Kept | None = None
        try:
            if who.once is not None:
                user_id = uuid.UUID(who.caller.user_id)
                lease = meter.lease(meter.now(), who.seconds)
                kept = await meter.ledger.claim(user_id, who.once.key, who.once.fingerprint, call_id, lease)
                if kept is not None:
                    return answer_of(kept, who.once.fingerprint)
            return await meter.admit_measured(
                call_id=call_id,
                caller=who.caller,
                request_id=who.request_id,
                operation=asked.kind.operation,
                model=model,
                worst=lambda now: asked.most(model, meter.prices_of(model, now)),
                tokens=lambda: asked.tokens,
                is_stream=asked.is_stream,
                seconds=who.seconds,
                advice=ADVICE,
            )
        except BaseException:
            # Whoever is cancelled does not hear whether the key was claimed.
            if who.once is not None and kept is None:
                self._calls.in_background(meter.ledger.release(call_id))
            raise

    async def _whole(self, call: "_Call", deadline: float) -> AsyncGenerator[Piece]:
        try:
            made = await self._makers.fetch(call.asked, call.model, deadline)
        except GaiaError as failure:
            # What was cut off at its work is counted all the same.
            await call.failed(failure, [call.asked.least] if errors.was_at_work(failure) else ())
            raise
        except BaseException:
            call.cancelled(call.asked.least)
            raise
        call.keeping.add(made.body)
        await call.done(made.usage, made.content_type)
        yield made.content_type, made.body

    async def _streamed(self, call: "_Call", deadline: float) -> AsyncGenerator[Piece]:
        asked, model = call.asked, call.model
        overheard = Overheard(asked, model.provider)
        given, held = "", b""
        state = State.CANCELLED
        try:
            async with aclosing(self._makers.stream(asked, model, deadline)) as pieces:
                async for content_type, chunk in pieces:
                    call.arrived()
                    given = asked.given(content_type)
                    piece = overheard.feed(content_type, chunk)
                    if not piece:
                        continue
                    call.keeping.add(piece)
                    if held:
                        yield given, held
                    held = piece
            rest = overheard.end()
            call.keeping.add(rest)
            held += rest
            state = State.DONE
        except GaiaError as failure:
            state = State.FAILED
            used = overheard.usage or asked.least
            await call.failed(failure, [used] if held or errors.was_at_work(failure) else ())
            raise
        finally:
            if state is State.CANCELLED:
                call.cancelled(overheard.usage or asked.least)
        await call.done(overheard.usage, given)
        # The end of a response says that it is whole, which it is once it is booked.
        yield given, held


class _Call:
    """A call that was admitted: made once, booked once."""

    def __init__(self, calls: Calls, admission: Admission, asked: Asked, model: ModelSpec, *, is_kept: bool) -> None:
        self.asked = asked
        self.model = model
        self.keeping = Keeping(is_wanted=is_kept)
        self._calls = calls
        self._admission = admission
        self._is_kept = is_kept
        self._began = time.perf_counter()
        self._first_ms: float | None = None

    def arrived(self) -> None:
        """Notes that something of the response is here."""
        if self._first_ms is None:
            self._first_ms = self._elapsed()

    async def done(self, said: Usage | None, content_type: str) -> None:
        """Books a call whose response is whole. Raises Unavailable without the database."""
        meter = self._calls.meter
        entry = meter.entry(
            self._admission.opening,
            State.DONE,
            [self._used(said or self.asked.least)],
            provider=self.model.provider,
            model=self.model.id,
            is_estimate=said is None,
            first_word_ms=self._first_ms,
            total_ms=self._elapsed(),
        )
        await meter.settle(self._admission, entry, None, self.keeping.encode(content_type))

    async def failed(self, failure: GaiaError, used: Sequence[Usage | None]) -> None:
        """Books a call that its provider failed; whoever is told of it finds it written, if that takes a moment."""
        task = self._break_off(State.FAILED, used, failure.reason or failure.code)
        await asyncio.wait([task], timeout=BREAK_OFF_SECONDS)

    def cancelled(self, used: Usage | None) -> None:
        """Books a call whose caller left."""
        self._break_off(State.CANCELLED, [used], "")

    def _break_off(self, state: State, used: Sequence[Usage | None], error: str) -> "asyncio.Task[None]":
        meter = self._calls.meter
        entry = meter.entry(
            self._admission.opening,
            state,
            [self._used(one) for one in used],
            provider=self.model.provider,
            model=self.model.id,
            is_estimate=bool(used),
            first_word_ms=self._first_ms,
            total_ms=self._elapsed(),
            error=error,
        )

        async def write() -> None:
            await meter.settle(self._admission, entry)
            if self._is_kept:
                await meter.ledger.release(self._admission.opening.id)

        return self._calls.in_background(write())

    def _used(self, usage: Usage | None) -> Used:
        return Used(self.model.provider, self.model.id, usage)

    def _elapsed(self) -> float:
        return (time.perf_counter() - self._began) * 1000
