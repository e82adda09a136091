"""What a generator of images is."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class ImageOrder:
    """One image to be made. An empty `model` is the generator's own, an empty `file_format` leaves it to the model."""

    prompt: str
    model: str
    quality: str
    file_format: str


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """An image as a provider made it. `cost_usd` is None when not known, `metadata` is JSON."""

    data: bytes
    model: str
    cost_usd: Decimal | None
    metadata: Mapping[str, Any]


class ImageGenerator(Protocol):
    """Makes images. Errors carry no key and no header of the provider's."""

    @property
    def provider(self) -> str:
        """Id of the provider."""

    def estimate(self, order: ImageOrder) -> Decimal | None:
        """Returns about what an image will cost in USD, None when not known; spends nothing.

        Raises Unavailable when the provider is not configured.
        """

    async def generate(self, order: ImageOrder, seconds: float) -> GeneratedImage:
        """Makes an image within the time given.

        Raises InvalidArgument for what the provider refuses, NotFound for a model it has not, ResourceExhausted,
        Unavailable, DeadlineExceeded (reason PROVIDER_TIMEOUT), BadUpstream for an answer that is none.
        """
