"""Texts of scalar fields in paths, queries and forms."""

import math
from typing import Any

import pytest

from edge.transcoding.scalars import text_parser
from edge.transcoding.schema import FieldShape, Schema
from edge.transcoding.violations import RefusedError
from tests.support.kinds import field


def shape(name: str) -> FieldShape:
    return Schema().field(field("Kinds", name))


def parse(name: str, text: str, *, go: bool = False) -> Any:
    return text_parser(shape(name), go_numbers=go)(text)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("int32_field", "-5", -5),
        ("int32_field", "007", 7),
        ("uint64_field", "18446744073709551615", 2**64 - 1),
        ("int64_field", "-9223372036854775808", -(2**63)),
        ("double_field", "1e3", 1000.0),
        ("double_field", "-Infinity", -math.inf),
        ("float_field", "3.4028235e38", 3.4028235e38),
        ("bool_field", "true", True),
        ("bool_field", "False", False),
        ("bool_field", "1", True),
        ("bool_field", "0", False),
        ("string_field", "", ""),
        ("string_field", "a b", "a b"),
        ("bytes_field", "-_8", b"\xfb\xff"),
        ("color", "COLOR_RED", 1),
        ("color", "2", 2),
        ("color", "99", 99),
    ],
)
def test_a_text_is_read_as_its_field_wants(name: str, text: str, value: object) -> None:
    parsed = parse(name, text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(
            ("int32_field", text)
            for text in ("", " 1", "+1", "1.0", "1e2", "0x10", "1_000", "\u0663", "2147483648", "9" * 500)
        ),
        *(("double_field", text) for text in ("", "nan", "inf", ".5", "1.", "1e400", "0x1p3")),
        ("float_field", "3.5e38"),
        *(("bool_field", text) for text in ("", "yes", "2", "t")),
        *(("color", text) for text in ("", "color_red", "RED", "1.0", "2147483648", "9" * 500)),
        ("bytes_field", "?"),
    ],
)
def test_a_text_that_does_not_fit_is_refused(name: str, text: str) -> None:
    with pytest.raises(RefusedError) as caught:
        parse(name, text)
    assert "expected" in caught.value.description
    assert "invalid literal" not in caught.value.description


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("int32_field", "0x1F", 31),
        ("int32_field", "-0b101", -5),
        ("int32_field", "017", 15),
        ("int32_field", "0o17", 15),
        ("int32_field", "1_000", 1000),
        ("int32_field", "+5", 5),
        ("int32_field", "0", 0),
        ("double_field", ".5", 0.5),
        ("double_field", "1.", 1.0),
        ("double_field", "0x1p-2", 0.25),
        ("double_field", "INF", math.inf),
        ("double_field", "-infinity", -math.inf),
        ("bool_field", "T", True),
        ("bool_field", "f", False),
    ],
)
def test_numbers_are_read_as_go_reads_them_when_asked(name: str, text: str, value: object) -> None:
    assert parse(name, text, go=True) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("int32_field", text) for text in ("08", "0x", "1__0", "_1", "0x80000000", "")),
        *(("double_field", text) for text in ("1e400", "0x1p99999", "+nan", "1_0", "")),
        *(("bool_field", text) for text in ("tRUE", "yes")),
    ],
)
def test_what_go_would_refuse_is_refused(name: str, text: str) -> None:
    with pytest.raises(RefusedError):
        parse(name, text, go=True)
