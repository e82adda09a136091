"""Does the ledger add up? Tokens and costs from the use and the prices kept beside them, balances from the costs."""

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import orjson

from services.chat.pricing import PriceList
from services.chat.turn import Usage

Owner = tuple[str, uuid.UUID, dt.date]
"""Kind (`key`, `user`, `platform`), id, and month of a balance."""
PLATFORM = uuid.UUID(int=0)
MAX_LISTED = 1_000
"""Most differences of a kind that are listed; all are counted."""


@dataclass(frozen=True, slots=True)
class Booked:
    """A row of the ledger, as far as it is added up. Amounts in USD."""

    id: uuid.UUID
    created_at: dt.datetime
    user_id: uuid.UUID
    api_key_id: uuid.UUID | None
    state: str
    cost: Decimal | None
    pricing: Any
    input_tokens: int | None = None
    output_tokens: int | None = None

    @property
    def owners(self) -> Iterable[Owner]:
        """The balances that paid for it."""
        month = self.created_at.astimezone(dt.UTC).date().replace(day=1)
        yield "user", self.user_id, month
        yield "platform", PLATFORM, month
        if self.api_key_id is not None:
            yield "key", self.api_key_id, month


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that is booked otherwise than it comes to: amounts in USD, None for not known, or tokens."""

    what: str
    booked: Decimal | None
    computed: Decimal | None


@dataclass(slots=True)
class Report:
    """What was found. `costs` and `balances` hold the first MAX_LISTED differences of `different`."""

    calls: int = 0
    cost: Decimal = Decimal(0)
    unpriced: int = 0
    estimated: int = 0
    interrupted: int = 0
    different: int = 0
    costs: list[Difference] = field(default_factory=list)
    balances: list[Difference] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether everything adds up."""
        return not self.different


class Reconciler:
    """Takes the rows of whole months one by one, and then their balances."""

    def __init__(self) -> None:
        self.report = Report()
        self._spent: dict[Owner, Decimal] = {}

    def add(self, row: Booked, *, is_estimate: bool) -> None:
        """Takes a row of the ledger."""
        report = self.report
        report.calls += 1
        report.estimated += is_estimate
        report.interrupted += row.state == "interrupted"
        if row.cost is None:
            report.unpriced += 1
        else:
            report.cost += row.cost
            for owner in row.owners:
                self._spent[owner] = self._spent.get(owner, Decimal(0)) + row.cost
        computed = cost_of(row)
        if computed != row.cost:
            self._differ(report.costs, f"call {row.id}", row.cost, computed)
        for kind, booked in (("input", row.input_tokens), ("output", row.output_tokens)):
            used = sum(one["usage"].get(f"{kind}_tokens", 0) for one in row.pricing or ())
            if used != (booked or 0):
                self._differ(report.costs, f"{kind} tokens of call {row.id}", Decimal(booked or 0), Decimal(used))

    def close(self, balances: Mapping[Owner, tuple[Decimal, Decimal]], reserved: Mapping[Owner, Decimal]) -> Report:
        """Takes what the balances say was spent and reserved, and what the open reservations hold."""
        for owner in sorted(balances.keys() | self._spent.keys() | reserved.keys(), key=str):
            kind, owner_id, month = owner
            name = f"{kind} {owner_id} in {month:%Y-%m}" if kind != "platform" else f"the platform in {month:%Y-%m}"
            spent, held = balances.get(owner, (Decimal(0), Decimal(0)))
            if spent != (computed := self._spent.get(owner, Decimal(0))):
                self._differ(self.report.balances, f"spent by {name}", spent, computed)
            if held != (open_now := reserved.get(owner, Decimal(0))):
                self._differ(self.report.balances, f"reserved for {name}", held, open_now)
        return self.report

    def _differ(self, into: list[Difference], what: str, booked: Decimal | None, computed: Decimal | None) -> None:
        self.report.different += 1
        if len(into) < MAX_LISTED:
            into.append(Difference(what, booked, computed))


def cost_of(row: Booked) -> Decimal | None:
    """Computes a row's cost from what is kept beside it; None where it is not known."""
    if row.state == "interrupted":
        return None
    total = Decimal(0)
    for one in row.pricing or ():
        if one["prices"] is None:
            return None
        total += PriceList.from_json(orjson.dumps(one["prices"]).decode()).cost(Usage(**one["usage"]))
    return total
