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
class Charge:
    """What an image used, and what that costs in USD.

    `usage` are tokens by their kinds, with those of images among `input_tokens` and `output_tokens`. `prices` are those
    that the cost was computed from, as the ledger keeps them. Both prices and cost are None where they are not known.
    """

    usage: Mapping[str, int]
    prices: Mapping[str, Any] | None
    cost_usd: Decimal | None

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.usage.get("input_tokens", 0) + self.usage.get("output_tokens", 0)


@dataclass(frozen=True, slots=True)
class Quote:
    """What is known of an order before it is placed.

    `model` is the one that will make it. `about_usd` is what the image alone costs, `most_usd` what nothing of the
    order can cost more than, None where that is not known; `expected` is what is booked where the provider does not
    say what was used, None where nobody knows.
    """

    model: str
    tokens: int
    about_usd: Decimal | None = None
    most_usd: Decimal | None = None
    expected: Charge | None = None


@dataclass(frozen=True, slots=True)
class GeneratedImage:
    """An image as a provider made it. `charge` is None where the provider did not say; `metadata` is JSON."""

    data: bytes
    model: str
    charge: Charge | None
    metadata: Mapping[str, Any]

    @property
    def cost_usd(self) -> Decimal | None:
        """What it cost, None when not known."""
        return None if self.charge is None else self.charge.cost_usd


class ImageGenerator(Protocol):
    """Makes images. Errors carry no key and no header of the provider's."""

    @property
    def provider(self) -> str:
        """Id of the provider."""

    def quote(self, order: ImageOrder) -> Quote:
        """Returns what is known of an order; spends nothing.

        Raises Unavailable when the provider is not configured.
        """

    async def generate(self, order: ImageOrder, seconds: float) -> GeneratedImage:
        """Makes an image within the time given.

        Raises InvalidArgument for what the provider refuses, NotFound for a model it has not, ResourceExhausted,
        Unavailable, DeadlineExceeded (reason PROVIDER_TIMEOUT), BadUpstream for an answer that is none.
        """
