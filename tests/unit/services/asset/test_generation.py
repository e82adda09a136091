"""The rules of generating, with a generator, a byte store and a store that the tests steer."""

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any

import pytest

from services.asset.blobs import Location
from services.asset.generation import KEEPING_SECONDS, AssetGeneration
from services.asset.generators.generator import GeneratedImage, ImageOrder
from services.asset.models import Asset, NewAsset
from services.asset.requests import GenerationRequest
from shared.db.paging import Place
from shared.errors import DeadlineExceeded, FailedPrecondition, NotFound, Unavailable
from shared.identity.principal import Principal

CALLER = Principal(str(uuid.uuid4()), "a@gaia.test", str(uuid.uuid4()), frozenset({"assets:write"}), "test")
CAT = GenerationRequest(category="image", description="a cat")
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass
class Generator:
    price: Decimal | None = None
    orders: list[tuple[ImageOrder, float]] = field(default_factory=list)
    provider: str = "maker"

    def estimate(self, order: ImageOrder) -> Decimal | None:
        return self.price

    async def generate(self, order: ImageOrder, seconds: float) -> GeneratedImage:
        self.orders.append((order, seconds))
        metadata: Mapping[str, Any] = {"provider": self.provider}
        return GeneratedImage(PNG, order.model or "default", Decimal("0.01"), metadata)


@dataclass
class Blobs:
    objects: dict[str, bytes] = field(default_factory=dict)
    writing: asyncio.Event = field(default_factory=asyncio.Event)
    may_write: asyncio.Event = field(default_factory=asyncio.Event)
    deletes: bool = True
    location: Location = field(default=Location("local", "assets", ""))

    async def write(self, path: str, data: bytes) -> None:
        self.writing.set()
        await self.may_write.wait()
        self.objects[path] = data

    async def open(self, path: str, offset: int = 0) -> tuple[int, AsyncGenerator[bytes]]:
        raise NotImplementedError

    async def delete(self, path: str) -> None:
        if not self.deletes:
            raise Unavailable("away")
        self.objects.pop(path, None)


@dataclass
class Rows:
    rows: list[NewAsset] = field(default_factory=list)
    error: Exception | None = None

    async def ping(self) -> None:
        if self.error:
            raise self.error

    async def create_asset(self, asset: NewAsset) -> Asset:
        if self.error:
            raise self.error
        self.rows.append(asset)
        common = {one.name: getattr(asset, one.name) for one in fields(NewAsset) if one.name != "metadata"}
        return Asset(**common, created_at=dt.datetime.now(dt.UTC))

    async def get_asset(self, asset_id: uuid.UUID, owner: uuid.UUID | None) -> Asset | None:
        raise NotImplementedError

    async def list_assets(
        self, owner: uuid.UUID | None, category: str, search: str, after: Place, limit: int
    ) -> Sequence[Asset]:
        raise NotImplementedError

    async def count_assets(self, owner: uuid.UUID | None, category: str, search: str) -> int:
        raise NotImplementedError

    async def delete_asset(self, asset_id: uuid.UUID, owner: uuid.UUID | None) -> str | None:
        raise NotImplementedError


@dataclass
class World:
    generator: Generator = field(default_factory=Generator)
    blobs: Blobs = field(default_factory=Blobs)
    rows: Rows = field(default_factory=Rows)

    def generation(self) -> AssetGeneration:
        return AssetGeneration(
            {"image": self.generator, "texture": self.generator}, self.blobs, self.rows, timeout=60, max_in_flight=2
        )


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
