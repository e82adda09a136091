"""The JSON texts of the well-known types: timestamps, durations, field masks, and base64.

The forms are those of the protobuf JSON mapping (protobuf.dev/programming-guides/json). Parsing raises `RefusedError`,
formatting `EncodingError`.
"""

import binascii
import re
from datetime import date

from edge.transcoding.violations import EncodingError, RefusedError, shown

_TIMESTAMP = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:Z|([+-])([0-9]{2}):([0-9]{2}))\Z"
)
_TIMESTAMP_WANTED = 'expected an RFC 3339 time such as "2024-05-17T09:30:00Z" or "2024-05-17T09:30:00.5+02:00"'
_DURATION = re.compile(r"(-?)([0-9]{1,12})(?:\.([0-9]{1,9}))?s\Z")
_DURATION_WANTED = 'expected seconds with the letter s, such as "3.5s"'
_CLOCK_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ns|us|µs|μs|ms|s|m|h))+\Z")
_CLOCK_PART = re.compile(r"([0-9]+)(?:\.([0-9]+))?(ns|us|µs|μs|ms|s|m|h)")
_CLOCK_NANOS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "h": 3_600 * 1_000_000_000,
}

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_MIN_SECONDS = -62_135_596_800  # 0001-01-01T00:00:00Z, timestamp.proto
_MAX_SECONDS = 253_402_300_799  # 9999-12-31T23:59:59Z
_MAX_DURATION = 315_576_000_000  # about 10,000 years, duration.proto
_NANOS = 1_000_000_000

_MASK_PATH = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*\Z")
_UPPER = re.compile(r"[A-Z]")
_UNDERSCORE_LOWER = re.compile(r"_([a-z])")

_URL_SAFE = bytes.maketrans(b"-_", b"+/")


def parse_timestamp(text: str) -> tuple[int, int]:
    """Return seconds since 1970 and nanoseconds (0 to 999,999,999) of an RFC 3339 time."""
    match = _TIMESTAMP.match(text)
    if match is None:
        raise RefusedError(f"{_TIMESTAMP_WANTED}, got {shown(text)}")
    year, month, day, hour, minute, second, fraction, sign, off_hours, off_minutes = match.groups()
    try:
        days = date(int(year), int(month), int(day)).toordinal() - _EPOCH_DAY
    except ValueError:
        raise RefusedError(f"{year}-{month}-{day} is no day of the calendar; {_TIMESTAMP_WANTED}") from None
    hours, minutes, seconds = int(hour), int(minute), int(second)
    if hours > 23 or minutes > 59 or seconds > 59:
        raise RefusedError(f"{hour}:{minute}:{second} is no time of the day; {_TIMESTAMP_WANTED}")
    total = days * 86_400 + hours * 3_600 + minutes * 60 + seconds
    if sign:
        if int(off_hours) > 23 or int(off_minutes) > 59:
            raise RefusedError(f"{sign}{off_hours}:{off_minutes} is no offset from UTC; {_TIMESTAMP_WANTED}")
        offset = int(off_hours) * 3_600 + int(off_minutes) * 60
        total += -offset if sign == "+" else offset
        if not _MIN_SECONDS <= total <= _MAX_SECONDS:
            raise RefusedError("the time lies outside the years 0001 to 9999 in UTC")
    return total, int(fraction.ljust(9, "0")) if fraction else 0


def format_timestamp(seconds: int, nanos: int) -> str:
    """Return a time in UTC, with 0, 3, 6 or 9 digits of fraction."""
    if not _MIN_SECONDS <= seconds <= _MAX_SECONDS or not 0 <= nanos < _NANOS:
        raise EncodingError(f"a Timestamp of {seconds} s and {nanos} ns is outside the years 0001 to 9999")
    days, rest = divmod(seconds, 86_400)
    minutes, second = divmod(rest, 60)
    hour, minute = divmod(minutes, 60)
    day = date.fromordinal(days + _EPOCH_DAY).isoformat()
    return f"{day}T{hour:02}:{minute:02}:{second:02}{_fraction(nanos)}Z"


def parse_duration(text: str) -> tuple[int, int]:
    """Return seconds and nanoseconds, both of one sign, of a text such as `-1.5s`."""
    match = _DURATION.match(text)
    if match is None:
        raise RefusedError(f"{_DURATION_WANTED}, got {shown(text)}")
    sign, whole, fraction = match.groups()
    seconds = int(whole)
    nanos = int(fraction.ljust(9, "0")) if fraction else 0
    return _signed_duration(bool(sign), seconds, nanos)


def parse_clock_duration(text: str) -> tuple[int, int]:
    """Return seconds and nanoseconds of either `3.5s` or hours, minutes and so on, such as `1h30m` or `250ms`."""
    negative = text.startswith("-")
    body = text[1:] if negative else text
    if len(text) > 64 or _CLOCK_DURATION.match(body) is None:
        raise RefusedError(f'expected a duration such as "3.5s", "250ms" or "1h30m", got {shown(text)}')
    total = 0
    for whole, fraction, unit in _CLOCK_PART.findall(body):
        scale = _CLOCK_NANOS[unit]
        total += int(whole) * scale
        if fraction:
            # What is finer than a nanosecond is cut off.
            total += int(fraction) * scale // 10 ** len(fraction)
    return _signed_duration(negative, *divmod(total, _NANOS))


def _signed_duration(negative: bool, seconds: int, nanos: int) -> tuple[int, int]:
    if seconds > _MAX_DURATION or (seconds == _MAX_DURATION and nanos):
        raise RefusedError(f"a duration is at most {_MAX_DURATION} seconds either way")
    return (-seconds, -nanos) if negative else (seconds, nanos)


def format_duration(seconds: int, nanos: int) -> str:
    """Return seconds with 0, 3, 6 or 9 digits of fraction and the letter s."""
    if abs(seconds) > _MAX_DURATION or abs(nanos) >= _NANOS or seconds * nanos < 0:
        raise EncodingError(f"a Duration of {seconds} s and {nanos} ns is out of range, or its signs differ")
    sign = "-" if seconds < 0 or nanos < 0 else ""
    return f"{sign}{abs(seconds)}{_fraction(abs(nanos))}s"


def _fraction(nanos: int) -> str:
    if not nanos:
        return ""
    if not nanos % 1_000_000:
        return f".{nanos // 1_000_000:03}"
    if not nanos % 1_000:
        return f".{nanos // 1_000:06}"
    return f".{nanos:09}"


def parse_field_mask(text: str) -> list[str]:
    """Return the paths of a comma-separated list, as the contract names them.

    The JSON mapping writes `displayName`; a path that holds an underscore is taken as it is, so that clients who use
    the contract's names need not know of the difference.
    """
    if not text:
        return []
    paths = []
    for path in text.split(","):
        if _MASK_PATH.match(path) is None:
            raise RefusedError(
                f'expected field paths with commas, such as "displayName,address.city", got {shown(path)}'
            )
        paths.append(path if "_" in path else _UPPER.sub(lambda match: "_" + match.group().lower(), path))
    return paths


def format_field_mask(paths: list[str]) -> str:
    """Return the paths in lowerCamelCase, with commas; a path that would not survive the way back stays as it is."""
    return ",".join(_camel_path(path) for path in paths)


def _camel_path(path: str) -> str:
    camel = _UNDERSCORE_LOWER.sub(lambda match: match.group(1).upper(), path)
    return path if "_" in camel or _UPPER.search(path) else camel


def parse_base64(text: str) -> bytes:
    """Return bytes from base64 in the standard or the URL-safe alphabet, with or without padding (RFC 4648)."""
    try:
        raw = text.encode("ascii").translate(_URL_SAFE)
        # A text that carries padding carries all of it.
        if len(raw) % 4 and not raw.endswith(b"="):
            raw += b"=" * (-len(raw) % 4)
        return binascii.a2b_base64(raw, strict_mode=True) if raw else b""
    except ValueError:
        # binascii.Error and UnicodeEncodeError are both ValueErrors.
        raise RefusedError("expected bytes in base64 (standard or URL-safe alphabet, padding optional)") from None


def format_base64(value: bytes) -> str:
    """Return bytes in base64 of the standard alphabet with padding."""
    return binascii.b2a_base64(value, newline=False).decode("ascii")
