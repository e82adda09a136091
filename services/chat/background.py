"""Calls that go on at their provider after they were answered: looked after until they are over, and booked then, once.

The database has each of them before its client is told of it. Whoever sees first that it is over books it: its own
stream, a client that asks for it, or the sweep of any process.
"""

import asyncio
import contextlib
import datetime as dt
import logging
import random
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_UP, Decimal
from typing import Any, Protocol, TypeVar

import orjson

from services.chat.ledger import Entry, Exchange, Opening, Place, Settlement, State
from services.chat.metering import Meter, Used
from services.chat.pricing import MAX_DIGITS, Conditions, PriceList, Rates
from services.chat.providers.base import KeepsResponses, Progress
from services.chat.records import Stored, stored_reply
from services.chat.resilience.pool import Pool
from services.chat.tokens import reply_tokens
from services.chat.turn import Reply, Usage
from shared.db.late import LateWrites
from shared.errors import GaiaError, NotFound, Unauthenticated, Unavailable

logger = logging.getLogger(__name__)

MOST_LOOKS = 32
"""Calls that one sweep looks after at the same time."""
MOST_ROUNDS = 20
"""How often it does that before it pauses; with several hundred calls at work it has to be more than once."""
LOOK_SECONDS = 8.0
"""How long a provider may take to say how far a response is."""
HOLD_SECONDS = 15.0
"""For how long whoever looks after a call has it for itself; when its process ends, another one looks after that."""
LONGEST_PAUSE_SECONDS = 60.0
"""Longest pause between two looks. OpenAI keeps the response of an account without data retention for ten minutes."""
MISSES = 5
"""How often in a row a provider says that it does not know a response until it is believed: pauses grow meanwhile, so
that a provider whose address is wrong for a moment loses nothing."""
MARGIN = dt.timedelta(hours=1)
"""How long after its deadline a call whose row is lost counts as interrupted."""
MAX_LATE = 1_000
"""Most calls whose row waits for a database that is away."""
LOST = "BACKGROUND_RESPONSE_LOST"
OVERDUE = "BACKGROUND_RESPONSE_OVERDUE"

_FINEST = Decimal(1).scaleb(-MAX_DIGITS)
_FREE = Decimal(0)
_NOTHING = Reply("")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Terms:
    """What a call is priced by: what of its request changes its price, and what tries used that failed before it.

    `input_tokens` were counted here, for a provider that does not say. `worst` is the most that it can have cost, in
    USD, None where nobody knows. Where `is_estimate`, its price is not published: the common one is more.
    """

    conditions: Conditions = ()
    wasted: Sequence[Used] = ()
    input_tokens: int = 0
    worst: Decimal | None = None
    is_estimate: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    """A call that goes on. `endpoint` is the number of its provider's endpoint that was asked.

    `said` is stored together with the reply, whose content is left out unless `keeps_content`. `looks` were taken so
    far, and in the last `misses` of them the provider knew nothing of it.
    """

    opening: Opening
    response_id: str
    endpoint: int
    deadline: dt.datetime
    terms: Terms
    said: Sequence[Stored] = ()
    keeps_content: bool = True
    looks: int = 0
    misses: int = 0


class RunningCalls(Protocol):
    """What is needed of a store. Every method raises Unavailable when the store does not answer."""

    async def begin(
        self, running: Running, next_look: dt.datetime, lease_until: dt.datetime, answer: bytes | None
    ) -> None:
        """Writes down that a call goes on, that its user was told its id, and the answer for a second request.

        What is held for it is held until it is over. May be called again.
        """

    async def due(self, most: int, hold_seconds: float) -> Sequence[Running]:
        """Returns calls that are to be looked after, each to one caller only for so many seconds."""

    async def find(
        self, user_id: uuid.UUID, response_id: str, providers: Collection[str]
    ) -> tuple[str, Running | None] | None:
        """Returns which of the providers told a user an id, and the call if it goes on; None for an unknown id."""

    async def look_again(self, call_id: uuid.UUID, after: dt.timedelta, misses: int) -> None:
        """Writes down that a call was looked after, and when it is the next time."""

    async def end(self, call_id: uuid.UUID) -> None:
        """Forgets a call that is booked."""


class BackgroundCalls:
    """Looks after them. `first_seconds` is the pause before the first look; each one doubles it.

    A call that is not over after `longest` is ended, and booked at the most that it can have cost.
    """

    def __init__(
        self,
        calls: RunningCalls,
        meter: Meter,
        providers: Mapping[str, Pool],
        *,
        first_seconds: float,
        longest: dt.timedelta,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.calls = calls
        self.meter = meter
        self.providers = providers
        self.first_seconds = first_seconds
        self.longest = longest
        self._chance = chance
        self._late = LateWrites(MAX_LATE)

    async def begin(self, running: Running, answer: bytes | None) -> None:
        """Takes a call over that goes on. Without the database it raises Unavailable, and takes it over later."""
        next_look = self.meter.now() + self._pause(running)

        async def write() -> None:
            await self.calls.begin(running, next_look, running.deadline + MARGIN, answer)

        try:
            await write()
        except Unavailable:
            # The provider goes on with it, whoever was told.
            self._late.add(write)
            raise

    async def soon(self, running: Running) -> None:
        """Has a call looked after soon that nobody waits for any more."""
        await self.calls.look_again(running.opening.id, self._pause(running), 0)

    async def sweep(self) -> int:
        """Looks after the calls that are due; returns how many of them were booked."""
        booked = 0
        for _ in range(MOST_ROUNDS):
            due = await self._due()
            booked += sum(await asyncio.gather(*(self._look(one) for one in due)))
            if len(due) < MOST_LOOKS:
                break
        return booked

    async def ask(self, provider: str, endpoint: int, what: Callable[[KeepsResponses], Awaitable[T]]) -> T:
        """Asks the endpoint of a provider that has a response; where that does not know it, the others.

        Endpoints may have changed their places since. Raises NotFound only where all of them say so.
        """
        pool = self.providers[provider]
        failure: GaiaError = NotFound("no endpoint of the provider keeps responses")
        for one in sorted(pool.endpoints, key=lambda one: one.number != endpoint):
            adapter = one.adapter
            if not isinstance(adapter, KeepsResponses):
                continue
            lease = None
            try:
                lease = pool.lease_at(one, "")
                answer = await what(adapter)
                lease.succeeded()
                return answer
            except GaiaError as error:
                if lease is not None:
                    lease.failed(error)
                if not isinstance(error, NotFound | Unavailable):
                    raise
                # One that did not answer may be the one that knows it.
                if isinstance(failure, NotFound):
                    failure = error
            finally:
                if lease is not None:
                    lease.end()
        raise failure

    async def settle(self, running: Running, progress: Progress) -> None:
        """Books a call that is over, unless somebody did before. Raises Unavailable without the database."""
        reply, opening = progress.reply, running.opening
        usage, is_estimate = reply.usage, running.terms.is_estimate
        if usage is None and not progress.has_failed:
            usage, is_estimate = Usage(running.terms.input_tokens, reply_tokens(reply)), True
        state = State.DONE
        if progress.has_failed or progress.was_cancelled:
            state = State.FAILED if progress.has_failed else State.CANCELLED
        used = list(running.terms.wasted)
        if usage is not None:
            used.append(Used(opening.provider, opening.model, usage, reply.served))
        user_id, kept_ids = opening.user_id, reply.kept_ids
        if not await self.meter.ledger.told_to(user_id, opening.provider, (running.response_id,)):
            # All that is kept of the user was erased meanwhile.
            kept_ids = ()
        entry = self.meter.entry(
            opening,
            state,
            used,
            provider=opening.provider,
            model=opening.model,
            is_estimate=is_estimate,
            total_ms=progress.total_ms,
            error=progress.error[:64],
            conditions=running.terms.conditions,
            kept_ids=kept_ids,
        )
        await self._book(running, entry, self._exchange(running, progress, state))

    async def drain(self) -> None:
        """Gives up what still waits for the database; the ledger has it as interrupted then."""
        await self._late.drain()

    async def _due(self) -> Sequence[Running]:
        asking = asyncio.ensure_future(self.calls.due(MOST_LOOKS, HOLD_SECONDS))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            with contextlib.suppress(Unavailable):
                for one in await asking:
                    await self._leave(one)
            raise

    async def _leave(self, running: Running) -> None:
        """Leaves a call to another process: nobody has to wait for the end of the hold of one that ends in order."""
        with contextlib.suppress(Unavailable):
            await self.calls.look_again(running.opening.id, dt.timedelta(), running.misses)

    async def _look(self, running: Running) -> bool:
        """Looks after a call; returns whether it is booked now. Whatever fails is tried again at the next look."""
        misses = 0
        try:
            progress = await self._progress(running)
            if progress is not None and progress.is_over:
                await self.settle(running, progress)
                return True
            if progress is None:
                misses = running.misses + 1
            if misses >= MISSES or self._is_overdue(running):
                await self._give_up(running, OVERDUE if misses < MISSES else LOST)
                return True
            await self.calls.look_again(running.opening.id, self._pause(running), misses)
        except asyncio.CancelledError:
            await self._leave(running)
            raise
        except Exception as error:
            # One call must not keep the others from being looked after. This one is due again when its hold is over.
            known = isinstance(error, Unavailable)
            logger.log(
                logging.INFO if known else logging.ERROR,
                "a call in the background was not looked after",
                exc_info=None if known else error,
                extra={"call_id": str(running.opening.id), "cause": type(error).__name__},
            )
        return False

    async def _progress(self, running: Running) -> Progress | None:
        """Returns how far a call is, None where its provider knows nothing of it; ends one that is overdue."""
        provider, response_id, is_overdue = running.opening.provider, running.response_id, self._is_overdue(running)
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                return await self.ask(
                    provider,
                    running.endpoint,
                    lambda adapter: adapter.cancel(response_id) if is_overdue else adapter.retrieve(response_id),
                )
        except NotFound:
            return None
        except (GaiaError, TimeoutError) as error:
            about = {"provider": provider, "cause": type(error).__name__}
            logger.info("a provider did not say how far a response is", extra=about)
            return Progress(_NOTHING, is_over=False)

    async def _give_up(self, running: Running, error: str) -> None:
        """Books a call of which nobody will say any more what it used: at the most that it can have cost."""
        opening, worst = running.opening, running.terms.worst
        entry = self.meter.entry(
            opening, State.FAILED, running.terms.wasted, provider=opening.provider, model=opening.model, error=error
        )
        if worst is not None and -int(worst.normalize().as_tuple().exponent) > MAX_DIGITS:
            worst = worst.quantize(_FINEST, ROUND_UP)
        prices = None if worst is None else PriceList(Rates(_FREE, _FREE), request=worst, source="reserved")
        part: dict[str, Any] = {
            "provider": opening.provider,
            "model": opening.model,
            "usage": {},
            "prices": None if prices is None else orjson.Fragment(prices.to_json()),
        }
        cost = None if worst is None or entry.cost is None else entry.cost + worst
        booked = replace(entry, cost=cost, pricing=[*(entry.pricing or ()), part], is_estimate=True)
        await self._book(running, booked, Exchange(Place.STATELESS, running.said) if running.said else None)

    async def _book(self, running: Running, entry: Entry, exchange: Exchange | None) -> None:
        try:
            await self.meter.ledger.settle(Settlement(running.opening, entry, exchange))
        except Unauthenticated:
            # The user was erased meanwhile; it is booked all the same.
            logger.info("a call in the background was booked for a user who is gone")
        await self.calls.end(running.opening.id)

    def _exchange(self, running: Running, progress: Progress, state: State) -> Exchange:
        opening = running.opening
        reply = stored_reply(
            progress.reply,
            opening.provider,
            opening.model,
            is_complete=state is State.DONE,
            keep_content=running.keeps_content,
        )
        has_reply = state is State.DONE or progress.reply.text or progress.reply.tool_calls
        return Exchange(Place.STATELESS, (*running.said, reply) if has_reply else running.said)

    def _is_overdue(self, running: Running) -> bool:
        return self.meter.now() >= running.deadline

    def _pause(self, running: Running) -> dt.timedelta:
        """Returns the time until the next look, of which no two calls have the same."""
        pause = min(self.first_seconds * 2.0 ** min(running.looks, 20), LONGEST_PAUSE_SECONDS)
        return dt.timedelta(seconds=pause * (0.75 + self._chance() / 2))
