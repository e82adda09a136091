"""What calls used, cost and took, summed up from the ledger."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from shared.errors import InvalidArgument, NotFound
from shared.identity.principal import Principal

GROUPS = ("key", "user", "model", "provider", "day")
MAX_ROWS = 1_000
"""Most sums of one answer; the dearest of them are those that are told."""
DEFAULT_DAYS, MAX_DAYS = 30, 366
DEFAULT_HOURS, MAX_HOURS = 24, 744
ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Totals:
    """What calls used together; the cost is in USD, without those of which it is not known."""

    group: str = ""
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost: Decimal = ZERO
    unpriced_requests: int = 0


@dataclass(frozen=True, slots=True)
class ProviderTotals:
    """What calls to one provider came to."""

    requests: int = 0
    tokens: int = 0
    cost: Decimal = ZERO
    average_ms: float | None = None
    errors: int = 0
    last_request: dt.datetime | None = None

    @property
    def error_rate(self) -> float:
        """Share of failures, 0 to 1."""
        return self.errors / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """How calls went. Times in milliseconds; None where nothing was measured."""

    requests: int = 0
    errors: int = 0
    average_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    first_word_ms: float | None = None
    tokens_per_second: float | None = None

    @property
    def error_rate(self) -> float:
        """Share of failures, 0 to 1."""
        return self.errors / self.requests if self.requests else 0.0


@dataclass(frozen=True, slots=True)
class Balance:
    """What was spent of a month's budget and is held for calls that go on, in USD."""

    spent: Decimal = ZERO
    reserved: Decimal = ZERO


class UsageStore(Protocol):
    """What is needed of a store; without a user the calls are everybody's. It raises Unavailable when it is away."""

    async def totals(
        self,
        start: dt.datetime,
        end: dt.datetime,
        user_id: uuid.UUID | None,
        api_key_id: uuid.UUID | None,
        group: str,
        limit: int,
    ) -> Sequence[Totals]:
        """Sums up calls of a time by one of GROUPS, or all of them."""

    async def by_provider(self, start: dt.datetime, user_id: uuid.UUID | None) -> Mapping[str, ProviderTotals]:
        """Sums up calls since a time by the provider's id."""

    async def measure(self, start: dt.datetime, user_id: uuid.UUID | None) -> Mapping[str | None, Measured]:
        """Measures calls since a time by the provider's id; all of them under None."""

    async def active(self, user_id: uuid.UUID | None) -> int:
        """Counts calls that go on."""

    async def balances(self, month: dt.date, api_key_id: uuid.UUID | None, user_id: uuid.UUID) -> Mapping[str, Balance]:
        """Returns the balances of a key and a user, under `key` and `user`."""


@dataclass(frozen=True, slots=True)
class Query:
    """A time, and what to sum up by; empty is the default."""

    start: str = ""
    end: str = ""
    group: str = ""
    user_id: str = ""
    api_key_id: str = ""


def month_of(now: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    """Returns when the calendar month (UTC) of a time begins and ends."""
    begin = now.astimezone(dt.UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return begin, (begin + dt.timedelta(days=32)).replace(day=1)


def whose(caller: Principal) -> uuid.UUID | None:
    """Returns the user whose calls a caller sees; None for everybody's."""
    return None if caller.is_admin else uuid.UUID(caller.user_id)


def bounded(field: str, value: int, default: int, most: int) -> int:
    """Returns a number of days or hours, the default for none. Raises InvalidArgument."""
    if not 0 <= value <= most:
        raise InvalidArgument.field(field, f"must be 1 to {most}, not {value}")
    return value or default


async def query(
    store: UsageStore, caller: Principal, asked: Query, now: dt.datetime
) -> tuple[Sequence[Totals], dt.datetime, dt.datetime]:
    """Sums up what was asked for; returns the sums and the time they are of.

    Raises InvalidArgument, or NotFound for another user's calls.
    """
    if asked.group and asked.group not in GROUPS:
        raise InvalidArgument.field("group_by", f"must be one of {', '.join(GROUPS)}, not {asked.group[:64]}")
    start = _time("from", asked.start) if asked.start else month_of(now)[0]
    end = _time("to", asked.end) if asked.end else now
    if start >= end:
        raise InvalidArgument.field("from", "must be before to")
    user_id = _id("user_id", asked.user_id) if asked.user_id else whose(caller)
    if not caller.is_admin and str(user_id) != caller.user_id:
        raise NotFound("there is no such user")
    key_id = _id("api_key_id", asked.api_key_id) if asked.api_key_id else None
    rows = await store.totals(start, end, user_id, key_id, asked.group, MAX_ROWS)
    return rows or ([] if asked.group else [Totals()]), start, end


def _time(field: str, text: str) -> dt.datetime:
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidArgument.field(
            field, "must be a date such as 2026-11-29, or a time with its zone such as 2026-11-29T12:00:00Z"
        ) from error
    if time.tzinfo is None:
        if len(text) > len("2026-11-29"):
            raise InvalidArgument.field(field, "must say its zone, such as Z")
        time = time.replace(tzinfo=dt.UTC)
    try:
        return time.astimezone(dt.UTC)
    except OverflowError as error:
        raise InvalidArgument.field(field, "must be within the years 1 to 9999, in UTC") from error


def _id(field: str, text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise InvalidArgument.field(field, "must be an id") from error
