"""The store in Postgres."""

import json
import uuid
from collections.abc import Sequence
from pathlib import Path

import asyncpg

from services.asset.ledger_postgres import book_on
from services.asset.models import Asset, NewAsset
from services.asset.spending import Booking
from shared.db.paging import Place
from shared.db.pool import Database, Row
from shared.db.queries import load_queries
from shared.errors import NotFound

SQL = load_queries(Path(__file__).with_name("queries.sql"))


class PostgresStore:
    """Implements `services.asset.store.Store`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ping(self) -> None:
        """Returns when the store answers."""
        await self._database.ping()

    async def create_asset(self, asset: NewAsset, booking: Booking) -> Asset:
        """Stores an asset and books what it cost."""
        try:
            async with self._database.transaction() as connection:
                # First what can fail of the two: whoever waits for a balance waits no longer than need be.
                row = await connection.fetchrow(SQL["create_asset"], *_columns(asset))
                await book_on(connection, booking)
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound(f"there is no user {asset.user_id}") from error
        assert row is not None
        return _asset(row)

    async def get_asset(self, asset_id: uuid.UUID, owner: uuid.UUID | None) -> Asset | None:
        """Returns an asset."""
        row = await self._database.row(SQL["get_asset"], asset_id, owner)
        return _asset(row) if row else None

    async def list_assets(
        self, owner: uuid.UUID | None, category: str, search: str, after: Place, limit: int
    ) -> Sequence[Asset]:
        """Returns assets, the newest first."""
        filters = (category, _pattern(search), after.created_at, after.id, limit)
        if owner is None:
            rows = await self._database.rows(SQL["list_assets"], *filters)
        else:
            rows = await self._database.rows(SQL["list_assets_of_owner"], owner, *filters)
        return [_asset(row) for row in rows]

    async def count_assets(self, owner: uuid.UUID | None, category: str, search: str) -> int:
        """Returns how many assets pass the filters."""
        filters = (category, _pattern(search))
        if owner is None:
            row = await self._database.row(SQL["count_assets"], *filters)
        else:
            row = await self._database.row(SQL["count_assets_of_owner"], owner, *filters)
        assert row is not None
        return int(row["count"])

    async def delete_asset(self, asset_id: uuid.UUID, owner: uuid.UUID | None) -> str | None:
        """Deletes an asset and returns the path of its bytes."""
        row = await self._database.row(SQL["delete_asset"], asset_id, owner)
        return str(row["storage_path"]) if row else None


def _pattern(search: str) -> str:
    """Makes the ILIKE pattern of a text that is to be found as it stands."""
    if not search:
        return ""
    escaped = search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _columns(asset: NewAsset) -> tuple[object, ...]:
    return (
        asset.id,
        asset.user_id,
        asset.category,
        asset.description,
        asset.style,
        asset.source,
        asset.provider,
        asset.model,
        asset.content_type,
        asset.size_bytes,
        asset.sha256,
        asset.storage_path,
        asset.cost_usd,
        json.dumps(asset.metadata),
    )


def _asset(row: Row) -> Asset:
    return Asset(**dict(row))
