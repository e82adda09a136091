"""Assets, as the domain knows them."""

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

CATEGORIES = ("environment", "character", "prop", "audio", "texture", "animation", "image")
"""Every category that an asset can be of."""
GENERATED = "generated"
"""Source of an asset that a provider made."""


@dataclass(frozen=True, slots=True)
class NewAsset:
    """An asset about to be stored; its bytes are already.

    `sha256` is in hexadecimal, `storage_path` relative to the byte store, `cost_usd` None when not known. `metadata`
    is what the provider said of the result, as JSON.
    """

    id: uuid.UUID
    user_id: uuid.UUID
    category: str
    description: str
    style: str
    source: str
    provider: str
    model: str
    content_type: str
    size_bytes: int
    sha256: str
    storage_path: str
    cost_usd: Decimal | None
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asset:
    """An asset that is stored. Fields as in `NewAsset`."""

    id: uuid.UUID
    user_id: uuid.UUID
    category: str
    description: str
    style: str
    source: str
    provider: str
    model: str
    content_type: str
    size_bytes: int
    sha256: str
    storage_path: str
    cost_usd: Decimal | None
    created_at: dt.datetime
