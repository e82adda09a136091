"""What `genai-prices` knows of a model: prices, context window, name."""

import datetime as dt
from dataclasses import dataclass
from decimal import Decimal

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import TieredPrices


@dataclass(frozen=True, slots=True)
class Known:
    """Published facts of a model; prices in USD for a million tokens, the lowest tier's where there are tiers."""

    id: str
    name: str
    description: str
    context_window: int | None
    input_price: Decimal | None
    output_price: Decimal | None


def look_up(
    model: str, now: dt.datetime, *, provider_id: str | None = None, base_url: str | None = None
) -> Known | None:
    """Returns what is known of a model of a provider, named by the library's id or by its address; None for nothing."""
    try:
        _, info = get_snapshot().find_provider_model(model, None, provider_id, base_url)
    except LookupError:
        return None
    prices = info.get_prices(now)
    return Known(
        id=info.id,
        name=info.name or "",
        description=info.description or "",
        context_window=info.context_window,
        input_price=_base(getattr(prices, "input_mtok", None)),
        output_price=_base(getattr(prices, "output_mtok", None)),
    )


def _base(price: Decimal | TieredPrices | None) -> Decimal | None:
    return price.base if isinstance(price, TieredPrices) else price
