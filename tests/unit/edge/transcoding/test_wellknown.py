"""Texts of times, durations, masks and bytes."""

import random
from datetime import UTC, datetime

import pytest
from google.protobuf import duration_pb2, timestamp_pb2

from edge.transcoding.violations import EncodingError, RefusedError
from edge.transcoding.wellknown import (
    format_base64,
    format_duration,
    format_field_mask,
    format_timestamp,
    parse_base64,
    parse_clock_duration,
    parse_duration,
    parse_field_mask,
    parse_timestamp,
)


@pytest.mark.parametrize(
    ("text", "seconds", "nanos"),
    [
        ("1970-01-01T00:00:00Z", 0, 0),
        ("0001-01-01T00:00:00Z", -62135596800, 0),
        ("9999-12-31T23:59:59.999999999Z", 253402300799, 999999999),
        ("2000-02-29T12:00:00.5Z", 951825600, 500000000),
        ("1969-12-31T23:59:59.9Z", -1, 900000000),
        ("1970-01-01T02:30:00+02:30", 0, 0),
        ("1969-12-31T19:00:00-05:00", 0, 0),
    ],
)
def test_a_time_is_seconds_and_nanoseconds(text: str, seconds: int, nanos: int) -> None:
    assert parse_timestamp(text) == (seconds, nanos)


@pytest.mark.parametrize(
    "text",
    [
        *("", "now", "2024-05-17", "2024-05-17T09:30:00", "2024-05-17t09:30:00Z", "2024-05-17T09:30:00z"),
        *("2024-05-17T09:30:60Z", "2024-13-01T00:00:00Z", "0000-01-01T00:00:00Z", "2024-05-17T09:30:00.Z"),
        *(
            "2024-05-17T09:30:00.1234567890Z",
            "2024-05-17T09:30:00+0200",
            "2024-05-17T09:30:00Z ",
            "\u0662024-05-17T09:30:00Z",
        ),
        *("9999-12-31T23:59:59-00:01", "0001-01-01T00:00:00+00:01", "2024-05-17T09:30:00+01:60"),
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(RefusedError):
        parse_timestamp(text)


def test_times_and_durations_are_written_as_protobuf_writes_them() -> None:
    rng = random.Random(3)
    for _ in range(500):
        nanos = rng.choice((0, 1, 1000, 1_000_000, rng.randrange(10**9)))
        time = timestamp_pb2.Timestamp(seconds=rng.randrange(-62135596800, 253402300800), nanos=nanos)
        assert format_timestamp(time.seconds, time.nanos) == time.ToJsonString()
        assert parse_timestamp(time.ToJsonString()) == (time.seconds, time.nanos)
        sign = rng.choice((1, -1))
        span = duration_pb2.Duration(seconds=sign * rng.randrange(315_576_000_000), nanos=sign * nanos)
        assert format_duration(span.seconds, span.nanos) == span.ToJsonString()
        assert parse_duration(span.ToJsonString()) == (span.seconds, span.nanos)


def test_times_agree_with_the_calendar_of_the_standard_library() -> None:
    rng = random.Random(4)
    for _ in range(200):
        moment = datetime.fromtimestamp(rng.randrange(-(10**10), 10**10), UTC)
        assert parse_timestamp(moment.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0"))[0] == int(moment.timestamp())


def test_values_out_of_range_have_no_text() -> None:
    for seconds, nanos in ((253402300800, 0), (-62135596801, 0), (0, -1), (0, 10**9)):
        with pytest.raises(EncodingError):
            format_timestamp(seconds, nanos)
    for seconds, nanos in ((315576000001, 0), (1, -1), (-1, 1), (0, 10**9)):
        with pytest.raises(EncodingError):
            format_duration(seconds, nanos)


@pytest.mark.parametrize(
    ("text", "seconds", "nanos"),
    [
        ("3.5s", 3, 500000000),
        ("-0.25s", 0, -250000000),
        ("1h30m", 5400, 0),
        ("-1h", -3600, 0),
        ("250ms", 0, 250000000),
        ("1.5h", 5400, 0),
        ("1h2m3s4ms5us6ns", 3723, 4005006),
        ("10\u00b5s", 0, 10000),
        ("1ns", 0, 1),
        ("0.1ns", 0, 0),
        ("87660000h", 315576000000, 0),
    ],
)
def test_clock_durations_are_read(text: str, seconds: int, nanos: int) -> None:
    assert parse_clock_duration(text) == (seconds, nanos)


@pytest.mark.parametrize(
    "text", ["", "5", "h", "1d", "1h 30m", "--1s", "1.s", ".5s", "87660001h", "9" * 60 + "h", "1e3s"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(RefusedError):
        parse_clock_duration(text)


def test_a_field_mask_is_read_in_both_spellings_and_written_in_camel_case() -> None:
    assert parse_field_mask("displayName,address.cityName") == ["display_name", "address.city_name"]
    assert parse_field_mask("display_name,a") == ["display_name", "a"]
    assert parse_field_mask("") == []
    assert format_field_mask(["display_name", "a.b_c"]) == "displayName,a.bC"
    for text in (",", "a,", "a b", "a..b", ".a", "1a", "a-b", "*"):
        with pytest.raises(RefusedError):
            parse_field_mask(text)


def test_bytes_are_read_in_all_four_forms_of_base64() -> None:
    for value in (b"", b"\xfb", b"\xfb\xff", b"\xfb\xff\xfe", bytes(range(256))):
        text = format_base64(value)
        for form in (text, text.rstrip("="), text.translate(str.maketrans("+/", "-_"))):
            assert parse_base64(form) == value
            assert parse_base64(form.rstrip("=")) == value


@pytest.mark.parametrize(
    "text", ["A", "A===", "QQ=", "QQ===", "QQ====", "Q=Q=", "=QQ=", "Q Q=", "QQ==\n", "\u00e9", "Q!", "QQ==QQ=="]
)
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(RefusedError):
        parse_base64(text)
