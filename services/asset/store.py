"""What the asset service needs of a store of assets, bytes apart."""

import uuid
from collections.abc import Sequence
from typing import Protocol

from services.asset.models import Asset, NewAsset
from services.asset.spending import Booking
from shared.db.paging import Place


class NewAssets(Protocol):
    """Where new assets are kept."""

    async def create_asset(self, asset: NewAsset, booking: Booking) -> Asset:
        """Stores an asset and books what it cost, both or neither.

        Raises NotFound when its user is not there, Unavailable when the store does not answer.
        """


class Store(NewAssets, Protocol):
    """Assets. Every method raises Unavailable when the store does not answer.

    `owner` None means: whoever it belongs to.
    """

    async def ping(self) -> None:
        """Returns when the store answers."""

    async def get_asset(self, asset_id: uuid.UUID, owner: uuid.UUID | None) -> Asset | None:
        """Returns an asset."""

    async def list_assets(
        self, owner: uuid.UUID | None, category: str, search: str, after: Place, limit: int
    ) -> Sequence[Asset]:
        """Returns assets, the newest first. An empty filter filters nothing."""

    async def count_assets(self, owner: uuid.UUID | None, category: str, search: str) -> int:
        """Returns how many assets pass the filters."""

    async def delete_asset(self, asset_id: uuid.UUID, owner: uuid.UUID | None) -> str | None:
        """Deletes an asset and returns the path of its bytes, None when there is no such asset."""
