"""The ledger: what each call to a model used and cost, with the money that is held for it while it runs."""

import datetime as dt
import enum
import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from os import urandom
from typing import Any, Protocol

from services.chat.records import Stored
from services.chat.turn import Usage
from shared.budgets import Limits, Refused
from shared.idempotency import Kept


class State(enum.StrEnum):
    """How a call ended."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    """Its process ended in the middle of it: what it used is not known."""
    CACHED = "cached"
    """No provider was asked: the reply was kept from an earlier call."""


@dataclass(frozen=True, slots=True)
class Opening:
    """A call that is about to be dispatched.

    `amount` is the most that it can cost, in USD; None where nothing limits its cost. `lease_until` is when it counts
    as interrupted if nothing was heard of it.
    """

    id: uuid.UUID
    created_at: dt.datetime
    lease_until: dt.datetime
    user_id: uuid.UUID
    api_key_id: uuid.UUID | None
    request_id: str
    operation: str
    provider: str
    model: str
    is_stream: bool
    amount: Decimal | None = None
    limits: Limits = field(default_factory=Limits)

    @property
    def month(self) -> dt.date:
        """First day of the calendar month (UTC) whose budgets pay for it."""
        return self.created_at.date().replace(day=1)


class Place(enum.StrEnum):
    """Which conversation an exchange goes to."""

    DEFAULT = "default"
    """The user's default conversation, which is made when need be."""
    KNOWN = "known"
    """One that the user has."""
    NEW = "native"
    """A new one."""
    STATELESS = "completion"
    """A new one that no list shows, for a call that brings its whole conversation along."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What is kept of a call's conversation. `conversation_id` goes with KNOWN."""

    place: Place
    messages: Sequence[Stored]
    conversation_id: uuid.UUID | None = None

    def conversation_of(self, call_id: uuid.UUID) -> uuid.UUID | None:
        """Returns the conversation it goes to, None for a default one that may not exist yet.

        A new conversation has the id of the call that begins it.
        """
        return call_id if self.place in (Place.NEW, Place.STATELESS) else self.conversation_id


@dataclass(frozen=True, slots=True)
class Entry:
    """What a call came to.

    Without `usage` nothing was used, or it is not known. `cost` is in USD, None where the price or the use is not
    known; `pricing` is what it was computed from, as JSON. Times are in milliseconds. `kept_ids` name what the provider
    keeps, which is this user's from now on.
    """

    state: State
    provider: str
    model: str
    usage: Usage | None
    cost: Decimal | None
    is_estimate: bool = False
    pricing: Any = None
    first_word_ms: int | None = None
    total_ms: int | None = None
    error: str = ""
    kept_ids: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Settlement:
    """The end of a call: it goes to the ledger together with its conversation and the answer for a second request."""

    opening: Opening
    entry: Entry
    exchange: Exchange | None = None
    answer: bytes | None = None


class Ledger(Protocol):
    """What is needed of a store. Every method raises Unavailable when the store does not answer.

    What a method was given is committed when it returns. A settlement may be brought again: it is booked once.
    """

    async def open(self, opening: Opening) -> Refused | None:
        """Writes down that a call is dispatched, and holds its amount against its budgets: all of them, or none."""

    async def hold_more(self, opening: Opening, amount: Decimal) -> bool:
        """Holds more for a call that was opened with an amount, against all of its budgets; returns whether it could.

        A call that is booked already, as interrupted, is held nothing for.
        """

    async def settle(self, settlement: Settlement) -> uuid.UUID | None:
        """Books a call, and lets go of what was held for it. Returns the id of its conversation.

        None where there is no exchange, or its conversation is not there any more: then no message was stored. Raises
        Unauthenticated when the user is not there any more; the call is booked all the same.
        """

    async def told_to(self, user_id: uuid.UUID, provider: str, kept_ids: Collection[str]) -> Collection[str]:
        """Returns which of these ids of what a provider keeps were told to a user."""

    async def claim(
        self, user_id: uuid.UUID, key: str, fingerprint: bytes, call_id: uuid.UUID, lease_until: dt.datetime
    ) -> Kept | None:
        """Claims an idempotency key for a call, or returns what is kept of an earlier one."""

    async def release(self, call_id: uuid.UUID) -> None:
        """Gives the idempotency key of a call back, since no answer is kept for it."""


def new_call_id() -> uuid.UUID:
    """Makes the id of a call: a UUID of version 7 (RFC 9562, 5.7), so that calls lie in the ledger by their time."""
    moment = time.time_ns() // 1_000_000
    value = (moment & (1 << 48) - 1) << 80 | 0x7 << 76 | int.from_bytes(urandom(10), "big") & ((1 << 76) - 1)
    return uuid.UUID(int=value & ~(0x3 << 62) | 0x2 << 62)
