"""What a service that cannot start says, and what becomes of assets without a user."""

import datetime as dt
import uuid
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.asset.models import GENERATED, NewAsset
from services.asset.server import serving
from services.asset.spending import Booking, Opening, State
from services.asset.store_postgres import PostgresStore
from shared.budgets import Limits
from shared.db.pool import Database
from shared.errors import NotFound
from shared.settings import SettingsError
from tests.integration.asset.running import settings_of
from tests.support.auth import Auth
from tests.support.postgres import PostgresServer


@pytest.mark.parametrize("store", ["ftp://somewhere/assets", "file:///dev/null/assets"])
async def test_a_store_that_cannot_be_had_stops_the_start_naming_its_setting(
    postgres: PostgresServer, database: str, auth: Auth, tmp_path: Path, store: str
) -> None:
    settings = settings_of(postgres, database, auth, tmp_path, asset_store=store)
    with pytest.raises(SettingsError, match=r"^GAIA_ASSET_STORE: "):
        async with serving(settings):
            pass


async def test_an_address_that_is_taken_stops_the_start(
    postgres: PostgresServer, database: str, auth: Auth, tmp_path: Path
) -> None:
    settings = settings_of(
        postgres, database, auth, tmp_path, listen=auth.address, openai_api_key=SecretStr("not-used")
    )
    with pytest.raises(OSError, match=auth.address):
        async with serving(settings):
            pass


async def test_an_asset_of_a_user_who_is_gone_is_not_stored(postgres: PostgresServer, database: str) -> None:
    pool = Database(postgres.url(database, "gaia_asset"))
    await pool.open()
    user = uuid.uuid4()
    asset = NewAsset(
        id=uuid.uuid4(),
        user_id=user,
        category="image",
        description="a cat",
        style="",
        source=GENERATED,
        provider="openai",
        model="m",
        content_type="image/png",
        size_bytes=1,
        sha256="0" * 64,
        storage_path="assets/x",
        cost_usd=Decimal("0.000000001"),
        metadata={},
    )
    now = dt.datetime.now(dt.UTC)
    opening = Opening(asset.id, now, now, user, None, "", "openai", "m", None, Limits())
    booking = Booking(opening, State.DONE, None, 1)
    try:
        with pytest.raises(NotFound, match=f"there is no user {user}"):
            await PostgresStore(pool).create_asset(asset, booking)
        # Neither is what it cost; whoever stores it books that by itself then.
        assert await pool.row("SELECT FROM ledger WHERE id = $1", asset.id) is None
    finally:
        await pool.close()
