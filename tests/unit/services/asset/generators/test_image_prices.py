"""Prices of images."""

from decimal import Decimal
from typing import Any

import pytest

from services.asset.generators.image_prices import MOST_OVERHEAD, MOST_WORDS, charge_of, quote_image


def usage(text: int, image: int, **more: Any) -> dict[str, Any]:
    return {
        "input_tokens": 20,
        "input_tokens_details": {"text_tokens": 20, "image_tokens": 0},
        "output_tokens": text + image,
        "output_tokens_details": {"text_tokens": text, "image_tokens": image},
        **more,
    }


def cost(model: str, used: dict[str, Any]) -> Decimal | None:
    charge = charge_of("openai", model, used)
    return None if charge is None else charge.cost_usd


def about(model: str, quality: str) -> Decimal | None:
    return quote_image("openai", model, quality, "a cat").about_usd


def test_image_and_text_tokens_are_priced_apart() -> None:
    # 20 at 5, 100 at 10 and 1056 at 32 USD a million.
    assert cost("gpt-image-1.5", usage(100, 1056)) == Decimal("0.034892")


def test_images_that_are_read_have_a_price_of_their_own() -> None:
    details = {"text_tokens": 5, "image_tokens": 15}
    # 5 at 5, 15 at 8 and 439 at 30 USD a million.
    assert cost("gpt-image-2", usage(0, 439, input_tokens_details=details)) == Decimal("0.013315")


def test_output_without_details_is_priced_where_text_and_image_cost_the_same() -> None:
    bare = usage(0, 439)
    del bare["output_tokens_details"]
    assert cost("gpt-image-2.5-flare", bare) == Decimal("0.01327")
    charge = charge_of("openai", "gpt-image-1.5", bare)
    assert charge is not None
    assert (charge.cost_usd, charge.prices, charge.tokens) == (None, None, 459)


@pytest.mark.parametrize("model", ["dall-e-3", "stable-diffusion", "gpt-image-99"])
def test_the_price_of_an_unknown_model_is_unknown_and_its_tokens_are_not(model: str) -> None:
    charge = charge_of("openai", model, usage(0, 439))
    assert charge is not None
    assert (charge.cost_usd, charge.prices, charge.tokens) == (None, None, 459)
    quote = quote_image("openai", model, "low", "a cat")
    assert (quote.about_usd, quote.most_usd, quote.expected) == (None, None, None)


def test_without_usage_there_is_no_charge() -> None:
    assert charge_of("openai", "gpt-image-2", {}) is None
    assert charge_of("openai", "gpt-image-2", {"input_tokens": 1}) is None


@pytest.mark.parametrize(
    ("model", "quality", "price"),
    [
        ("gpt-image-2", "low", "0.00588"),
        ("gpt-image-2", "high", "0.21072"),
        ("gpt-image-2.5-flare", "medium", "0.01317"),
        ("gpt-image-2.5-flare-2026-09-08", "medium", "0.01317"),
        ("gpt-image-1.5", "high", "0.13312"),
    ],
)
def test_an_estimate_is_the_image_tokens_of_a_quality_at_todays_price(model: str, quality: str, price: str) -> None:
    assert about(model, quality) == Decimal(price)


def test_a_model_whose_tokens_are_not_published_has_no_estimate() -> None:
    assert about("gpt-image-1-mini", "low") is None
    assert about("gpt-5", "low") is None


@pytest.mark.parametrize(("model", "text"), [("gpt-image-2.5-flare", 30), ("gpt-image-1.5", 10)])
def test_the_most_that_an_image_costs_counts_every_byte_and_what_else_may_be_written(model: str, text: int) -> None:
    prompt = "кот" * 100
    quote = quote_image("openai", model, "medium", prompt)
    assert quote.about_usd is not None
    overhead = Decimal(5 * (600 + MOST_OVERHEAD) + text * MOST_WORDS) / 1_000_000
    assert quote.most_usd == quote.about_usd + overhead


def test_what_is_expected_is_the_image_and_its_prompt() -> None:
    quote = quote_image("openai", "gpt-image-2.5-flare", "medium", "a cat on a wall")
    assert quote.tokens == 5 + 439
    assert quote.expected is not None
    assert quote.expected.tokens == quote.tokens
    assert quote.about_usd is not None
    assert quote.expected.cost_usd == quote.about_usd + Decimal("0.000025")
