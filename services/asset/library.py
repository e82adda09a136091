"""Finding, reading and deleting assets: whose they are, and that nobody else's is seen."""

import logging
import uuid
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from services.asset.blobs import BlobMissing, BlobStore, BlobWriter
from services.asset.models import Asset
from services.asset.requests import check_filter
from services.asset.store import Store
from shared.db.paging import Place, page_size, parse_token
from shared.errors import InvalidArgument, NotFound, Unavailable
from shared.identity.principal import Principal

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AssetQuery:
    """Which assets, and which page of them; empty fields as the contract says."""

    category: str
    search: str
    page_size: int
    page_token: str


@dataclass(frozen=True, slots=True)
class AssetPage:
    """A page of assets; `total` counts those of all pages, an empty token says that this is the last one."""

    assets: Sequence[Asset]
    total: int
    next_page_token: str


class AssetLibrary:
    """The assets that are there. A caller with the scope `admin` sees everybody's, any other its own."""

    def __init__(self, store: Store, blobs: BlobStore) -> None:
        self._store = store
        self._blobs = blobs

    async def find(self, caller: Principal, query: AssetQuery) -> AssetPage:
        """Returns a page of assets, the newest first. Raises InvalidArgument with everything that is wrong."""
        size, after = _check_query(query)
        owner = _owner(caller)
        found = await self._store.list_assets(owner, query.category, query.search, after, size + 1)
        total = await self._store.count_assets(owner, query.category, query.search)
        page = found[:size]
        more = len(found) > size
        return AssetPage(page, total, Place(page[-1].created_at, page[-1].id).token() if more else "")

    async def get(self, caller: Principal, asset_id: str) -> Asset:
        """Returns an asset. Raises NotFound, also for one that is not the caller's."""
        asset = await self._store.get_asset(_parse_id(asset_id), _owner(caller))
        if asset is None:
            raise _not_found(asset_id)
        return asset

    async def open(self, caller: Principal, asset_id: str, offset: int = 0) -> tuple[Asset, AsyncGenerator[bytes]]:
        """Returns an asset and its bytes from an offset before their end on, in parts, to be closed.

        The bytes are there when this returns, so that what is wrong is known before the first part is sent. Raises
        NotFound, or Unavailable when the bytes are not what they were.
        """
        asset = await self.get(caller, asset_id)
        try:
            size, parts = await self._blobs.open(asset.storage_path, offset)
        except BlobMissing as error:
            # Either somebody deleted the asset a moment ago, or an operator has to look after the store.
            logger.error("an asset has no bytes", extra={"asset_id": asset_id})
            raise NotFound(f"the bytes of asset {asset_id} are gone", reason="BYTES_MISSING") from error
        if size != asset.size_bytes:
            extra = {"asset_id": asset_id, "expected": asset.size_bytes, "found": size}
            logger.error("an asset's bytes have another size", extra=extra)
            raise Unavailable(f"the bytes of asset {asset_id} are damaged; tell the operator", reason="BYTES_DAMAGED")
        return asset, parts

    async def delete(self, caller: Principal, asset_id: str) -> None:
        """Deletes an asset: its row, then its bytes. Raises NotFound.

        Bytes that cannot be deleted now belong to nobody any more and are only logged.
        """
        path = await self._store.delete_asset(_parse_id(asset_id), _owner(caller))
        if path is None:
            raise _not_found(asset_id)
        await discard(self._blobs, path)


async def discard(blobs: BlobWriter, path: str) -> None:
    """Deletes bytes that no asset refers to; a failure is logged with their path."""
    try:
        await blobs.delete(path)
    except Unavailable:
        logger.warning("bytes without an asset are left", extra={"path": path})


def _owner(caller: Principal) -> uuid.UUID | None:
    return None if caller.is_admin else uuid.UUID(caller.user_id)


def _check_query(query: AssetQuery) -> tuple[int, Place]:
    violations = check_filter(query.category, query.search)
    size, after = 0, None
    try:
        size = page_size(query.page_size)
    except InvalidArgument as error:
        violations += error.violations
    try:
        after = parse_token(query.page_token)
    except InvalidArgument as error:
        violations += error.violations
    if violations or after is None:
        raise InvalidArgument.of(*violations)
    return size, after


def _parse_id(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise _not_found(text) from error


def _not_found(asset_id: str) -> NotFound:
    return NotFound(f"there is no asset {asset_id[:64]}")
