"""Generated assets are paid from the same budgets as calls of chat, and stand in the same ledger."""

import asyncio
import datetime as dt
import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import orjson
import pytest
from gaia.asset.v1 import asset_service_pb2 as pb
from pydantic import SecretStr
from starlette.responses import JSONResponse

from services.asset.ledger_postgres import PostgresLedger
from services.asset.spending import Booking, Opening, State
from services.chat.ledger_postgres import SQL as CHAT_SQL
from shared.budgets import Limits
from shared.db.pool import Database
from tests.integration.asset.running import (
    CAT,
    PROVIDER_KEY,
    USAGE,
    Assets,
    Provider,
    details,
    hanging,
    image_reply,
    png,
    running_assets,
    settings_of,
)
from tests.support.auth import Auth
from tests.support.postgres import PostgresServer
from tests.support.waiting import eventually

COST = Decimal("0.01327")
# 439 image tokens and 2,000 beside them at 30, 1,000 with the 15 bytes of the description at 5 USD a million.
MOST = Decimal("0.078245")


@dataclass(frozen=True)
class Client:
    """A user of a running asset service with a key of its own."""

    assets: Assets
    metadata: tuple[tuple[str, str], ...]

    async def generate(self, request: pb.GenerateAssetRequest = CAT) -> Any:
        return await self.assets.stub.GenerateAsset(request, metadata=self.metadata)

    async def refused(self, request: pb.GenerateAssetRequest = CAT, **more: Any) -> grpc.aio.AioRpcError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.assets.stub.GenerateAsset(request, metadata=self.metadata, **more)
        return caught.value

    async def limit(self, **permissions: Any) -> None:
        """Gives the key limits and allowed models."""
        await self.assets.database.execute(
            "UPDATE api_keys SET permissions = permissions || $2::jsonb "
            "WHERE key_hash = encode(sha256(convert_to($1, 'UTF8')), 'hex')",
            self.metadata[0][1],
            orjson.dumps(permissions).decode(),
        )

    async def ids(self) -> tuple[uuid.UUID, uuid.UUID]:
        """The ids of the user and the key."""
        row = await self.assets.database.fetchrow(
            "SELECT user_id, id FROM api_keys WHERE key_hash = encode(sha256(convert_to($1, 'UTF8')), 'hex')",
            self.metadata[0][1],
        )
        assert row is not None
        return row["user_id"], row["id"]

    async def ledger(self) -> list[asyncpg.Record]:
        """What is booked for the user."""
        query = "SELECT * FROM ledger WHERE user_id = $1 ORDER BY created_at"
        return await self.assets.database.fetch(query, (await self.ids())[0])

    async def balance(self, kind: str = "key") -> tuple[Any, Any]:
        """What was spent and is reserved."""
        user_id, key_id = await self.ids()
        row = await self.assets.database.fetchrow(
            "SELECT spent_usd, reserved_usd FROM budget_balances WHERE kind = $1 AND owner = $2",
            kind,
            key_id if kind == "key" else user_id,
        )
        return (Decimal(0), Decimal(0)) if row is None else (row["spent_usd"], row["reserved_usd"])


@pytest.fixture
async def client(assets: Assets, provider: Provider) -> Client:
    provider.answers(image_reply(png(), usage=USAGE))
    return Client(assets, await assets.new_caller())


@pytest.fixture
async def running(postgres: PostgresServer, database: str, auth: Auth, provider: Provider, tmp_path: Path) -> Any:
    """Runs a service with the settings given."""
    provider.answers(image_reply(png(), usage=USAGE))

    def run(**settings: Any) -> Any:
        known = {"openai_api_key": SecretStr(PROVIDER_KEY), "openai_base_url": provider.url}
        return running_assets(auth, settings_of(postgres, database, auth, tmp_path, **{**known, **settings}), tmp_path)

    return run


async def test_an_image_stands_in_the_ledger_with_what_it_used_and_cost(client: Client) -> None:
    made = await client.generate()
    [row] = await client.ledger()
    assert (row["operation"], row["state"], row["provider"]) == ("assets.images", "done", "openai")
    assert (str(row["id"]), row["model"]) == (made.asset_id, "gpt-image-2.5-flare")
    assert (row["input_tokens"], row["output_tokens"], row["cost_usd"]) == (20, 439, COST)
    assert (row["is_estimate"], row["reserved_usd"], row["api_key_id"]) == (False, None, (await client.ids())[1])
    assert row["total_ms"] >= 0
    assert await client.balance("key") == await client.balance("user") == (COST, 0)


async def test_a_key_spends_what_its_budget_has_and_not_one_image_more(client: Client, provider: Provider) -> None:
    await client.limit(limits={"monthly_budget_usd": str(MOST + COST)})
    for _ in range(2):
        await client.generate()
    error = await client.refused()
    assert (error.code(), details(error)["reason"]) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "BUDGET_EXCEEDED")
    text = error.details() or ""
    assert "this key's budget of 0.091515 USD a month has 0.064975 left, and this call may cost up to 0.078245" in text
    assert "lower quality" in text
    assert len(provider.requests) == 2
    assert await client.balance() == (2 * COST, 0)


async def test_many_at_once_do_not_spend_more_than_there_is(running: Any, provider: Provider) -> None:
    async with running(max_generations=20) as assets:
        client = Client(assets, await assets.new_caller())
        await client.limit(limits={"monthly_budget_usd": str(3 * MOST)})
        # Each costs as much as it can.
        dear = {
            "input_tokens": 1015,
            "output_tokens": 2439,
            "output_tokens_details": {"text_tokens": 2000, "image_tokens": 439},
        }
        provider.answers(image_reply(png(), usage=dear))
        results = await asyncio.gather(*(client.generate() for _ in range(12)), return_exceptions=True)
        good = [one for one in results if not isinstance(one, BaseException)]
        assert len(good) == len(provider.requests) == 3
        assert await client.balance() == (3 * MOST, 0)


async def test_users_and_the_platform_have_budgets_too(running: Any, provider: Provider) -> None:
    async with running(user_monthly_budget_usd=MOST) as assets:
        client = Client(assets, await assets.new_caller())
        await client.generate()
        assert "this user's budget" in ((await client.refused()).details() or "")
        # One that the user has of its own goes before that of the configuration.
        other = Client(assets, await assets.new_caller())
        user_id, _ = await other.ids()
        await assets.database.execute("UPDATE users SET monthly_budget_usd = 1 WHERE id = $1", user_id)
        for _ in range(2):
            await other.generate()
    async with running(platform_monthly_budget_usd=Decimal(0)) as assets:
        client = Client(assets, await assets.new_caller())
        assert "the platform's budget" in ((await client.refused()).details() or "")
    assert len(provider.requests) == 3


async def test_a_model_without_a_known_price_is_refused_under_a_budget_only(
    assets: Assets, client: Client, provider: Provider
) -> None:
    request = pb.GenerateAssetRequest(category="image", description="a cat", model="dall-e-3")
    await client.generate(request)
    assert [row["cost_usd"] for row in await client.ledger()] == [None]
    held = Client(assets, await assets.new_caller())
    await held.limit(limits={"monthly_budget_usd": "5"})
    error = await held.refused(request)
    assert (error.code(), details(error)["reason"]) == (grpc.StatusCode.PERMISSION_DENIED, "PRICE_UNKNOWN")
    assert len(provider.requests) == 1


async def test_what_failed_gives_its_money_back(client: Client, provider: Provider) -> None:
    await client.limit(limits={"monthly_budget_usd": str(MOST)})
    provider.answers(JSONResponse({"error": {"message": "no"}}, status_code=400))
    for _ in range(3):
        assert (await client.refused()).code() is grpc.StatusCode.INVALID_ARGUMENT
    assert await client.balance() == (0, 0)
    assert {(row["state"], row["cost_usd"]) for row in await client.ledger()} == {("failed", 0)}


async def test_an_image_that_nobody_waited_for_is_booked_by_what_it_was_to_cost(
    client: Client, provider: Provider
) -> None:
    await client.limit(limits={"monthly_budget_usd": "1"})
    provider.answer, asked, _ = hanging()
    call = asyncio.ensure_future(client.generate())
    await asked.wait()
    assert await client.balance() == (0, MOST)
    call.cancel()

    async def booked() -> Any:
        return await client.ledger()

    [row] = await eventually(booked)
    # The description's fifteen bytes are about five tokens.
    assert (row["state"], row["is_estimate"], row["cost_usd"]) == ("cancelled", True, Decimal("0.013195"))
    assert await client.balance() == (Decimal("0.013195"), 0)


async def test_a_provider_that_does_not_say_what_it_used_is_booked_by_what_was_expected(
    client: Client, provider: Provider
) -> None:
    provider.answers(image_reply(png()))
    await client.generate()
    [row] = await client.ledger()
    assert (row["state"], row["is_estimate"], row["cost_usd"]) == ("done", True, Decimal("0.013195"))


async def test_a_key_makes_images_with_the_models_that_it_may_use(running: Any, provider: Provider, auth: Auth) -> None:
    async with running() as assets:
        client = Client(assets, await assets.new_caller())
        await client.limit(allowed_models=["openai/gpt-image-2.5-flare"])
        await client.generate()
        error = await client.refused(pb.GenerateAssetRequest(category="image", description="x", model="gpt-image-2"))
        assert (error.code(), details(error)["reason"]) == (grpc.StatusCode.PERMISSION_DENIED, "MODEL_NOT_ALLOWED")
        assert "may not use gpt-image-2; it may use openai/gpt-image-2.5-flare" in (error.details() or "")
        user_id, _ = await client.ids()
    assert len(provider.requests) == 1
    connection = await asyncpg.connect(auth.owner_url)
    try:

        async def written() -> Any:
            query = "SELECT * FROM audit_events WHERE actor_user_id = $1 AND action = 'authorization.denied'"
            return await connection.fetch(query, user_id)

        [event] = await eventually(written)
    finally:
        await connection.close()
    assert event["target_id"] == "gaia.asset.v1.AssetService.GenerateAsset"
    assert json.loads(event["details"])["scope"] == "model:gpt-image-2"


async def test_tokens_of_images_count_for_the_key_and_for_the_address(client: Client, running: Any) -> None:
    await client.limit(limits={"tokens_per_minute": 500})
    await client.generate()
    error = await client.refused()
    assert details(error)["reason"] == "TOKENS_PER_MINUTE"
    assert "this key may use 500 tokens a minute and has 41 left; the call needs 444" in (error.details() or "")
    async with running(tokens_per_minute_per_address=500) as assets:
        await Client(assets, await assets.new_caller()).generate()
        error = await Client(assets, await assets.new_caller()).refused()
        assert "this address may use 500 tokens a minute" in (error.details() or "")


@pytest.fixture
async def pool(postgres: PostgresServer, database: str) -> AsyncIterator[Database]:
    """The database as the service's own role sees it."""
    pool = Database(postgres.url(database, "gaia_asset"))
    await pool.open()
    yield pool
    await pool.close()


async def test_what_was_given_up_as_interrupted_may_come_home_and_is_booked_once(
    assets: Assets, client: Client, pool: Database
) -> None:
    user_id, key_id = await client.ids()
    now = dt.datetime.now(dt.UTC)
    budget = Limits(key=Decimal(1))
    opening = Opening(uuid.uuid4(), now, now, user_id, key_id, "r", "openai", "gpt-image-2", MOST, budget)
    ledger = PostgresLedger(pool)
    assert await ledger.open(opening) is None
    assert await client.balance() == (0, MOST)
    await assets.database.execute(CHAT_SQL["interrupt_calls"])
    assert await client.balance() == (0, 0)
    booking = Booking(opening, State.FAILED, None, 5, error="LATE")
    for _ in range(2):
        await ledger.book(booking)
    [row] = await client.ledger()
    assert (row["state"], row["error"], row["reserved_usd"]) == ("failed", "LATE", MOST)
    assert await client.balance() == (0, 0)


async def test_the_ledger_adds_up_with_images_in_it(client: Client, auth: Auth) -> None:
    for model in ("", "gpt-image-1.5", "dall-e-3"):
        await client.generate(pb.GenerateAssetRequest(category="image", description="x", model=model))
    command = [sys.executable, "-m", "deploy.cli.main", "usage", "reconcile", "--json"]
    environment = {**os.environ, "DATABASE_URL": auth.owner_url}
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, check=False
    )
    report = json.loads(done.stdout)
    assert (done.returncode, report["differences"]) == (0, 0), report
    assert report["calls"] >= 3
    assert report["unpriced"] >= 1


async def test_budgets_are_taken_over_without_a_restart(
    postgres: PostgresServer,
    database: str,
    auth: Auth,
    provider: Provider,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    provider.answers(image_reply(png(), usage=USAGE))
    file = tmp_path / "gaia.toml"
    monkeypatch.setenv("GAIA_CONFIG", str(file))
    monkeypatch.setenv("DATABASE_URL", postgres.url(database, "gaia_asset"))
    reload = asyncio.Event()
    settings = settings_of(
        postgres,
        database,
        auth,
        tmp_path / "assets",
        openai_api_key=SecretStr(PROVIDER_KEY),
        openai_base_url=provider.url,
        platform_monthly_budget_usd=Decimal(0),
    )

    async def told(message: str) -> None:
        async def said() -> bool:
            return any(message in record.message for record in caplog.records)

        await eventually(said)

    async with running_assets(auth, settings, tmp_path / "assets", reload) as assets:
        client = Client(assets, await assets.new_caller())
        assert "the platform's budget" in ((await client.refused()).details() or "")
        for text, message in (
            ("[budgets]\nplatform_monthly_usd = -1\n", "those before hold"),
            ("[budgets]\nplatform_monthly_usd = 1000\n", "budgets were taken over"),
        ):
            assert provider.requests == []
            file.write_text(text)
            reload.set()
            await told(message)
        await client.generate()
