"""Making a new asset: what it may cost, who makes it, and that all of it is kept or nothing."""

import asyncio
import hashlib
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from services.asset.blobs import BlobStore
from services.asset.generators.generator import GeneratedImage, ImageGenerator, ImageOrder
from services.asset.library import discard
from services.asset.media import MediaType, sniff_image
from services.asset.models import GENERATED, Asset, NewAsset
from services.asset.requests import GenerationRequest, check_generation
from services.asset.store import Store
from shared.errors import BadUpstream, DeadlineExceeded, FailedPrecondition, Unavailable
from shared.identity.principal import Principal

logger = logging.getLogger(__name__)

IMAGE_CATEGORIES = ("image", "texture")
"""Categories that a generator of images serves."""
KEEPING_SECONDS = 3.0
"""What is left of a caller's time for storing the result, so that a slow provider is reported as what it is."""
MEGABYTE = 2**20


@dataclass(frozen=True, slots=True)
class Generated:
    """A new asset, what the provider said of it, and the milliseconds from request to stored asset."""

    asset: Asset
    metadata: Mapping[str, Any]
    response_time_ms: int


class AssetGeneration:
    """Generates assets, at most `max_in_flight` at a time.

    `generators` serve the categories they are named for; `timeout` is the longest time a provider gets, in seconds.
    """

    def __init__(
        self,
        generators: Mapping[str, ImageGenerator],
        blobs: BlobStore,
        store: Store,
        *,
        timeout: float,
        max_in_flight: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._generators = generators
        self._blobs = blobs
        self._store = store
        self._timeout = timeout
        self._max_in_flight = max_in_flight
        self._clock = clock
        self._in_flight = 0
        self._keeping: set[asyncio.Task[Asset]] = set()

    async def generate(self, caller: Principal, request: GenerationRequest, seconds_left: float | None) -> Generated:
        """Generates an asset and stores it for the caller; of one that fails nothing is kept.

        `seconds_left` is how long the caller waits at most. Raises InvalidArgument, FailedPrecondition for what cannot
        be made or costs too much, Unavailable, and whatever a generator raises.
        """
        began = self._clock()
        check_generation(request)
        generator = self._generator_for(request)
        order = _order(request)
        _check_price(generator.estimate(order), request.max_cost)
        seconds = self._timeout if seconds_left is None else min(self._timeout, seconds_left - KEEPING_SECONDS)
        if seconds <= 0:
            raise DeadlineExceeded(f"the call leaves no time: it needs more than {KEEPING_SECONDS:g} seconds")
        if self._in_flight >= self._max_in_flight:
            raise Unavailable("too many generations are running; try again", reason="TOO_MANY_CALLS", retry_after=5.0)
        self._in_flight += 1
        try:
            # Money is spent below: not without a place for what it buys.
            await self._store.ping()
            image = await generator.generate(order, seconds)
            media = _check_image(image, request, generator.provider)
            asset = await self._keep(_new_asset(caller, request, generator.provider, image, media), image.data)
        finally:
            self._in_flight -= 1
        return Generated(asset, image.metadata, round((self._clock() - began) * 1000))

    async def drain(self) -> None:
        """Returns when no result is being stored any more."""
        if self._keeping:
            await asyncio.wait(self._keeping)

    def _generator_for(self, request: GenerationRequest) -> ImageGenerator:
        if not request.allow_generation:
            raise FailedPrecondition(
                "preferences.allow_generation is false, and assets are only had by generating them; set it to true",
                reason="GENERATION_NOT_ALLOWED",
            )
        generator = self._generators.get(request.category)
        if generator is None:
            served = " or ".join(sorted(self._generators))
            raise FailedPrecondition(
                f"category: no configured provider makes {request.category}; ask for {served}",
                reason="CATEGORY_NOT_SERVED",
                metadata={"category": request.category},
            )
        return generator

    async def _keep(self, asset: NewAsset, data: bytes) -> Asset:
        """Stores what is paid for, whether or not the caller still waits for it."""
        task = asyncio.create_task(self._write(asset, data))
        self._keeping.add(task)
        task.add_done_callback(self._kept)
        return await asyncio.shield(task)

    def _kept(self, task: asyncio.Task[Asset]) -> None:
        self._keeping.discard(task)
        # The caller, where there still is one, gets the error too; looking at it keeps asyncio from reporting it.
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("a generated asset could not be stored", extra={"error": type(error).__name__})

    async def _write(self, asset: NewAsset, data: bytes) -> Asset:
        try:
            await self._blobs.write(asset.storage_path, data)
        except Exception:
            await discard(self._blobs, asset.storage_path)
            raise
        try:
            return await self._store.create_asset(asset)
        except Unavailable:
            # The row may be there, its answer lost. Bytes without a row are waste; a row without bytes is broken.
            logger.warning("bytes may be left without an asset", extra={"path": asset.storage_path})
            raise
        except Exception:
            await discard(self._blobs, asset.storage_path)
            raise


def _order(request: GenerationRequest) -> ImageOrder:
    subject = request.description.strip()
    if request.category == "texture":
        subject = f"A flat texture without seams, to be tiled in both directions: {subject}"
    style = request.style.strip()
    prompt = f"{subject}\nStyle: {style}" if style else subject
    return ImageOrder(prompt, request.model, request.quality, request.file_format)


def _check_price(estimate: Decimal | None, max_cost: float) -> None:
    """Raises FailedPrecondition for a price above the limit; one that is not known is not held against it."""
    limit = Decimal(str(max_cost))
    if estimate is not None and estimate > limit:
        raise FailedPrecondition(
            f"preferences.max_cost is {limit.normalize():f} USD, and this costs about {estimate.normalize():f} USD;"
            " allow more, or ask for a lower quality or another model",
            reason="COST_ABOVE_LIMIT",
            metadata={"estimate_usd": f"{estimate.normalize():f}"},
        )


def _check_image(image: GeneratedImage, request: GenerationRequest, provider: str) -> MediaType:
    """Returns what the image is. Raises BadUpstream or FailedPrecondition when it is not what was asked for."""
    media = sniff_image(image.data)
    if media is None:
        raise BadUpstream(f"{provider} answered bytes that are no image", metadata={"provider": provider})
    if request.file_format and media.file_format != request.file_format:
        raise BadUpstream(
            f"{provider} answered {media.file_format} where {request.file_format} was asked for",
            metadata={"provider": provider},
        )
    size_mb = len(image.data) / MEGABYTE
    if request.file_size_max_mb and size_mb > request.file_size_max_mb:
        raise FailedPrecondition(
            f"requirements.file_size_max_mb is {request.file_size_max_mb:g}, and the result has {size_mb:.2f} MB;"
            " allow more, or ask for jpeg, webp or a lower quality",
            reason="ASSET_TOO_LARGE",
        )
    return media


def _new_asset(
    caller: Principal, request: GenerationRequest, provider: str, image: GeneratedImage, media: MediaType
) -> NewAsset:
    asset_id = uuid.uuid4()
    return NewAsset(
        id=asset_id,
        user_id=uuid.UUID(caller.user_id),
        category=request.category,
        description=request.description,
        style=request.style,
        source=GENERATED,
        provider=provider,
        model=image.model,
        content_type=media.content_type,
        size_bytes=len(image.data),
        sha256=hashlib.sha256(image.data).hexdigest(),
        storage_path=f"assets/{caller.user_id}/{asset_id}.{media.extension}",
        cost_usd=image.cost_usd,
        metadata=image.metadata,
    )
