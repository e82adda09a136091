"""Published prices, held to the library that publishes them."""

import datetime as dt
import random
from dataclasses import replace
from decimal import Decimal

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ModelPrice

from services.chat.pricing import PriceBook
from services.chat.providers.prices import publisher
from services.chat.turn import Usage

NOW = dt.datetime(2026, 11, 1, 12, 30, tzinfo=dt.UTC)

WITHOUT_TOKENS = {
    "gpt-live-1",
    "gpt-live-transcribe",
    "gpt-realtime-translate",
    "gpt-realtime-whisper",
    "moderation",
}
"""OpenAI's models that are priced by the length of a conversation, or not at all."""


def models_of(provider_id):
    [provider] = [provider for provider in get_snapshot().providers if provider.id == provider_id]
    # Models of one's own are named after a dated one.
    own = ("ft:gpt-4o", "ft:gpt-4o-mini")
    return [f"{model.id}-2024-08-06:acme" if model.id in own else model.id for model in provider.models]


def random_usage(chance, stated):
    """A usage whose parts are parts: cached and written input, sound and images of the input, and so on."""
    input_tokens = chance.choice((0, 1, 999, 100_000, 199_999, 200_000, 272_001, chance.randrange(1_000_000)))
    output_tokens = chance.choice((0, 1, 500, chance.randrange(100_000)))
    left = input_tokens
    parts = []
    for _ in range(4):
        part = chance.choice((0, 0, left, chance.randint(0, left)))
        left -= part
        parts.append(part)
    cached, written, heard, seen = parts
    said = chance.choice((0, 0, chance.randint(0, output_tokens)))
    usage = Usage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=chance.choice((0, chance.randint(0, written))) if "cache_write_1h_mtok" in stated else 0,
        input_audio_tokens=heard if "input_audio_mtok" in stated else 0,
        output_audio_tokens=said if "output_audio_mtok" in stated else 0,
        reasoning_tokens=0 if "output_image_mtok" in stated else chance.randint(0, output_tokens - said),
        input_image_tokens=seen if "input_image_mtok" in stated else 0,
        output_image_tokens=chance.randint(0, output_tokens - said) if "output_image_mtok" in stated else 0,
        characters=chance.randrange(10_000) if "input_mchars" in stated else 0,
        audio_ms=chance.randrange(10_000_000) if "input_audio_hours" in stated else 0,
    )
    theirs = genai_prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        cache_write_1h_tokens=usage.cache_write_1h_tokens,
        input_audio_tokens=usage.input_audio_tokens,
        cache_audio_read_tokens=0,
        output_audio_tokens=usage.output_audio_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
        input_image_tokens=usage.input_image_tokens,
        cache_image_read_tokens=0,
        output_image_tokens=usage.output_image_tokens,
        input_characters=usage.characters,
        input_audio_seconds=Decimal(usage.audio_ms) / 1000,
        audio_seconds=Decimal(usage.audio_ms) / 1000,
    )
    return usage, theirs


CONDITIONS = ((), (("service_tier", "priority"),), (("service_tier", "flex"),), (("speed", "fast"),))


@pytest.mark.parametrize("provider_id", ["openai", "anthropic"])
def test_every_call_costs_what_the_library_says(provider_id):
    chance = random.Random(f"prices of {provider_id}")
    book = PriceBook({provider_id: publisher(provider_id=provider_id)})
    times = [dt.datetime(2025, 1, 1, tzinfo=dt.UTC), NOW, dt.datetime(2027, 6, 1, 3, tzinfo=dt.UTC)]
    compared = 0
    for model in models_of(provider_id):
        if model in WITHOUT_TOKENS:
            assert book.at(provider_id, model, NOW) is None
            continue
        for now in times:
            for conditions in CONDITIONS:
                prices = book.at(provider_id, model, now, conditions)
                found = genai_prices.calc_price(
                    genai_prices.Usage(), model, provider_id=provider_id, genai_request_timestamp=now,
                    price_context=dict(conditions),
                )  # fmt: skip
                stated = vars(found.model_price)
                for _ in range(4):
                    ours, theirs = random_usage(chance, stated)
                    assert prices.cost(ours) == found.model_price.calc_price(theirs)["total_price"], (model, ours)
                    tokens = replace(ours, characters=0, audio_ms=0)
                    assert prices.cost(tokens) <= prices.worst(ours.input_tokens, ours.output_tokens)
                    compared += 1
    assert compared > 1000


def test_every_list_of_every_provider_can_be_compiled():
    found = 0
    for provider in get_snapshot().providers:
        published = publisher(provider_id=provider.id)
        for model in provider.models:
            prices = published(model.id, NOW, ()).prices
            found += prices is not None
    assert found > 2000


def test_a_request_that_has_a_price_is_priced():
    prices = publisher(provider_id="perplexity")("sonar", NOW, ()).prices
    assert prices.cost(Usage()) == Decimal("0.012")


def test_a_service_that_costs_more_is_priced_as_it_is():
    published = publisher(provider_id="openai")
    normal, fast = (published("o3", NOW, conditions).prices for conditions in ((), (("service_tier", "priority"),)))
    assert fast.rates.input > normal.rates.input


def test_a_price_holds_until_its_next_change():
    published = publisher(provider_id="deepseek")
    peak = dt.datetime(2026, 11, 1, 3, 59, tzinfo=dt.UTC)
    before = published("deepseek-v4-pro", peak, ())
    assert before.until == dt.datetime(2026, 11, 1, 4, tzinfo=dt.UTC)
    after = published("deepseek-v4-pro", before.until, ())
    assert after.prices != before.prices
    assert after.until == dt.datetime(2026, 11, 1, 6, tzinfo=dt.UTC)


def test_no_price_changes_before_it_is_said_to():
    chance = random.Random("changes")
    for provider in get_snapshot().providers:
        published = publisher(provider_id=provider.id)
        for model in provider.models:
            if isinstance(model.prices, ModelPrice):
                continue
            now = NOW - dt.timedelta(minutes=chance.randrange(60 * 24 * 900))
            told = published(model.id, now, ())
            end = told.until or now + dt.timedelta(days=900)
            for _ in range(5):
                within = now + (end - now) * chance.random()
                assert published(model.id, within, ()).prices == told.prices, (provider.id, model.id, now, within)


def test_what_is_not_published_is_not_known():
    assert publisher(provider_id="openai")("gpt-nobody-knows", NOW, ()).prices is None
    assert publisher(base_url="http://127.0.0.1:9/v1")("gpt-5", NOW, ()).prices is None
    assert publisher(base_url="https://api.groq.com/openai/v1")("llama-3.3-70b-versatile", NOW, ()).prices is not None


def test_tokens_that_stay_in_one_country_cost_a_tenth_more_and_searches_do_not():
    anthropic = publisher(provider_id="anthropic")
    plain = anthropic("claude-opus-4-6", NOW, ()).prices
    there = anthropic("claude-opus-4-6", NOW, (("inference_geo", "us"),)).prices
    assert plain is not None
    assert there is not None
    used = Usage(1_000, 500, cached_input_tokens=300, cache_write_tokens=200)
    assert there.cost(used) == plain.cost(used) * Decimal("1.1")
    assert there.rates.web_searches == plain.rates.web_searches
    elsewhere = publisher(provider_id="openai")("gpt-4o", NOW, (("inference_geo", "us"),)).prices
    assert elsewhere == publisher(provider_id="openai")("gpt-4o", NOW, ()).prices
