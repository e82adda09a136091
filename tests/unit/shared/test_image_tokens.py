"""How many tokens a drawn image takes."""

import pytest

from shared.image_tokens import image_tokens, most_image_tokens


@pytest.mark.parametrize(
    ("model", "quality", "size", "tokens"),
    [
        ("gpt-image-1.5", "low", "1024x1024", 272),
        ("gpt-image-1.5", "high", "1024x1536", 6240),
        ("gpt-image-2", "low", "1024x1024", 196),
        ("gpt-image-2", "high", "1024x1024", 7024),
        ("gpt-image-2-2026-04-21", "high", "1536x1024", 5488),
        ("gpt-image-2", "high", "1792x1024", 5063),
        ("gpt-image-2", "high", "3584x2048", 12329),
        ("gpt-image-2.5-flare", "medium", "1024x1024", 439),
        ("gpt-image-2.5-sunburst", "high", "1024x1024", 1756),
    ],
)
def test_a_published_count_is_met(model, quality, size, tokens):
    assert image_tokens(model, quality, size) == most_image_tokens(model, quality, size) == tokens


def test_what_is_left_to_the_model_may_be_the_dearest():
    assert most_image_tokens("gpt-image-1.5", "auto", "") == 6240
    assert most_image_tokens("gpt-image-1.5", "low", "auto") == 408
    largest = most_image_tokens("gpt-image-2", "", "auto")
    sizes = [(width, height) for width in range(16, 3841, 80) for height in range(16, 3841, 80)]
    assert largest == max(
        image_tokens("gpt-image-2", "high", f"{width}x{height}") or 0 for width, height in [*sizes, (2880, 2880)]
    )


@pytest.mark.parametrize(
    ("model", "quality", "size"),
    [
        ("gpt-image-1-mini", "low", "1024x1024"),
        ("gpt-image-2.5-flare", "auto", "1024x1024"),
        ("gpt-image-2.5-flare", "max", "1024x1024"),
        ("gpt-image-1.5", "low", "512x512"),
        ("gpt-image-2", "low", "99999x16"),
        ("gpt-image-2", "low", "wide"),
        ("gpt-image-2.6-flare", "low", "1024x1024"),
    ],
)
def test_what_is_not_published_is_not_guessed(model, quality, size):
    assert most_image_tokens(model, quality, size) is None
