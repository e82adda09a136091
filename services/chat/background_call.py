"""Calls whose provider is asked to go on in the background. They are not broken off when their caller leaves.

The answer to such a call says under which id the provider goes on. It is told once it stands in the database, from
where the call is looked after until it is over; see `services.chat.background`.
"""

import asyncio
import functools
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

from services.chat import snapshot
from services.chat.background import Running, Terms
from services.chat.calls import BegunCall, has_estimate, used_before
from services.chat.catalogue import ModelSpec
from services.chat.ledger import State
from services.chat.metering import Admission, Used
from services.chat.resilience.course import Attempt
from services.chat.responding import Fallback, StreamedAnswer
from services.chat.snapshot import Told
from services.chat.tokens import turn_tokens
from services.chat.turn import Delta, Reply, ReplyBuilder, UnfinishedReply
from shared.errors import GaiaError

LEFT_SECONDS = 20.0
"""How long a provider may take to say that it goes on, once nobody waits for that any more."""
SOONEST = "soonest"
"""When OpenAI is done with a response, unless its request says otherwise; what later ones cost is not published."""

T = TypeVar("T")


class BackgroundCall(BegunCall):
    """A call that may go on in the background. One that its provider answers at once is like any other."""

    _running: Running | None = None
    _beginning: "asyncio.Task[Any] | None" = None
    _events: AsyncGenerator[Delta | Fallback] | None = None

    async def complete(self) -> Told:
        """Returns the answer, once it is stored that the call goes on. Raises the provider's error."""
        if self.told is not None:
            return self.told
        return await self._in_any_case(super().complete())

    async def _arriving(self, answer: StreamedAnswer) -> AsyncGenerator[Delta | Fallback]:
        """Yields the answer, once it is stored that the call goes on."""
        events = self._events = answer.events()
        seen: list[Delta | Fallback] = []

        async def begin() -> None:
            async for event in events:
                seen.append(event)
                if isinstance(event, Delta) and event.kept_ids:
                    await self._stream_begun(answer, event.kept_ids[0], seen)
                    return

        await self._in_any_case(begin())
        async with aclosing(events):
            for event in seen:
                yield event
            async for event in events:
                yield event

    async def _in_any_case(self, work: Coroutine[Any, Any, T]) -> T:
        """Waits for what goes on when the caller leaves: the provider may have begun, and would not stop."""

        async def run() -> T | GaiaError:
            try:
                return await work
            except GaiaError as failure:
                return failure

        task = self._calls.in_background(run())
        self._beginning = task
        try:
            outcome = await asyncio.shield(task)
        except asyncio.CancelledError:
            asyncio.get_running_loop().call_later(LEFT_SECONDS, task.cancel)
            raise
        if isinstance(outcome, GaiaError):
            raise outcome
        return outcome

    async def _stream_begun(self, answer: StreamedAnswer, response_id: str, seen: Sequence[Delta | Fallback]) -> None:
        admission = self._admitted
        records = b"".join(event.records for event in seen if isinstance(event, Delta))
        told = self._told(admission, answer.reply.build(), answer.model, records)
        await self._hand_over(admission, told, response_id, answer.endpoint, answer.model, answer.attempts)

    def _told(self, admission: Admission, reply: Reply, model: ModelSpec, records: bytes) -> Told:
        return Told(
            call_id=admission.opening.id,
            created_at=admission.opening.created_at,
            reply=reply,
            provider=model.provider,
            model=model.id,
            fallback_used=False,
            total_ms=round(self._elapsed()),
            conversation_id=admission.opening.id,
            records=records,
        )

    async def _hand_over(
        self,
        admission: Admission,
        told: Told,
        response_id: str,
        endpoint: int,
        model: ModelSpec,
        failed: Sequence[Attempt],
    ) -> None:
        call, meter, background = self._call, self._calls.meter, self._calls.background
        assert background is not None
        assert call.turn.original is not None
        options = call.turn.original.body.get("background_options") or {}
        worst = admission.opening.amount
        running = Running(
            admission.opening,
            response_id,
            endpoint,
            meter.now() + background.longest,
            Terms(
                conditions=admission.conditions,
                wasted=used_before(failed),
                input_tokens=turn_tokens(call.turn),
                worst=meter.most(call.turn, model, call.max_output_tokens) if worst is None else worst,
                is_estimate=(options.get("completion_window") or SOONEST) != SOONEST or has_estimate(failed),
            ),
            call.said,
            call.keeps_content,
        )
        # From here on nothing else books it, whether the database takes it now or later.
        self._running = running
        answer = snapshot.encode(told) if call.once is not None else None
        await background.begin(running, answer)

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
        if isinstance(reply, UnfinishedReply):
            told = self._told(admission, reply, model, b"")
            await self._hand_over(admission, told, reply.response_id, reply.endpoint, model, failed)
        else:
            told = await super()._finish(
                admission, reply, model, failed, fallback_used, first_word_ms, records, last_record
            )
            if self._running is not None:
                assert self._calls.background is not None
                self._calls.in_background(self._calls.background.calls.end(admission.opening.id))
                # Where somebody else saw before that it is over, the conversation is stored already.
                told = replace(told, conversation_id=admission.opening.id)
        self.told = told
        return told

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
        """Has a call looked after that goes on; books one that does not."""
        book = functools.partial(
            super()._break_off, admission, state, error, first_word_ms, used, model, arrived, is_estimate=is_estimate
        )
        beginning = self._beginning
        if beginning is None or beginning is asyncio.current_task():
            return book()

        async def end() -> None:
            # Nobody knows before whether it goes on.
            await asyncio.wait([beginning])
            if self._events is not None:
                await self._events.aclose()
            if self._running is None:
                await book()
            elif (background := self._calls.background) is not None:
                await background.soon(self._running)

        return self._calls.in_background(end())
