"""Prices of images."""

from decimal import Decimal
from typing import Any

import pytest

from services.asset.generators.image_prices import estimate_image, price_image


def usage(text: int, image: int, **more: Any) -> dict[str, Any]:
    return {
        "input_tokens": 20,
        "input_tokens_details": {"text_tokens": 20, "image_tokens": 0},
        "output_tokens": text + image,
        "output_tokens_details": {"text_tokens": text, "image_tokens": image},
        **more,
    }


def test_image_and_text_tokens_are_priced_apart() -> None:
    # 20 at 5, 100 at 10 and 1056 at 32 USD a million.
    assert price_image("openai", "gpt-image-1.5", usage(100, 1056)) == Decimal("0.034892")


def test_output_without_details_is_priced_where_text_and_image_cost_the_same() -> None:
    bare = usage(0, 439)
    del bare["output_tokens_details"]
    assert price_image("openai", "gpt-image-2.5-flare", bare) == Decimal("0.01327")
    assert price_image("openai", "gpt-image-1.5", bare) is None


@pytest.mark.parametrize("model", ["dall-e-3", "stable-diffusion", "gpt-image-99"])
def test_the_price_of_an_unknown_model_is_unknown(model: str) -> None:
    assert price_image("openai", model, usage(0, 439)) is None
    assert estimate_image("openai", model, "low") is None


def test_without_usage_there_is_no_price() -> None:
    assert price_image("openai", "gpt-image-2", {}) is None
    assert price_image("openai", "gpt-image-2", {"input_tokens": 1}) is None


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
    assert estimate_image("openai", model, quality) == Decimal(price)


def test_a_model_whose_tokens_are_not_published_has_no_estimate() -> None:
    assert estimate_image("openai", "gpt-image-1-mini", "low") is None
    assert estimate_image("openai", "gpt-5", "low") is None
