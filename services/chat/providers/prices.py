"""What `genai-prices` knows of a model: prices, context window, name."""

import datetime as dt
import importlib.metadata
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelInfo, ModelPrice, StartDateConstraint, TieredPrices, TimeOfDateConstraint

from services.chat.pricing import Conditions, PriceList, Published, Publisher, Rates, Tier, for_a_million_ms

UNCLEAR = dt.timedelta(minutes=1)
"""How long prices are kept that change by a rule which is not known here."""

_KINDS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cached_input": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
    "input_audio": "input_audio_mtok",
    "output_audio": "output_audio_mtok",
    "reasoning": "output_reasoning_mtok",
    "input_image": "input_image_mtok",
    "output_image": "output_image_mtok",
    "characters": "input_mchars",
    "audio_ms": "input_audio_hours",
    "web_searches": "web_searches_kcount",
    "file_searches": "storage_searches_kcount",
}
_CALLS = ("web_searches", "file_searches")
_THOUSAND = 1000
_ONE_COUNTRY = ("inference_geo", "us")
_ONE_COUNTRY_FACTOR = Decimal("1.1")
"""What Anthropic takes for tokens that are to stay in the United States, of the models that may be told to."""


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


def publishes(provider_id: str) -> bool:
    """Whether prices of a provider are published."""
    try:
        get_snapshot().find_provider(None, provider_id, None)
    except LookupError:
        return False
    return True


def publisher(*, provider_id: str | None = None, base_url: str | None = None) -> Publisher:
    """Returns the published prices of a provider, named by the library's id or by its address.

    Known are prices by the token, by the character that is spoken, by the time that is listened to, and by the search
    that the provider makes.
    """
    source = f"genai-prices {importlib.metadata.version('genai-prices')}"

    def published(model: str, now: dt.datetime, conditions: Conditions) -> Published:
        try:
            provider, info = get_snapshot().find_provider_model(model, None, provider_id, base_url)
        except LookupError:
            return Published(None)
        # As the library does: conditions are those of the provider itself, not of one whose models it sells on.
        own = any(info is one for one in provider.models)
        prices = info.get_prices(now, dict(conditions) if own else None)
        factor = _ONE_COUNTRY_FACTOR if provider_id == "anthropic" and _ONE_COUNTRY in conditions else Decimal(1)
        return Published(_compile(prices, source, factor), _next_change(info, now))

    return published


def _compile(prices: ModelPrice, source: str, factor: Decimal) -> PriceList | None:
    stated = {kind: price for kind, name in _KINDS.items() if (price := getattr(prices, name, None)) is not None}
    if not stated.keys() & {"input", "characters", "audio_ms"}:
        return None
    # What is paid by another measure has no price for tokens, and what embeds none for output.
    stated.setdefault("input", Decimal(0))
    stated.setdefault("output", Decimal(0))
    if "audio_ms" in stated:
        stated["audio_ms"] = for_a_million_ms(_at(stated["audio_ms"], 0))
    for kind in _CALLS:
        if kind in stated:
            stated[kind] = _at(stated[kind], 0) * _THOUSAND
    starts = sorted(
        {tier.start for price in stated.values() if isinstance(price, TieredPrices) for tier in price.tiers}
    )
    request = prices.requests_kcount

    def rates(input_tokens: int) -> Rates:
        at = {kind: _at(price, input_tokens) for kind, price in stated.items()}
        return Rates(**{kind: price if kind in _CALLS else price * factor for kind, price in at.items()})

    return PriceList(
        rates=rates(0),
        tiers=tuple(Tier(start, rates(start + 1)) for start in starts),
        request=_at(request, 0) / _THOUSAND if request is not None else Decimal(0),
        source=source,
    )


def _at(price: Decimal | TieredPrices, input_tokens: int) -> Decimal:
    if not isinstance(price, TieredPrices):
        return price
    reached = [tier.price for tier in price.tiers if input_tokens > tier.start]
    return reached[-1] if reached else price.base


def _next_change(info: ModelInfo, now: dt.datetime) -> dt.datetime | None:
    """Returns when a model's prices may be others than now, None for never."""
    priced = info.prices if isinstance(info.prices, list) else []
    constraints = [one.constraint for one in (*priced, *(info.price_variants or ())) if one.constraint is not None]
    return min((change for one in constraints for change in _changes(one, now)), default=None)


def _changes(constraint: object, now: dt.datetime) -> Iterable[dt.datetime]:
    today = now.astimezone(dt.UTC)
    if isinstance(constraint, StartDateConstraint):
        start = dt.datetime.combine(constraint.start_date, dt.time(), dt.UTC)
        return [start] if start > now else []
    if isinstance(constraint, TimeOfDateConstraint):
        return [_next(today, time) for time in (constraint.start_time, constraint.end_time)]
    return [now + UNCLEAR]


def _next(now: dt.datetime, time: dt.time) -> dt.datetime:
    at = dt.datetime.combine(now.date(), time, time.tzinfo or dt.UTC).astimezone(dt.UTC)
    while at <= now:
        at += dt.timedelta(days=1)
    while at - dt.timedelta(days=1) > now:
        at -= dt.timedelta(days=1)
    return at


def _base(price: Decimal | TieredPrices | None) -> Decimal | None:
    return price.base if isinstance(price, TieredPrices) else price
