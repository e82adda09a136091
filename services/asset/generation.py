"""Making a new asset: what it may cost, who makes it, and that all of it is kept or nothing."""

import asyncio
import hashlib
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from services.asset.blobs import BlobWriter
from services.asset.generators.generator import Charge, GeneratedImage, ImageGenerator, ImageOrder
from services.asset.library import discard
from services.asset.media import MediaType, sniff_image
from services.asset.models import GENERATED, Asset, NewAsset
from services.asset.requests import GenerationRequest, check_generation
from services.asset.spending import Admission, Booking, Spending, State
from services.asset.store import NewAssets
from shared.errors import BadUpstream, DeadlineExceeded, FailedPrecondition, GaiaError, Unavailable
from shared.identity.allowed_models import check_model
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
        blobs: BlobWriter,
        store: NewAssets,
        spending: Spending,
        *,
        timeout: float,
        max_in_flight: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._generators = generators
        self._blobs = blobs
        self._store = store
        self._spending = spending
        self._timeout = timeout
        self._max_in_flight = max_in_flight
        self._clock = clock
        self._in_flight = 0
        self._keeping: set[asyncio.Task[Asset]] = set()

    async def generate(self, caller: Principal, request: GenerationRequest, seconds_left: float | None) -> Generated:
        """Generates an asset and stores it for the caller; of one that fails nothing is kept.

        `seconds_left` is how long the caller waits at most. Raises InvalidArgument, FailedPrecondition for what cannot
        be made or costs too much, Unavailable, what `Spending.admit` raises, and whatever a generator does.
        """
        began = self._clock()
        check_generation(request)
        generator = self._generator_for(request)
        order = _order(request)
        quote = generator.quote(order)
        check_model(caller, generator.provider, quote.model)
        _check_price(quote.about_usd, request.max_cost)
        seconds = self._timeout if seconds_left is None else min(self._timeout, seconds_left - KEEPING_SECONDS)
        if seconds <= 0:
            raise DeadlineExceeded(f"the call leaves no time: it needs more than {KEEPING_SECONDS:g} seconds")
        if self._in_flight >= self._max_in_flight:
            raise Unavailable("too many generations are running; try again", reason="TOO_MANY_CALLS", retry_after=5.0)
        self._in_flight += 1
        try:
            # Money is spent below: not without its being written down, in the place for what it buys.
            admission = await self._spending.admit(caller, generator.provider, quote, seconds + KEEPING_SECONDS)
            run = _Run(self._spending, admission, began, self._clock)
            image = await run.make(generator, order, seconds)
            try:
                media = _check_image(image, request, generator.provider)
            except GaiaError as failure:
                await self._spending.break_off(run.booking(State.FAILED, image, _named(failure)))
                raise
            asset = _new_asset(admission.opening.id, caller, request, generator.provider, image, media)
            kept = await self._keep(asset, image.data, run.booking(State.DONE, image))
        finally:
            self._in_flight -= 1
        return Generated(kept, image.metadata, round((self._clock() - began) * 1000))

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

    async def _keep(self, asset: NewAsset, data: bytes, booking: Booking) -> Asset:
        """Stores what is paid for, whether or not the caller still waits for it."""
        task = asyncio.create_task(self._write(asset, data, booking))
        self._keeping.add(task)
        task.add_done_callback(self._kept)
        return await asyncio.shield(task)

    def _kept(self, task: asyncio.Task[Asset]) -> None:
        self._keeping.discard(task)
        # The caller, where there still is one, gets the error too; looking at it keeps asyncio from reporting it.
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("a generated asset could not be stored", extra={"error": type(error).__name__})

    async def _write(self, asset: NewAsset, data: bytes, booking: Booking) -> Asset:
        try:
            await self._blobs.write(asset.storage_path, data)
        except Exception as failure:
            await discard(self._blobs, asset.storage_path)
            await self._spending.book(_failed(booking, failure))
            raise
        try:
            return await self._store.create_asset(asset, booking)
        except Unavailable:
            self._spending.book_late(booking)
            # The row may be there, its answer lost. Bytes without a row are waste; a row without bytes is broken.
            logger.warning("bytes may be left without an asset", extra={"path": asset.storage_path})
            raise
        except Exception as failure:
            await discard(self._blobs, asset.storage_path)
            await self._spending.book(_failed(booking, failure))
            raise


class _Run:
    """A generation that was admitted: made once, booked once."""

    def __init__(self, spending: Spending, admission: Admission, began: float, clock: Callable[[], float]) -> None:
        self._spending = spending
        self._admission = admission
        self._began = began
        self._clock = clock

    async def make(self, generator: ImageGenerator, order: ImageOrder, seconds: float) -> GeneratedImage:
        """Returns the image, its tokens counted. Raises what the generator does, and has it booked."""
        try:
            image = await generator.generate(order, seconds)
        except GaiaError as failure:
            # Who refuses is not paid. Who was not waited for has made it, for all that is known.
            paid = isinstance(failure, DeadlineExceeded)
            booking = self.booking(State.FAILED, None, _named(failure)) if paid else self._unpaid(failure)
            await self._spending.break_off(booking)
            raise
        except BaseException:
            self._spending.leave(self.booking(State.CANCELLED, None))
            raise
        self._spending.count(self._admission, image.charge)
        return image

    def booking(self, state: State, image: GeneratedImage | None, error: str = "") -> Booking:
        """Returns what is booked of an image, or of one that was ordered and not seen."""
        said = None if image is None else image.charge
        charge: Charge | None = said or self._admission.quote.expected
        return Booking(
            self._admission.opening,
            state,
            charge,
            self._elapsed_ms(),
            is_estimate=said is None,
            is_unknown=charge is None,
            error=error,
        )

    def _unpaid(self, failure: GaiaError) -> Booking:
        return Booking(self._admission.opening, State.FAILED, None, self._elapsed_ms(), error=_named(failure))

    def _elapsed_ms(self) -> int:
        return round((self._clock() - self._began) * 1000)


def _named(failure: Exception) -> str:
    """What the ledger calls a failure."""
    if isinstance(failure, GaiaError):
        return failure.reason or failure.code
    return type(failure).__name__[:64]


def _failed(booking: Booking, failure: Exception) -> Booking:
    """The booking of what was made and could not be kept."""
    return replace(booking, state=State.FAILED, error=_named(failure))


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
    asset_id: uuid.UUID,
    caller: Principal,
    request: GenerationRequest,
    provider: str,
    image: GeneratedImage,
    media: MediaType,
) -> NewAsset:
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
