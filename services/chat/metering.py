"""What a call may cost before it is made, and what it did cost: admission, settlement, and the money in between."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import orjson

from services.chat.catalogue import ModelSpec
from services.chat.ledger import Entry, Exchange, Ledger, Opening, Settlement, State
from services.chat.pricing import Conditions, PriceBook, PriceList
from services.chat.tiers import asked_tier, served_tier
from services.chat.tokens import most_per_picture, most_predicted, most_tokens, turn_tokens
from services.chat.turn import Served, Turn, Usage
from services.chat.unseen import SEARCHING, has_unseen_input, tools_of_the_provider
from shared import telemetry
from shared.budgets import Budgets, Limits, no_price, over_budget
from shared.db.late import LateWrites
from shared.errors import GaiaError, InvalidArgument, Unavailable, Violation
from shared.identity import allowed_models
from shared.identity.principal import Principal
from shared.rates.tokens import TokenLimit

MAX_LATE = 1_000
"""Most settlements that wait for a database that is away; those beyond become interrupted calls in the ledger."""
MAX_LATE_SIZE = 64 * 1024
"""Most characters and bytes, of a conversation and its answer for a repeated request, that wait with a settlement: all
that wait have some 64 million of them at the most."""

NOTHING = Decimal(0)
NO_LIMITS = Limits()
_TEXT = Usage(1, 1)
_ONE_SEARCH = Usage(web_searches=1)


@dataclass(frozen=True, slots=True)
class Used:
    """What a model used for a call, whole or not; None where that is not known.

    `served` is how the provider says that it served the call; see `services.chat.tiers`.
    """

    provider: str
    model: str
    usage: Usage | None
    served: Served = ()


@dataclass(frozen=True, slots=True)
class Admission:
    """A call that may be made. `estimate` is how many tokens were counted against the rates of its key and `address`.

    `conditions` are what of its request changes its price.
    """

    opening: Opening
    caller: Principal
    estimate: int
    conditions: Conditions = ()
    address: str = ""


class Meter:
    """Admits calls and books them.

    `now` tells the time in UTC; `grace` is how many seconds after its deadline a call may still be settling before it
    counts as interrupted.
    """

    def __init__(
        self,
        ledger: Ledger,
        prices: PriceBook,
        tokens: TokenLimit,
        budgets: Budgets,
        now: Callable[[], dt.datetime],
        grace: float,
    ) -> None:
        self._grace = grace
        self.ledger = ledger
        self.prices = prices
        self.budgets = budgets
        self.now = now
        self._tokens = tokens
        self._late = LateWrites(MAX_LATE)

    async def admit(
        self,
        *,
        call_id: uuid.UUID,
        caller: Principal,
        request_id: str,
        operation: str,
        turn: Turn,
        candidates: Sequence[ModelSpec],
        max_output_tokens: int | None,
        is_stream: bool,
        seconds: float,
        is_counted: bool = False,
    ) -> Admission:
        """Admits a call that any of the candidates may answer, within so many seconds.

        `is_counted` says that its tokens stand in the rates already, of an admission that its budgets refused.
        Raises PermissionDenied for a model that the key may not use, ResourceExhausted for a rate or a budget,
        InvalidArgument where the cost has no known bound but a budget must hold it, Unavailable without the database.
        """
        return await self.admit_measured(
            call_id=call_id,
            caller=caller,
            request_id=request_id,
            operation=operation,
            model=candidates[0],
            worst=lambda now: self._worst(turn, candidates, max_output_tokens, now),
            tokens=lambda: turn_tokens(turn),
            is_stream=is_stream,
            seconds=seconds,
            advice="a lower max_tokens makes that less",
            conditions=asked_tier(turn),
            is_counted=is_counted,
        )

    async def admit_measured(
        self,
        *,
        call_id: uuid.UUID,
        caller: Principal,
        request_id: str,
        operation: str,
        model: ModelSpec,
        worst: Callable[[dt.datetime], Decimal],
        tokens: Callable[[], int],
        is_stream: bool,
        seconds: float,
        advice: str,
        conditions: Conditions = (),
        is_counted: bool = False,
    ) -> Admission:
        """Admits a call of which the caller knows the most that it can cost, and about how many tokens it takes.

        Both are asked for only where something limits them; `worst` by the prices of the time that it is given, by
        which the call will be booked. What costs nothing is held to no budget. `advice` says what would make the cost
        less. Raises what `admit` raises, and what `worst` does.
        """
        check_model(caller, model)
        limits, now = self.budgets.of(caller), self.now()
        amount = worst(now) or None if limits.any else None
        estimate, address = 0, telemetry.client_address.get()
        if self._tokens.holds(caller, address):
            estimate = tokens()
            if not is_counted:
                await self._tokens.admit(caller, address, estimate)
        opening = self.opening(
            call_id=call_id,
            caller=caller,
            request_id=request_id,
            operation=operation,
            provider=model.provider,
            model=model.id,
            is_stream=is_stream,
            seconds=seconds,
            amount=amount,
            limits=limits,
            now=now,
        )
        try:
            refused = await self.ledger.open(opening)
        except asyncio.CancelledError:
            # It may be open all the same, and nobody is there to close it.
            left = self.entry(opening, State.CANCELLED, (), provider=model.provider, model=model.id)
            self._settle_late(Settlement(opening, left))
            raise
        if refused:
            assert amount is not None
            raise over_budget(refused, amount, advice)
        return Admission(opening, caller, estimate, conditions, address)

    def may_choose(self, caller: Principal, model: ModelSpec) -> bool:
        """Whether a model that the caller did not name would be admitted: by the key, and with a price for a budget."""
        if not may_use(caller, model):
            return False
        return not self.budgets.of(caller).any or self.prices.at(model.provider, model.id, self.now()) is not None

    async def hold_more(self, admission: Admission, used: Used) -> bool:
        """Holds what a try of a call cost that failed, so that another one may cost as much as the first might have.

        Returns False where a budget does not have that, nobody knows how much it is, or the database is away: then no
        other try can be paid for.
        """
        opening = admission.opening
        if opening.amount is None or used.usage is None:
            return True
        prices = self.prices.at(used.provider, used.model, opening.created_at, admission.conditions)
        if prices is None or not prices.knows(used.usage):
            return False
        try:
            return await self.ledger.hold_more(opening, prices.cost(used.usage))
        except Unavailable:
            return False

    def lease(self, now: dt.datetime, seconds: float) -> dt.datetime:
        """Returns when a call that begins now and may take so many seconds counts as interrupted."""
        return now + dt.timedelta(seconds=seconds + self._grace)

    def opening(
        self,
        *,
        call_id: uuid.UUID,
        caller: Principal,
        request_id: str,
        operation: str,
        provider: str,
        model: str,
        is_stream: bool,
        seconds: float,
        amount: Decimal | None = None,
        limits: Limits = NO_LIMITS,
        now: dt.datetime | None = None,
    ) -> Opening:
        """Returns a call that begins now and may take so many seconds."""
        now = now or self.now()
        return Opening(
            id=call_id,
            created_at=now,
            lease_until=self.lease(now, seconds),
            user_id=uuid.UUID(caller.user_id),
            api_key_id=uuid.UUID(caller.api_key_id) if caller.api_key_id else None,
            request_id=request_id,
            operation=operation,
            provider=provider,
            model=model,
            is_stream=is_stream,
            amount=amount,
            limits=limits,
        )

    async def settle(
        self,
        admission: Admission,
        entry: Entry,
        exchange: Exchange | None = None,
        answer: bytes | None = None,
    ) -> uuid.UUID | None:
        """Books a call and returns the id of its conversation; see `Ledger.settle`.

        Without the database it raises Unavailable, and the call is booked when the database is back; without its
        conversation, since nobody was told of it, unless its answer is kept for whoever asks again. So is one whose
        caller left meanwhile, and does not hear how its booking ended.
        """
        usage = entry.usage
        settlement = Settlement(admission.opening, entry, exchange, answer)
        try:
            # Where the provider counts something else than tokens, the estimate stands.
            if usage is not None and not (usage.characters or usage.audio_ms):
                await self._tokens.settle(admission.caller, admission.address, admission.estimate, usage.total_tokens)
            return await self.ledger.settle(settlement)
        except (Unavailable, asyncio.CancelledError):
            self._settle_late(_to_wait(settlement))
            raise

    def entry(
        self,
        opening: Opening,
        state: State,
        used: Sequence[Used],
        *,
        provider: str,
        model: str,
        is_estimate: bool = False,
        first_word_ms: float | None = None,
        total_ms: float | None = None,
        error: str = "",
        conditions: Conditions = (),
        kept_ids: Sequence[str] = (),
    ) -> Entry:
        """Prices what was used, by the prices at the time at which the call began and the way in which it was served.

        `conditions` are what was asked for, which holds where the provider does not say how it served a call.
        """
        cost: Decimal | None = NOTHING
        pricing = []
        for one in used:
            way = served_tier(conditions, one.served)
            prices = self.prices.at(one.provider, one.model, opening.created_at, way)
            if prices is None or one.usage is None or not prices.knows(one.usage):
                prices = cost = None
            elif cost is not None:
                cost += prices.cost(one.usage)
            pricing.append(
                {
                    "provider": one.provider,
                    "model": one.model,
                    "usage": {} if one.usage is None else one.usage.stated(),
                    "prices": None if prices is None else orjson.Fragment(prices.to_json()),
                }
            )
        return Entry(
            state=state,
            provider=provider,
            model=model,
            usage=_sum(one.usage for one in used if one.usage is not None),
            cost=cost,
            is_estimate=is_estimate,
            pricing=pricing or None,
            first_word_ms=None if first_word_ms is None else round(first_word_ms),
            total_ms=None if total_ms is None else round(total_ms),
            error=error,
            kept_ids=kept_ids,
        )

    async def drain(self) -> None:
        """Gives up what still waits for the database; the ledger has it as interrupted then."""
        await self._late.drain()

    def prices_of(self, model: ModelSpec, now: dt.datetime) -> PriceList:
        """Returns what a model costs at a time. Raises PermissionDenied where nobody knows, and a budget has to."""
        prices = self.prices.at(model.provider, model.id, now)
        if prices is None:
            raise no_price(model.id)
        return prices

    def most(self, turn: Turn, model: ModelSpec, max_output_tokens: int | None) -> Decimal | None:
        """Returns the most that a call can cost, in USD; None where nobody knows."""
        try:
            return self._worst(turn, (model,), max_output_tokens, self.now())
        except GaiaError:
            return None

    def _worst(
        self, turn: Turn, candidates: Sequence[ModelSpec], max_output_tokens: int | None, now: dt.datetime
    ) -> Decimal:
        asked = asked_tier(turn)
        if places := tools_of_the_provider(turn):
            what = "is run by the provider, and what that costs is not known before; a budget must hold this call"
            raise InvalidArgument.of(*(Violation(place, what) for place in places))
        has_more, predicted = has_unseen_input(turn), most_predicted(turn)
        worst = NOTHING
        for model in candidates:
            # What is asked to be served in another way may be served in the common one all the same.
            ways = (asked, ()) if asked else ((),)
            listed = [self.prices.at(model.provider, model.id, now, way) for way in ways]
            beside = (_ONE_SEARCH,) if model.provider == "openai" and SEARCHING in model.id else ()
            known = [one for one in listed if one is not None and all(map(one.knows, (_TEXT, *beside)))]
            if len(known) < len(listed):
                raise no_price(model.id)
            asked_for = max_output_tokens or (model.default_max_tokens if turn.original is None else None)
            # A reply is part of the window, whose size is known more often than the longest reply.
            output_tokens = asked_for or model.max_tokens or model.context_window
            if output_tokens is None and any(prices.worst(0, 1) for prices in known):
                raise InvalidArgument.field(
                    "max_tokens", f"must be given: a budget holds this call, and {model.id} has no known longest reply"
                )
            stated = most_tokens(turn, most_per_picture(model.id))
            input_tokens = max(stated, _window(model)) if has_more else stated
            most_output = (output_tokens or 0) + predicted
            for prices in known:
                worst = max(worst, prices.worst(input_tokens, most_output) + sum(map(prices.cost, beside)))
        return worst

    def _settle_late(self, settlement: Settlement) -> None:
        async def settle() -> None:
            await self.ledger.settle(settlement)
            await self.ledger.release(settlement.opening.id)

        self._late.add(settle)


def _to_wait(settlement: Settlement) -> Settlement:
    """Returns what of a settlement waits for the database: all, where its answer can be asked for again."""
    exchange, answer = settlement.exchange, settlement.answer
    if answer is not None:
        said = exchange.messages if exchange is not None else ()
        size = len(answer) + sum(len(one.content) + sum(len(call.arguments) for call in one.tool_calls) for one in said)
        if size <= MAX_LATE_SIZE:
            return settlement
    return replace(settlement, exchange=None, answer=None)


def _window(model: ModelSpec) -> int:
    if model.context_window is None:
        raise InvalidArgument(
            f"the request stands for more than it holds, and {model.id} has no known window; a budget must hold this "
            "call: send the whole input"
        )
    return model.context_window


def check_model(caller: Principal, model: ModelSpec) -> None:
    """Raises ModelDenied, naming what is allowed, for a model that the caller's key may not use."""
    allowed_models.check_model(caller, model.provider, model.id)


def may_use(caller: Principal, model: ModelSpec) -> bool:
    """Whether the caller's key allows a model, by its id or by `provider/id`."""
    return allowed_models.may_use(caller, model.provider, model.id)


def _sum(usages: Iterable[Usage]) -> Usage | None:
    total: Usage | None = None
    for usage in usages:
        total = usage if total is None else total + usage
    return total
