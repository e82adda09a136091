"""What the operator states of single models: names, prices, and facts that are published wrongly or not at all."""

import datetime as dt
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from services.chat.catalogue import CAPABILITIES
from services.chat.pricing import Override, PriceList, Rates, Tier, for_a_million_ms

BEGINNING = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
"""From when a price holds that has no date."""

SOURCE = "configuration"

Price = Annotated[Decimal, Field(ge=0)]
_THOUSAND = 1000
_CALLS = ("web_searches", "file_searches")
_KINDS = tuple(name for name in Rates.__dataclass_fields__ if name not in ("audio_ms", *_CALLS))


def _day_or_moment(value: Any) -> Any:
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC)
    if isinstance(value, dt.datetime) and value.tzinfo is None:
        return value.replace(tzinfo=dt.UTC)
    return value


class _Rates(BaseModel):
    """USD for a million tokens; what is not stated costs what the wider kind does.

    `characters` is for a million of them that are spoken, `audio_hour` for an hour that is listened to, `web_searches`
    and `file_searches` for a thousand that the provider makes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: Price | None = None
    output: Price | None = None
    cached_input: Price | None = None
    cache_write: Price | None = None
    cache_write_1h: Price | None = None
    input_audio: Price | None = None
    output_audio: Price | None = None
    reasoning: Price | None = None
    input_image: Price | None = None
    output_image: Price | None = None
    characters: Price | None = None
    audio_hour: Price | None = None
    web_searches: Price | None = None
    file_searches: Price | None = None

    def stated(self) -> dict[str, Decimal]:
        """Returns the prices that are stated."""
        stated = {name: price for name in _KINDS if (price := getattr(self, name)) is not None}
        stated |= {name: price * _THOUSAND for name in _CALLS if (price := getattr(self, name)) is not None}
        if self.audio_hour is not None:
            stated["audio_ms"] = for_a_million_ms(self.audio_hour)
        return stated


class TierSettings(_Rates):
    """Prices of a call whose input is longer than `above` tokens; what is not stated costs what it does below."""

    above: int = Field(ge=0)


class PriceSettings(_Rates):
    """Prices from a day or a moment on (UTC where it says no zone)."""

    effective_from: Annotated[dt.datetime, BeforeValidator(_day_or_moment)] = BEGINNING
    input: Price
    output: Price
    per_request: Price = Decimal(0)
    tiers: tuple[TierSettings, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        self.override()
        return self

    def override(self) -> Override:
        """Returns the prices, compiled. Raises ValueError."""
        base = self.stated()
        tiers = tuple(Tier(tier.above, Rates(**(base | tier.stated()))) for tier in self.tiers)
        return Override(self.effective_from, PriceList(Rates(**base), tiers, self.per_request, SOURCE))


class ModelSettings(BaseModel):
    """What is stated of a model; None where what is published holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str | None = Field(default=None, min_length=1, max_length=200)
    description: str | None = Field(default=None, max_length=2000)
    aliases: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = ()
    capabilities: tuple[str, ...] | None = None
    context_window: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    deprecation_date: dt.date | None = None
    prices: tuple[PriceSettings, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        unknown = [one for one in self.capabilities or () if one not in CAPABILITIES]
        if unknown:
            raise ValueError(f"capabilities: there is no {', '.join(unknown)}; there are {', '.join(CAPABILITIES)}")
        moments = [price.effective_from for price in self.prices]
        if len(set(moments)) < len(moments):
            raise ValueError("prices: two of them begin at the same time")
        return self
