"""What calls cost."""

import datetime as dt
from decimal import Decimal

import pytest

from services.chat.pricing import FREE, Override, PriceBook, PriceList, Published, Rates, Tier, for_a_million_ms, free
from services.chat.turn import Usage

NOW = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)

FULL = Rates(
    input=Decimal(3),
    output=Decimal(15),
    cached_input=Decimal("0.3"),
    cache_write=Decimal("3.75"),
    cache_write_1h=Decimal(6),
    input_audio=Decimal(32),
    output_audio=Decimal(64),
    reasoning=Decimal(20),
)


def flat(price):
    return PriceList(Rates(Decimal(price), Decimal(price)))


def test_each_kind_of_token_has_its_price():
    usage = Usage(
        input_tokens=1_000_000,
        output_tokens=100_000,
        cached_input_tokens=200_000,
        cache_write_tokens=300_000,
        cache_write_1h_tokens=100_000,
        input_audio_tokens=50_000,
        output_audio_tokens=10_000,
        reasoning_tokens=40_000,
    )
    read = Decimal("0.3") / 5 + Decimal("3.75") / 5 + Decimal(6) / 10 + Decimal(32) / 20 + Decimal(3) * 45 / 100
    written = Decimal(64) / 100 + Decimal(20) * 4 / 100 + Decimal(15) * 5 / 100
    assert PriceList(FULL).cost(usage) == read + written


def test_a_kind_without_a_price_costs_what_the_wider_one_does():
    plain = PriceList(Rates(Decimal(2), Decimal(8)))
    usage = Usage(100, 50, 30, 10, 20, 5, 25, 15)
    assert plain.cost(usage) == plain.cost(Usage(100, 50)) == Decimal("0.0006")
    short = PriceList(Rates(Decimal(2), Decimal(8), cache_write=Decimal(3)))
    kept = Usage(input_tokens=10, cache_write_tokens=10, cache_write_1h_tokens=10)
    assert short.cost(kept) == Decimal("0.00003")


def test_a_call_is_priced_whole_by_the_tier_it_reaches():
    tiered = PriceList(Rates(Decimal(1), Decimal(2)), (Tier(200_000, Rates(Decimal(2), Decimal(3))),))
    assert tiered.cost(Usage(200_000, 1_000_000)) == Decimal("2.2")
    assert tiered.cost(Usage(200_001, 1_000_000)) == Decimal("3.400002")


def test_nothing_is_rounded():
    prices = PriceList(Rates(Decimal("0.000000000001"), Decimal("999999.999999999999")), request=Decimal("0.005"))
    assert str(prices.cost(Usage(1, 10**15))) == "1000000000000000.004000000000000001"


def test_a_report_that_adds_up_to_more_than_there_is_never_makes_a_call_cheaper():
    prices = PriceList(FULL)
    odd = Usage(input_tokens=10, cached_input_tokens=8, cache_write_tokens=8, cache_write_1h_tokens=9)
    assert prices.cost(odd) >= prices.cost(Usage(input_tokens=10, cached_input_tokens=10))
    assert prices.cost(Usage(output_tokens=5, reasoning_tokens=9)) == Decimal(20) * 9 / 10**6


def test_the_worst_is_all_of_the_dearest_kind_and_tier():
    prices = PriceList(FULL, (Tier(1000, FULL), Tier(2000, Rates(Decimal(100), Decimal(1)))), request=Decimal("0.5"))
    assert prices.worst(0, 0) == Decimal("0.5")
    assert prices.worst(1000, 10) == Decimal("0.5") + Decimal(32_000 + 640) / 10**6
    assert prices.worst(2001, 10) == Decimal("0.5") + Decimal(200_100 + 10) / 10**6
    # A tier may also be cheaper; then a smaller call is the dearest one.
    falling = PriceList(Rates(Decimal(10), Decimal(10)), (Tier(100, Rates(Decimal(1), Decimal(1))),))
    assert falling.worst(200, 0) == Decimal(1000) / 10**6


def test_prices_are_kept_as_json_and_read_again():
    prices = PriceList(FULL, (Tier(10, Rates(Decimal("1.10"), Decimal(2))),), Decimal("0.005"), "here")
    again = PriceList.from_json(prices.to_json())
    assert again == prices
    assert again.to_json() == prices.to_json()
    assert PriceList.from_json(FREE.to_json()).worst(10**6, 10**6) == 0


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"rates":{},"tiers":[],"request":"0","source":""}', '{"rates":{"input":"x"}}']
)
def test_what_is_no_price_list_is_refused(text):
    with pytest.raises(ValueError, match="no price list"):
        PriceList.from_json(text)


@pytest.mark.parametrize("price", ["-1", "NaN", "Infinity", "1e-21", "1000001"])
def test_what_is_no_price_is_refused(price):
    with pytest.raises(ValueError, match="a price must be"):
        Rates(Decimal(price), Decimal(1))


def test_tiers_must_rise():
    tier = Tier(10, Rates(Decimal(1), Decimal(1)))
    with pytest.raises(ValueError, match="tiers"):
        PriceList(tier.rates, (tier, tier))


class Published3Days:
    """A provider that changes its price every day."""

    def __init__(self):
        self.asked = 0

    def __call__(self, model, now, conditions):
        self.asked += 1
        if model != "known":
            return Published(None)
        day = (now - NOW).days
        return Published(flat(day + 1 + 10 * len(conditions)), NOW + (day + 1) * DAY)


def test_a_book_asks_again_when_a_price_ends_and_for_the_past():
    publisher = Published3Days()
    book = PriceBook({"someone": publisher})
    assert [book.at("someone", "known", NOW + DAY * part / 4) for part in range(8)] == [flat(1)] * 4 + [flat(2)] * 4
    assert publisher.asked == 2
    assert book.at("someone", "known", NOW) == flat(1)
    assert book.at("someone", "known", NOW, (("speed", "fast"),)) == flat(11)


def test_what_nobody_knows_has_no_price():
    book = PriceBook({"someone": Published3Days(), "local": free})
    assert book.at("someone", "unknown", NOW) is None
    assert book.at("nobody", "known", NOW) is None
    assert book.at("local", "any", NOW).cost(Usage(5, 5)) == 0


def test_the_operators_prices_hold_from_their_day_on():
    stated = [Override(NOW + 3 * DAY, flat(300)), Override(NOW + DAY / 2, flat(200))]
    book = PriceBook({"someone": Published3Days()}, {("someone", "known"): stated, ("else", "own"): stated[:1]})
    days = [book.at("someone", "known", NOW + DAY * part / 2) for part in range(8)]
    assert days == [flat(1), *[flat(200)] * 5, *[flat(300)] * 2]
    assert book.at("else", "own", NOW + 2 * DAY) is None
    assert book.at("else", "own", NOW + 3 * DAY) == flat(300)


class TestOtherMeasures:
    SPOKEN = PriceList(Rates(Decimal(0), Decimal(0), characters=Decimal(15)))
    LISTENED = PriceList(Rates(Decimal(0), Decimal(0), audio_ms=for_a_million_ms(Decimal("0.36"))))

    def test_characters_and_time_cost_what_they_do(self):
        assert self.SPOKEN.cost(Usage(characters=1000)) == Decimal("0.015")
        assert self.LISTENED.cost(Usage(audio_ms=3_600_000)) == Decimal("0.36")

    def test_images_are_kinds_of_input_and_output(self):
        prices = PriceList(Rates(Decimal(1), Decimal(2), input_image=Decimal(3), output_image=Decimal(4)))
        usage = Usage(1_000_000, 1_000_000, input_image_tokens=500_000, output_image_tokens=250_000)
        assert prices.cost(usage) == Decimal("0.5") + Decimal("1.5") + Decimal("1.5") + 1
        assert PriceList.from_json(prices.to_json()).cost(usage) == prices.cost(usage)

    def test_what_has_no_price_by_its_measure_is_known_to_have_none(self):
        assert self.SPOKEN.knows(Usage(characters=1))
        assert not self.SPOKEN.knows(Usage(1, 1))
        assert not self.SPOKEN.knows(Usage(audio_ms=1))
        assert not flat(1).knows(Usage(characters=1))
        assert flat(1).knows(Usage(1, 1))
        assert FREE.knows(Usage(1, 1))

    def test_a_price_without_an_end_is_rounded_where_nobody_sees_it(self):
        prices = PriceList(Rates(Decimal(0), Decimal(0), audio_ms=for_a_million_ms(Decimal(1))))
        assert abs(prices.cost(Usage(audio_ms=3_600_000)) - 1) < Decimal("1e-18")
