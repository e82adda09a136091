"""What a generation may cost before it is made, and what it did cost: admission, booking, and the money in between."""

import asyncio
import datetime as dt
import enum
import logging
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol

from services.asset.generators.generator import Charge, Quote
from shared import telemetry
from shared.budgets import Budgets, Limits, Refused, no_price, over_budget
from shared.db.late import LateWrites
from shared.errors import Unavailable
from shared.identity.allowed_models import check_model
from shared.identity.principal import Principal
from shared.rates.tokens import TokenLimit

logger = logging.getLogger(__name__)

OPERATION = "assets.images"
"""What the ledger calls it."""
GRACE_SECONDS = 60.0
"""How long after its time is up a generation may still be booked before it counts as interrupted."""
MAX_LATE = 100
"""Most bookings that wait for a database that is away; those beyond become interrupted calls in the ledger."""
BREAK_OFF_SECONDS = 1.0
"""How long the caller of a generation that failed waits for its booking."""
ADVICE = "ask for a lower quality or a cheaper model"


class State(enum.StrEnum):
    """How a generation ended. Those whose process ended are found by their leases, and booked by chat."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Opening:
    """A generation that is about to be asked for; its asset has the same id.

    `amount` is the most that it can cost, in USD; None where nothing limits its cost.
    """

    id: uuid.UUID
    created_at: dt.datetime
    lease_until: dt.datetime
    user_id: uuid.UUID
    api_key_id: uuid.UUID | None
    request_id: str
    provider: str
    model: str
    amount: Decimal | None
    limits: Limits

    @property
    def month(self) -> dt.date:
        """First day of the calendar month (UTC) whose budgets pay for it."""
        return self.created_at.date().replace(day=1)


@dataclass(frozen=True, slots=True)
class Booking:
    """What a generation came to. Without `charge` nothing was used, or, where it `is_unknown`, nobody knows what."""

    opening: Opening
    state: State
    charge: Charge | None
    total_ms: int
    is_estimate: bool = False
    is_unknown: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class Admission:
    """A generation that may be made, for a caller at an address; its quote's tokens are counted already."""

    opening: Opening
    caller: Principal
    address: str
    quote: Quote


class Ledger(Protocol):
    """What is needed of a store. Every method raises Unavailable when the store does not answer.

    What a method was given is committed when it returns. A booking may be brought again: it is booked once.
    """

    async def open(self, opening: Opening) -> Refused | None:
        """Writes down that a generation is asked for, and holds its amount against its budgets: all, or none."""

    async def book(self, booking: Booking) -> None:
        """Books a generation, and lets go of what was held for it."""


class Spending:
    """Admits generations and books them. `now` tells the time in UTC; `budgets` may be replaced at any time."""

    def __init__(self, ledger: Ledger, tokens: TokenLimit, budgets: Budgets, now: Callable[[], dt.datetime]) -> None:
        self._ledger = ledger
        self._tokens = tokens
        self.budgets = budgets
        self._now = now
        self._running: set[asyncio.Task[None]] = set()
        self._late = LateWrites(MAX_LATE)

    async def admit(self, caller: Principal, provider: str, quote: Quote, seconds: float) -> Admission:
        """Admits a generation that may take so many seconds.

        Raises ModelDenied for a model that the key does not allow, PermissionDenied where a budget must hold a price
        that nobody knows, ResourceExhausted for a rate or a budget, Unavailable without the database.
        """
        check_model(caller, provider, quote.model)
        limits = self.budgets.of(caller)
        if limits.any and quote.most_usd is None:
            raise no_price(quote.model, "ask for a model whose price is published")
        amount = quote.most_usd if limits.any else None
        address = telemetry.client_address.get()
        await self._tokens.admit(caller, address, quote.tokens)
        now = self._now()
        opening = Opening(
            id=uuid.uuid4(),
            created_at=now,
            lease_until=now + dt.timedelta(seconds=seconds + GRACE_SECONDS),
            user_id=uuid.UUID(caller.user_id),
            api_key_id=uuid.UUID(caller.api_key_id) if caller.api_key_id else None,
            request_id=telemetry.request_id.get(),
            provider=provider,
            model=quote.model,
            amount=amount,
            limits=limits,
        )
        if refused := await self._ledger.open(opening):
            assert amount is not None
            raise over_budget(refused, amount, ADVICE)
        return Admission(opening, caller, address, quote)

    def count(self, admission: Admission, charge: Charge | None) -> None:
        """Has the tokens counted that were used beyond those that were admitted, whoever leaves meanwhile."""
        caller, address = admission.caller, admission.address
        if charge is not None and self._tokens.holds(caller, address):
            self._in_background(self._tokens.settle(caller, address, admission.quote.tokens, charge.tokens))

    async def break_off(self, booking: Booking) -> None:
        """Books what did not become an asset; whoever is told of it finds it written, if that takes a moment."""
        await asyncio.wait([self._in_background(self.book(booking))], timeout=BREAK_OFF_SECONDS)

    def leave(self, booking: Booking) -> None:
        """Books what nobody waits for any more."""
        self._in_background(self.book(booking))

    async def book(self, booking: Booking) -> None:
        """Books a generation; without the database, as soon as it is back."""
        try:
            await self._ledger.book(booking)
        except Unavailable:
            self.book_late(booking)

    def book_late(self, booking: Booking) -> None:
        """Books a generation when the database is back."""
        self._late.add(lambda: self._ledger.book(booking))

    async def drain(self) -> None:
        """Returns when all is booked that can be; what waits for the database is left to be booked as interrupted."""
        if self._running:
            await asyncio.wait(self._running)
        await self._late.drain()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("a generation could not be booked or counted", extra={"error": type(error).__name__})
