"""Prices of images from genai-prices; None wherever they are not known, never a guess."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from genai_prices import Usage, calc_price, extract_usage
from genai_prices.data_snapshot import get_snapshot

from shared.image_tokens import SQUARE, image_tokens

_PRECISION = Decimal("0.000000001")
"""Nine digits, as the column `assets.cost_usd` has."""


def estimate_image(provider: str, model: str, quality: str) -> Decimal | None:
    """Returns about what an image of 1024x1024 will cost in USD; the few tokens of its prompt are left out.

    It serves to refuse what is too dear before it is bought; what is booked comes from the usage in the reply.
    """
    try:
        _, known = get_snapshot().find_provider_model(model, None, provider, None)
        tokens = image_tokens(known.id, quality, SQUARE)
        if tokens is None:
            return None
        usage = Usage(input_tokens=0, output_tokens=tokens, output_image_tokens=tokens)
        return _rounded(calc_price(usage, model, provider_id=provider).total_price)
    except (LookupError, ValueError):
        return None


def price_image(provider: str, model: str, usage: Mapping[str, Any]) -> Decimal | None:
    """Returns what an image cost in USD by the `usage` of the provider's reply, which may be empty."""
    if not usage:
        return None
    try:
        found = extract_usage({"model": model, "usage": usage}, provider_id=provider, api_flavor="images")
        as_text = found.calc_price().total_price
        if usage.get("output_tokens_details"):
            return _rounded(as_text)
        # Without details nobody knows which of the output was image, which text: a price only where both cost the same.
        found.usage.output_image_tokens = found.usage.output_tokens
        as_image = found.calc_price().total_price
    except (LookupError, ValueError):
        return None
    return _rounded(as_image) if as_image == as_text else None


def _rounded(price: Decimal) -> Decimal:
    return price.quantize(_PRECISION)
