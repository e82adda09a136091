"""What a call costs: the prices of a model, compiled so that every call can be priced, and the book of all of them.

Prices are in USD for a million tokens, and every sum is exact.
"""

import bisect
import dataclasses
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import Protocol, Self

from services.chat.turn import Usage

MILLION_DIGITS = 6
"""A million as a power of ten."""

MAX_DIGITS = 20
"""Most digits of a price after its point; published ones have 18 where they come of a division."""

MAX_PRICE = Decimal(1_000_000)
"""Highest price: a dollar a token."""

CACHE_ENTRIES = 10_000
"""Most prices that a book keeps at hand: far more than the models that one installation offers."""

Conditions = tuple[tuple[str, str], ...]
"""What of a request changes its price, in alphabetical order: `(("service_tier", "priority"),)`."""

# Wide enough for any sum of whole tokens at any price, so nothing is ever rounded.
_EXACT = Context(prec=100)
_MILLION_MS_IN_AN_HOUR = Decimal("3.6")
_SMALLEST = Decimal(1).scaleb(-MAX_DIGITS)


@dataclass(frozen=True, slots=True)
class Rates:
    """Prices of the kinds of tokens, USD for a million; None where a kind costs what the wider one does.

    Cached input, cache writes, input audio and images are kinds of input (`cache_write_1h` of cache writes), reasoning,
    output audio and images kinds of output. `characters` and `audio_ms` are for a million characters to be spoken and a
    million milliseconds of sound, `web_searches` and `file_searches` for a million calls of tools that the provider
    runs; None where these are not paid for, or it is not known how. Raises ValueError for a price that is negative or
    no number.
    """

    input: Decimal
    output: Decimal
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    cache_write_1h: Decimal | None = None
    input_audio: Decimal | None = None
    output_audio: Decimal | None = None
    reasoning: Decimal | None = None
    input_image: Decimal | None = None
    output_image: Decimal | None = None
    characters: Decimal | None = None
    audio_ms: Decimal | None = None
    web_searches: Decimal | None = None
    file_searches: Decimal | None = None

    def __post_init__(self) -> None:
        for name, price in self.stated().items():
            _check(name, price)

    def stated(self) -> dict[str, Decimal]:
        """Returns the prices that are stated, by their names."""
        named = ((one.name, getattr(self, one.name)) for one in dataclasses.fields(self))
        return {name: price for name, price in named if price is not None}


@dataclass(frozen=True, slots=True)
class Tier:
    """Prices of the whole call when its input is more than `above` tokens."""

    above: int
    rates: Rates


@dataclass(frozen=True, slots=True)
class _Band:
    """Rates as whole numbers, each resolved; the dearest kind of each direction beside them."""

    input: int
    cached_input: int
    cache_write: int
    cache_write_1h: int
    input_audio: int
    output: int
    output_audio: int
    reasoning: int
    input_image: int
    output_image: int
    characters: int
    audio_ms: int
    web_searches: int
    file_searches: int
    dearest_input: int
    dearest_output: int


@dataclass(frozen=True, slots=True)
class PriceList:
    """The prices of a model at one time: those of the base, of the tiers above it, and for the request itself.

    `source` says where they come from. Raises ValueError where a tier does not lie above the one before it.
    """

    rates: Rates
    tiers: tuple[Tier, ...] = ()
    request: Decimal = Decimal(0)
    source: str = ""
    _starts: tuple[int, ...] = field(init=False, repr=False, compare=False)
    _bands: tuple[_Band, ...] = field(init=False, repr=False, compare=False)
    _request: int = field(init=False, repr=False, compare=False)
    _exponent: int = field(init=False, repr=False, compare=False)
    _json: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check("request", self.request)
        starts = tuple(tier.above for tier in self.tiers)
        if any(later <= earlier for earlier, later in zip((-1, *starts), starts, strict=False)):
            raise ValueError("tiers: each must begin above the one before it")
        all_rates = (self.rates, *(tier.rates for tier in self.tiers))
        stated = [price for rates in all_rates for price in rates.stated().values()]
        # Whole numbers of the smallest part of a dollar that occurs: exact, and faster than decimal fractions.
        digits = max(0, *(_digits(price) for price in stated), _digits(self.request) - MILLION_DIGITS)
        set_field = object.__setattr__
        set_field(self, "_starts", starts)
        set_field(self, "_bands", tuple(_compile(rates, digits) for rates in all_rates))
        set_field(self, "_request", int(self.request.scaleb(digits + MILLION_DIGITS, _EXACT)))
        set_field(self, "_exponent", -(digits + MILLION_DIGITS))
        set_field(self, "_json", self._write())

    def cost(self, usage: Usage) -> Decimal:
        """Returns what a call cost that used so much, in USD.

        Kinds of tokens that add up to more than their direction are each priced as reported; nothing is negative.
        """
        tokens = usage.input_tokens
        band = self._bands[bisect.bisect_left(self._starts, tokens)] if self._starts else self._bands[0]
        cached, written, heard = usage.cached_input_tokens, usage.cache_write_tokens, usage.input_audio_tokens
        thought, said = usage.reasoning_tokens, usage.output_audio_tokens
        seen, drawn = usage.input_image_tokens, usage.output_image_tokens
        total = self._request
        if cached or written or heard or seen:
            written_1h = usage.cache_write_1h_tokens
            total += (
                cached * band.cached_input
                + max(written - written_1h, 0) * band.cache_write
                + written_1h * band.cache_write_1h
                + heard * band.input_audio
                + seen * band.input_image
                + max(tokens - cached - max(written, written_1h) - heard - seen, 0) * band.input
            )
        else:
            total += tokens * band.input
        if thought or said or drawn:
            plain = max(usage.output_tokens - thought - said - drawn, 0)
            total += thought * band.reasoning + said * band.output_audio + drawn * band.output_image
            total += plain * band.output
        else:
            total += usage.output_tokens * band.output
        if usage.characters or usage.audio_ms:
            total += usage.characters * band.characters + usage.audio_ms * band.audio_ms
        if usage.web_searches or usage.file_searches:
            total += usage.web_searches * band.web_searches + usage.file_searches * band.file_searches
        return Decimal(total).scaleb(self._exponent, _EXACT)

    def knows(self, usage: Usage) -> bool:
        """Whether all that was used has a price: some models are paid by the token, some by the character or time."""
        rates = self.rates
        if usage.web_searches or usage.file_searches or usage.unpriced_calls:
            of_the_web = not usage.web_searches or rates.web_searches is not None
            of_files = not usage.file_searches or rates.file_searches is not None
            if usage.unpriced_calls or not (of_the_web and of_files):
                return False
        if (usage.characters and rates.characters is None) or (usage.audio_ms and rates.audio_ms is None):
            return False
        by_another_measure = rates.characters is not None or rates.audio_ms is not None
        return not (usage.total_tokens and by_another_measure and not (rates.input or rates.output))

    def worst(self, input_tokens: int, output_tokens: int) -> Decimal:
        """Returns the most that a call of at most so many tokens can cost, in USD: all of the dearest kind and tier.

        What is paid by another measure comes on top.
        """
        dearest = 0
        for number, band in enumerate(self._bands):
            if number and input_tokens <= self._starts[number - 1]:
                break
            most = min(input_tokens, self._starts[number]) if number < len(self._starts) else input_tokens
            dearest = max(dearest, most * band.dearest_input + output_tokens * band.dearest_output)
        return Decimal(self._request + dearest).scaleb(self._exponent, _EXACT)

    def to_json(self) -> str:
        """Returns the prices as a JSON object, to be kept beside what was charged by them."""
        return self._json

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Reads what `to_json` wrote. Raises ValueError for anything else."""
        try:
            read = json.loads(text)
            tiers = tuple(Tier(int(tier["above"]), _read(tier["rates"])) for tier in read["tiers"])
            return cls(_read(read["rates"]), tiers, Decimal(read["request"]), str(read["source"]))
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise ValueError("this is no price list as it is kept beside a charge") from error

    def _write(self) -> str:
        tiers = [{"above": tier.above, "rates": _written(tier.rates)} for tier in self.tiers]
        document = {
            "rates": _written(self.rates),
            "tiers": tiers,
            "request": str(self.request),
            "source": self.source,
        }
        return json.dumps(document, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Published:
    """Prices as somebody publishes them, None where they are not known, and until when they hold (None: for good)."""

    prices: PriceList | None
    until: dt.datetime | None = None


class Publisher(Protocol):
    """Says what a provider's models cost."""

    def __call__(self, model: str, now: dt.datetime, conditions: Conditions, /) -> Published:
        """Returns the prices of a model at a time."""


@dataclass(frozen=True, slots=True)
class Override:
    """Prices that the operator states for a model, from a time on, whatever is published."""

    effective_from: dt.datetime
    prices: PriceList


class PriceBook:
    """The prices of all models of all providers, at any time.

    `publishers` are by the provider's id; `overrides` by the ids of the provider and the model, in any order.
    """

    def __init__(
        self,
        publishers: Mapping[str, Publisher],
        overrides: Mapping[tuple[str, str], Sequence[Override]] | None = None,
    ) -> None:
        self._publishers = dict(publishers)
        self._overrides = {
            model: sorted(stated, key=lambda one: one.effective_from) for model, stated in (overrides or {}).items()
        }
        self._kept: dict[tuple[str, str, Conditions], tuple[dt.datetime, Published]] = {}

    def take(self, other: "PriceBook") -> None:
        """Says what another book says from now on."""
        vars(self).update(vars(other))

    def at(self, provider: str, model: str, now: dt.datetime, conditions: Conditions = ()) -> PriceList | None:
        """Returns what a model costs at a time that knows its zone, None where nobody knows."""
        key = (provider, model, conditions)
        kept = self._kept.get(key)
        if kept is not None:
            since, published = kept
            if since <= now and (published.until is None or now < published.until):
                return published.prices
        published = self._look_up(provider, model, now, conditions)
        if len(self._kept) >= CACHE_ENTRIES:
            self._kept.clear()
        self._kept[key] = (now, published)
        return published.prices

    def _look_up(self, provider: str, model: str, now: dt.datetime, conditions: Conditions) -> Published:
        stated = self._overrides.get((provider, model), [])
        begun = bisect.bisect_right(stated, now, key=lambda one: one.effective_from)
        next_stated = stated[begun].effective_from if begun < len(stated) else None
        if begun:
            return Published(stated[begun - 1].prices, next_stated)
        publisher = self._publishers.get(provider)
        published = Published(None) if publisher is None else publisher(model, now, conditions)
        ends = [end for end in (published.until, next_stated) if end is not None]
        return Published(published.prices, min(ends, default=None))


def for_a_million_ms(hour: Decimal) -> Decimal:
    """Returns the price of a million milliseconds, of that of an hour.

    Where it has no end it is rounded, to a part of a dollar that no call reaches.
    """
    return (hour / _MILLION_MS_IN_AN_HOUR).quantize(_SMALLEST).normalize()


def _compile(rates: Rates, digits: int) -> _Band:
    def whole(price: Decimal) -> int:
        return int(price.scaleb(digits, _EXACT))

    def resolved(price: Decimal | None, wider: int) -> int:
        return wider if price is None else whole(price)

    plain_input, plain_output = whole(rates.input), whole(rates.output)
    cache_write = resolved(rates.cache_write, plain_input)
    kinds = {
        "cached_input": resolved(rates.cached_input, plain_input),
        "cache_write": cache_write,
        "cache_write_1h": resolved(rates.cache_write_1h, cache_write),
        "input_audio": resolved(rates.input_audio, plain_input),
        "input_image": resolved(rates.input_image, plain_input),
    }
    spoken = {
        "output_audio": resolved(rates.output_audio, plain_output),
        "reasoning": resolved(rates.reasoning, plain_output),
        "output_image": resolved(rates.output_image, plain_output),
    }
    return _Band(
        input=plain_input,
        output=plain_output,
        characters=resolved(rates.characters, 0),
        audio_ms=resolved(rates.audio_ms, 0),
        web_searches=resolved(rates.web_searches, 0),
        file_searches=resolved(rates.file_searches, 0),
        dearest_input=max(plain_input, *kinds.values()),
        dearest_output=max(plain_output, *spoken.values()),
        **kinds,
        **spoken,
    )


def _digits(price: Decimal) -> int:
    """Returns how many digits a finite number has after its point."""
    exponent = price.as_tuple().exponent
    assert isinstance(exponent, int)
    return max(0, -exponent)


def _check(name: str, price: Decimal) -> None:
    if not price.is_finite() or not 0 <= price <= MAX_PRICE or _digits(price) > MAX_DIGITS:
        raise ValueError(
            f"{name}: a price must be a number of USD from 0 to {MAX_PRICE}, with {MAX_DIGITS} digits after its point"
        )


def _written(rates: Rates) -> dict[str, str]:
    return {name: str(price) for name, price in rates.stated().items()}


def _read(stated: Mapping[str, str]) -> Rates:
    return Rates(**{name: Decimal(price) for name, price in stated.items()})


FREE = PriceList(Rates(Decimal(0), Decimal(0)), source="free")
"""What nobody charges for."""


def free(_model: str, _now: dt.datetime, _conditions: Conditions) -> Published:
    """Publishes that nothing costs anything."""
    return Published(FREE)
