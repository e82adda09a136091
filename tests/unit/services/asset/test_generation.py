"""The rules of generating, with a generator, a byte store and a store that the tests steer."""

import asyncio
import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from services.asset.generation import KEEPING_SECONDS, AssetGeneration
from services.asset.generators.generator import Charge, GeneratedImage, ImageOrder, Quote
from services.asset.models import Asset, NewAsset
from services.asset.requests import GenerationRequest
from services.asset.spending import Booking, Opening, Spending, State
from shared.budgets import Budgets, Limits, Refused
from shared.errors import (
    DeadlineExceeded,
    FailedPrecondition,
    GaiaError,
    InvalidArgument,
    ModelDenied,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    TokensExhausted,
    Unavailable,
)
from shared.identity.principal import KeyLimits, Principal
from shared.rates.limiter import RateLimiter
from shared.rates.tokens import TokenLimit

CALLER = Principal(str(uuid.uuid4()), "a@gaia.test", str(uuid.uuid4()), frozenset({"assets:write"}), "test")
CAT = GenerationRequest(category="image", description="a cat")
SAID = Charge({"input_tokens": 5, "output_tokens": 20}, {}, Decimal("0.01"))
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass
class Generator:
    price: Decimal | None = None
    failure: BaseException | None = None
    orders: list[tuple[ImageOrder, float]] = field(default_factory=list)
    provider: str = "maker"

    def quote(self, order: ImageOrder) -> Quote:
        model = order.model or "default"
        if self.price is None:
            return Quote(model, 10)
        return Quote(model, 10, self.price, self.price * 2, Charge({"output_tokens": 10}, {}, self.price))

    async def generate(self, order: ImageOrder, seconds: float) -> GeneratedImage:
        self.orders.append((order, seconds))
        if self.failure is not None:
            raise self.failure
        metadata: Mapping[str, Any] = {"provider": self.provider}
        return GeneratedImage(PNG, order.model or "default", SAID, metadata)


@dataclass
class Blobs:
    objects: dict[str, bytes] = field(default_factory=dict)
    writing: asyncio.Event = field(default_factory=asyncio.Event)
    may_write: asyncio.Event = field(default_factory=asyncio.Event)
    deletes: bool = True

    async def write(self, path: str, data: bytes) -> None:
        self.writing.set()
        await self.may_write.wait()
        self.objects[path] = data

    async def delete(self, path: str) -> None:
        if not self.deletes:
            raise Unavailable("away")
        self.objects.pop(path, None)


@dataclass
class Rows:
    rows: list[NewAsset] = field(default_factory=list)
    error: Exception | None = None
    opened: list[Opening] = field(default_factory=list)
    booked: list[Booking] = field(default_factory=list)
    refusal: Refused | None = None

    async def open(self, opening: Opening) -> Refused | None:
        if self.error:
            raise self.error
        if self.refusal is None:
            self.opened.append(opening)
        return self.refusal

    async def book(self, booking: Booking) -> None:
        if isinstance(self.error, Unavailable):
            raise self.error
        self.booked.append(booking)

    async def create_asset(self, asset: NewAsset, booking: Booking) -> Asset:
        if self.error:
            raise self.error
        self.rows.append(asset)
        self.booked.append(booking)
        common = {one.name: getattr(asset, one.name) for one in fields(NewAsset) if one.name != "metadata"}
        return Asset(**common, created_at=dt.datetime.now(dt.UTC))


@dataclass
class World:
    generator: Generator = field(default_factory=Generator)
    blobs: Blobs = field(default_factory=Blobs)
    rows: Rows = field(default_factory=Rows)

    budgets: Budgets = field(default_factory=Budgets)

    def generation(self) -> AssetGeneration:
        now = partial(dt.datetime.now, dt.UTC)
        spending = Spending(self.rows, TokenLimit(RateLimiter()), self.budgets, now)
        generators = {"image": self.generator, "texture": self.generator}
        return AssetGeneration(generators, self.blobs, self.rows, spending, timeout=60, max_in_flight=2)


@pytest.fixture
def world() -> World:
    made = World()
    made.blobs.may_write.set()
    return made


async def test_bytes_and_row_belong_together(world: World) -> None:
    made = await world.generation().generate(CALLER, CAT, None)
    (row,) = world.rows.rows
    assert world.blobs.objects == {row.storage_path: PNG}
    assert row.storage_path == f"assets/{CALLER.user_id}/{row.id}.png"
    assert (str(row.user_id), row.model, row.cost_usd) == (CALLER.user_id, "default", Decimal("0.01"))
    assert made.asset.id == row.id


async def test_the_prompt_says_what_the_category_needs(world: World) -> None:
    generation = world.generation()
    await generation.generate(CALLER, CAT, None)
    await generation.generate(CALLER, GenerationRequest("texture", " moss ", style=" oil "), None)
    prompts = [order.prompt for order, _ in world.generator.orders]
    assert prompts[0] == "a cat"
    assert "without seams" in prompts[1]
    assert prompts[1].endswith("moss\nStyle: oil")


@pytest.mark.parametrize(("seconds_left", "given"), [(None, 60.0), (1000.0, 60.0), (10.0, 10.0 - KEEPING_SECONDS)])
async def test_the_provider_gets_less_time_than_the_caller_has(
    world: World, seconds_left: float | None, given: float
) -> None:
    await world.generation().generate(CALLER, CAT, seconds_left)
    assert [seconds for _, seconds in world.generator.orders] == [given]


async def test_a_call_without_time_is_refused_before_it_costs(world: World) -> None:
    with pytest.raises(DeadlineExceeded):
        await world.generation().generate(CALLER, CAT, KEEPING_SECONDS)
    assert world.generator.orders == []


@pytest.mark.parametrize(
    ("price", "limit", "bought"), [("0.5", 0.5, True), ("0.500001", 0.5, False), ("0.1", 0, False)]
)
async def test_a_known_price_above_the_limit_is_refused_before_it_costs(
    world: World, price: str, limit: float, bought: bool
) -> None:
    world.generator.price = Decimal(price)
    request = GenerationRequest("image", "a cat", max_cost=limit)
    if bought:
        await world.generation().generate(CALLER, request, None)
    else:
        with pytest.raises(FailedPrecondition, match=f"costs about {price} USD"):
            await world.generation().generate(CALLER, request, None)
    assert len(world.generator.orders) == bought


async def test_an_unknown_price_is_not_held_against_the_limit(world: World) -> None:
    await world.generation().generate(CALLER, GenerationRequest("image", "a cat", max_cost=0), None)
    assert len(world.rows.rows) == 1


async def test_what_is_paid_for_is_stored_though_the_caller_has_left(world: World) -> None:
    world.blobs.may_write.clear()
    generation = world.generation()
    call = asyncio.ensure_future(generation.generate(CALLER, CAT, None))
    await world.blobs.writing.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert world.rows.rows == []
    drained = asyncio.ensure_future(generation.drain())
    world.blobs.may_write.set()
    await drained
    assert [row.storage_path for row in world.rows.rows] == list(world.blobs.objects)
    assert len(world.blobs.objects) == 1


async def test_a_row_that_fails_takes_its_bytes_with_it(world: World) -> None:
    world.blobs.may_write.clear()
    call = asyncio.ensure_future(world.generation().generate(CALLER, CAT, None))
    await world.blobs.writing.wait()
    world.rows.error = NotFound("the user is gone")
    world.blobs.may_write.set()
    with pytest.raises(NotFound, match="the user is gone"):
        await call
    assert world.blobs.objects == {}


async def test_bytes_that_cannot_be_taken_back_are_logged_and_hide_no_error(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.blobs.may_write.clear()
    world.blobs.deletes = False
    call = asyncio.ensure_future(world.generation().generate(CALLER, CAT, None))
    await world.blobs.writing.wait()
    world.rows.error = NotFound("the user is gone")
    world.blobs.may_write.set()
    with pytest.raises(NotFound, match="the user is gone"):
        await call
    (path,) = world.blobs.objects
    assert [record.__dict__["path"] for record in caplog.records if "bytes without an asset" in record.message] == [
        path
    ]


async def test_a_row_that_may_be_there_keeps_its_bytes(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.blobs.may_write.clear()
    call = asyncio.ensure_future(world.generation().generate(CALLER, CAT, None))
    await world.blobs.writing.wait()
    world.rows.error = Unavailable("the database went away before it answered")
    world.blobs.may_write.set()
    with pytest.raises(Unavailable, match="the database went away"):
        await call
    (path,) = world.blobs.objects
    assert path in [record.__dict__.get("path") for record in caplog.records]


async def test_a_place_is_free_again_after_success_failure_and_leaving(world: World) -> None:
    generation = world.generation()
    await generation.generate(CALLER, CAT, None)
    world.rows.error = Unavailable("away")
    for _ in range(3):
        with pytest.raises(Unavailable, match="away"):
            await generation.generate(CALLER, CAT, None)
    world.rows.error = None
    world.blobs.may_write.clear()
    for _ in range(3):
        world.blobs.writing.clear()
        call = asyncio.ensure_future(generation.generate(CALLER, CAT, None))
        await world.blobs.writing.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    world.blobs.may_write.set()
    await generation.generate(CALLER, CAT, None)
    await generation.drain()
    assert len(world.rows.rows) == 5


def limited(**limits: Any) -> Principal:
    return replace(CALLER, limits=KeyLimits(**limits))


async def test_what_an_image_cost_is_booked_with_it(world: World) -> None:
    await world.generation().generate(CALLER, CAT, None)
    [opening], [booking] = world.rows.opened, world.rows.booked
    assert (opening.provider, opening.model, opening.amount) == ("maker", "default", None)
    assert opening.id == world.rows.rows[0].id
    assert (booking.state, booking.charge, booking.is_estimate) == (State.DONE, SAID, False)


async def test_a_budget_holds_the_most_that_an_image_can_cost_before_it_is_made(world: World) -> None:
    world.generator.price = Decimal("0.02")
    world.budgets = Budgets(platform=Decimal(100), user=Decimal(10))
    caller = replace(limited(monthly_budget_usd=Decimal(1)), user_monthly_budget_usd=Decimal(5))
    await world.generation().generate(caller, CAT, None)
    [opening] = world.rows.opened
    assert opening.amount == Decimal("0.04")
    assert opening.limits == Limits(key=Decimal(1), user=Decimal(5), platform=Decimal(100))
    world.rows.refusal = Refused("user", Decimal(5), Decimal("0.01"))
    with pytest.raises(ResourceExhausted, match=r"this user.s budget of 5 USD a month has 0\.01 left") as caught:
        await world.generation().generate(caller, CAT, None)
    assert caught.value.reason == "BUDGET_EXCEEDED"
    assert len(world.generator.orders) == 1


async def test_a_price_that_nobody_knows_cannot_be_held_by_a_budget(world: World) -> None:
    with pytest.raises(PermissionDenied, match="the price of default is not known"):
        await world.generation().generate(limited(monthly_budget_usd=Decimal(1)), CAT, None)
    assert world.generator.orders == []
    assert world.rows.opened == []


@pytest.mark.parametrize("allowed", ["default", "maker/default"])
async def test_a_key_generates_with_the_models_that_it_allows_and_no_others(world: World, allowed: str) -> None:
    caller = replace(CALLER, allowed_models=frozenset({allowed}))
    await world.generation().generate(caller, CAT, None)
    with pytest.raises(ModelDenied, match=f"may not use dear; it may use {allowed}"):
        await world.generation().generate(caller, replace(CAT, model="dear"), None)
    assert len(world.generator.orders) == len(world.rows.opened) == 1


async def test_tokens_that_an_image_used_are_held_against_the_next(world: World) -> None:
    generation = world.generation()
    caller = limited(tokens_per_minute=30)
    await generation.generate(caller, CAT, None)
    with pytest.raises(TokensExhausted, match="has 5 left; the call needs 10"):
        await generation.generate(caller, CAT, None)
    assert len(world.generator.orders) == 1


@pytest.mark.parametrize(
    ("failure", "cost", "is_estimate"),
    [
        (InvalidArgument("no"), None, False),
        (Unavailable("down"), None, False),
        # It may have been made, and be paid for, for all that is known.
        (DeadlineExceeded("late", reason="PROVIDER_TIMEOUT"), Decimal("0.02"), True),
    ],
)
async def test_an_image_that_was_refused_costs_nothing_and_a_late_one_what_it_was_to_cost(
    world: World, failure: GaiaError, cost: Decimal | None, is_estimate: bool
) -> None:
    world.generator.price = Decimal("0.02")
    world.generator.failure = failure
    with pytest.raises(type(failure)):
        await world.generation().generate(CALLER, CAT, None)
    [booking] = world.rows.booked
    assert (booking.state, booking.error) == (State.FAILED, failure.reason or failure.code)
    assert (booking.charge and booking.charge.cost_usd, booking.is_estimate) == (cost, is_estimate)
    assert not booking.is_unknown


async def test_an_image_that_is_not_what_was_asked_for_is_paid_for(world: World) -> None:
    with pytest.raises(GaiaError, match="answered png where webp"):
        await world.generation().generate(CALLER, replace(CAT, file_format="webp"), None)
    [booking] = world.rows.booked
    assert (booking.state, booking.charge) == (State.FAILED, SAID)


async def test_what_is_made_for_nobody_is_booked_all_the_same(world: World) -> None:
    world.generator.failure = asyncio.CancelledError()
    generation = world.generation()
    with pytest.raises(asyncio.CancelledError):
        await generation.generate(CALLER, CAT, None)
    await asyncio.sleep(0)
    [booking] = world.rows.booked
    assert (booking.state, booking.is_unknown) == (State.CANCELLED, True)


async def test_what_could_not_be_kept_is_booked_as_failed(world: World) -> None:
    world.blobs.may_write.clear()
    call = asyncio.ensure_future(world.generation().generate(CALLER, CAT, None))
    await world.blobs.writing.wait()
    world.rows.error = NotFound("the user is gone")
    world.blobs.may_write.set()
    with pytest.raises(NotFound):
        await call
    [booking] = world.rows.booked
    assert (booking.state, booking.charge, booking.error) == (State.FAILED, SAID, "NOT_FOUND")


async def test_without_the_ledger_nothing_is_made(world: World) -> None:
    world.rows.error = Unavailable("away")
    with pytest.raises(Unavailable, match="away"):
        await world.generation().generate(CALLER, CAT, None)
    assert world.generator.orders == []
