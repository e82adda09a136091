"""What may be asked for."""

import math
from typing import Any

import pytest

from services.asset.requests import GenerationRequest, check_filter, check_generation
from shared.errors import InvalidArgument


def fields_wrong(**fields: Any) -> list[str]:
    """The fields that are wrong with a request which is right but for these."""
    try:
        check_generation(GenerationRequest(**{"category": "image", "description": "a cat", **fields}))
    except InvalidArgument as error:
        return [violation.field for violation in error.violations]
    return []


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"description": "x" * 4000, "style": "y" * 200, "platform": "z" * 64},
        {"description": "ünïcödé 猫 \n\t"},
        {"quality": "high", "file_format": "webp", "model": "org/gpt-image-2:v1.5"},
        {"max_cost": 0, "max_wait_time_ms": 0, "file_size_max_mb": 0.5, "polygon_count_max": 10},
        {"max_cost": 1000, "max_wait_time_ms": 600_000, "file_size_max_mb": 1024},
    ],
)
def test_what_lies_within_the_limits_is_right(fields: dict[str, Any]) -> None:
    assert fields_wrong(**fields) == []


@pytest.mark.parametrize(
    ("field", "value", "path"),
    [
        ("category", "", "category"),
        ("category", "Image", "category"),
        ("description", "", "description"),
        ("description", " \n", "description"),
        ("description", "x" * 4001, "description"),
        ("description", "a\0b", "description"),
        ("style", "x" * 201, "style"),
        ("style", "\0", "style"),
        ("model", "../x y", "model"),
        ("model", "m" * 129, "model"),
        ("platform", "x" * 65, "requirements.platform"),
        ("quality", "auto", "requirements.quality"),
        ("file_format", "svg", "requirements.format"),
        ("polygon_count_max", -1, "requirements.polygon_count_max"),
        ("file_size_max_mb", -0.1, "requirements.file_size_max_mb"),
        ("file_size_max_mb", math.inf, "requirements.file_size_max_mb"),
        ("max_cost", math.nan, "preferences.max_cost"),
        ("max_cost", 1000.01, "preferences.max_cost"),
        ("max_wait_time_ms", 600_001, "preferences.max_wait_time_ms"),
    ],
)
def test_what_lies_outside_is_named_by_its_path_in_the_contract(field: str, value: Any, path: str) -> None:
    assert fields_wrong(**{field: value}) == [path]


def test_a_violation_says_what_would_be_right() -> None:
    with pytest.raises(InvalidArgument, match=r"category: must be one of environment, .*, not 'picture'"):
        check_generation(GenerationRequest(category="picture", description="x"))


def test_empty_filters_are_right_and_wrong_ones_are_named() -> None:
    assert check_filter("", "") == []
    assert check_filter("texture", "moss") == []
    assert [violation.field for violation in check_filter("moss", "x" * 201)] == ["category", "search"]
