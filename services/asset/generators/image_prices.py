"""Prices of images from genai-prices; None wherever they are not known, never a guess."""

import datetime as dt
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from genai_prices.data_snapshot import get_snapshot

from services.asset.generators.generator import Charge, Quote
from shared.image_tokens import SQUARE, image_tokens

BYTES_PER_TOKEN = 3
"""Fewer than any tokenizer needs for prose, so that an estimate is rather too high."""
MOST_OVERHEAD = 1_000
"""More tokens than a provider adds to a description."""
MOST_WORDS = 2_000
"""Tokens that a model may write beside an image, planning it; as chat has it for the same models."""
_MILLION = 1_000_000

# Kinds of tokens in the ledger's price lists, and what genai-prices calls their prices.
_KINDS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "input_image": "input_image_mtok",
    "output_image": "output_image_mtok",
}


@dataclass(frozen=True, slots=True)
class ImagePrices:
    """Prices of a model's tokens in USD for a million, by their kinds. Images cost what text does unless stated."""

    rates: Mapping[str, Decimal]

    @property
    def tells_apart(self) -> bool:
        """Whether text that is written beside an image has another price than the image."""
        return self.rates.get("output_image", self.rates["output"]) != self.rates["output"]

    def cost(self, usage: Mapping[str, int]) -> Decimal:
        """Returns what so many tokens cost, exactly."""
        total = Decimal(0)
        for direction in ("input", "output"):
            text = self.rates[direction]
            images = usage.get(f"{direction}_image_tokens", 0)
            total += max(usage.get(f"{direction}_tokens", 0) - images, 0) * text
            total += images * self.rates.get(f"{direction}_image", text)
        return total / _MILLION

    def as_json(self) -> Mapping[str, Any]:
        """Returns the prices as the ledger keeps them beside what was charged by them."""
        return {
            "rates": {kind: str(price) for kind, price in self.rates.items()},
            "tiers": [],
            "request": "0",
            "source": f"genai-prices {importlib.metadata.version('genai-prices')}",
        }


def prices_of(provider: str, model: str) -> ImagePrices | None:
    """Returns what a model's tokens cost now; None where that is not known, or depends on more than their number."""
    try:
        _, known = get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return None
    prices = known.get_prices(dt.datetime.now(dt.UTC))
    stated = {kind: getattr(prices, name, None) for kind, name in _KINDS.items()}
    rates = {kind: price for kind, price in stated.items() if isinstance(price, Decimal)}
    if {"input", "output"} <= rates.keys() and all(price is None or kind in rates for kind, price in stated.items()):
        return ImagePrices(rates)
    return None


def quote_image(provider: str, model: str, quality: str, prompt: str) -> Quote:
    """Returns what is known of an image of 1024x1024 before it is made.

    `about_usd` leaves out the few tokens of the prompt; `most_usd` counts a token for each byte of it.
    """
    size = len(prompt.encode())
    asked = -(-size // BYTES_PER_TOKEN)
    drawn = _image_tokens(provider, model, quality)
    prices = prices_of(provider, model)
    if drawn is None or prices is None:
        return Quote(model, asked + (drawn or 0))
    most = _usage(size + MOST_OVERHEAD, drawn + MOST_WORDS, drawn)
    return Quote(
        model,
        asked + drawn,
        about_usd=prices.cost(_usage(0, drawn, drawn)),
        most_usd=prices.cost(most),
        expected=_charge(prices, _usage(asked, drawn, drawn)),
    )


def charge_of(provider: str, model: str, usage: Mapping[str, Any]) -> Charge | None:
    """Returns what an image cost by the `usage` of the provider's reply; None where the reply has none."""
    if "output_tokens" not in usage:
        return None
    prices = prices_of(provider, model)
    heard, drawn = usage.get("input_tokens_details") or {}, usage.get("output_tokens_details")
    output = int(usage["output_tokens"])
    found = _usage(int(usage.get("input_tokens", 0)), output, output)
    if seen := heard.get("image_tokens"):
        found["input_image_tokens"] = int(seen)
    if drawn is not None:
        found["output_image_tokens"] = int(drawn.get("image_tokens") or 0)
    elif prices is not None and prices.tells_apart:
        # Nobody knows which of the output was image, which text.
        return Charge(found, None, None)
    return Charge(found, None, None) if prices is None else _charge(prices, found)


def _charge(prices: ImagePrices, usage: Mapping[str, int]) -> Charge:
    return Charge(usage, prices.as_json(), prices.cost(usage))


def _usage(input_tokens: int, output_tokens: int, output_image_tokens: int) -> dict[str, int]:
    return {
        "input_tokens": input_tokens,
        "output_tokens": output_tokens,
        "output_image_tokens": output_image_tokens,
    }


def _image_tokens(provider: str, model: str, quality: str) -> int | None:
    try:
        _, known = get_snapshot().find_provider_model(model, None, provider, None)
    except LookupError:
        return None
    return image_tokens(known.id, quality, SQUARE)
