"""Facts about a JSON text that parsers do not tell: repeated keys, depth, and numbers exactly as written."""

import json
import re

from edge.transcoding.scalars import Number
from edge.transcoding.violations import RefusedError

_BRACKETS_ONLY = bytes.maketrans(b"[]", b"{}")
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_KEY_ENDS = re.compile(rb'"[ \t\r\n]*:')
_SHORT = 1000  # bytes up to which one more count costs nothing beside the search that it may save
_EXACT_DIGITS = 15  # decimal digits that a double always keeps

_SYNTAX = {
    "Expecting value": "a value is expected",
    "Expecting property name enclosed in double quotes": "a field name in double quotes is expected",
    "Illegal trailing comma before end of object": "a field name is expected after the comma",
    "Illegal trailing comma before end of array": "a value is expected after the comma",
    "Expecting ':' delimiter": "a colon is expected",
    "Expecting ',' delimiter": "a comma, or the end of the array or object, is expected",
    "Extra data": "nothing may follow the JSON value",
    "Unterminated string starting at": "the string that starts here has no end",
    "Invalid control character at": "control characters in strings must be escaped",
    "Invalid \\escape": 'a backslash must be followed by one of " \\ / b f n r t u',
    "Invalid \\uXXXX escape": "\\u must be followed by four hexadecimal digits",
}


class Repeated(dict[str, object]):
    """A JSON object that names `keys` more than once."""

    keys_repeated: tuple[str, ...] = ()


def repeats_key(body: bytes, keys: int) -> bool:
    """Return whether the objects of a valid JSON text, which have `keys` distinct keys together, write more than that.

    Cheap bounds come first: colons, then quotes with a colon behind them, are never fewer than the keys written.
    """
    if len(body) < _SHORT and body.count(b":") == keys:
        return False
    return len(_KEY_ENDS.findall(body)) != keys and _structure(body).count(b":") != keys


def nests_deeper(body: bytes, limit: int) -> bool:
    """Return whether arrays and objects of a valid JSON text nest deeper than `limit`."""
    if body.count(b"{") + body.count(b"[") <= limit:
        return False
    brackets = _structure(body).translate(_BRACKETS_ONLY, _NOT_BRACKETS)
    # Each round takes away the innermost pairs, and with them one level.
    for _ in range(limit):
        if not brackets:
            return False
        brackets = brackets.replace(b"{}", b"")
    return bool(brackets)


def _structure(body: bytes) -> bytes:
    """Return a valid JSON text without its strings: once escapes are gone, quotes only delimit them.

    Every colon that is left follows a key.
    """
    if b"\\" in body:
        body = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    return b"".join(body.split(b'"')[::2])


def parse_exact(body: bytes) -> object:
    """Return a JSON text as dicts, lists, str, bool, None and numbers.

    A number that int or float might not keep is a `Number`, an object with repeated keys a `Repeated`.
    Raises `RefusedError` saying where the text stops being JSON in UTF-8 (RFC 8259).
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedError(f"the body is not valid UTF-8 at byte {error.start}") from None
    try:
        return json.loads(
            text,
            parse_int=_integer,
            parse_float=_fraction,
            parse_constant=_refuse_constant,
            object_pairs_hook=_object,
        )
    except json.JSONDecodeError as error:
        reason = _SYNTAX.get(error.msg, "this is no JSON")
        raise RefusedError(
            f"the body is not valid JSON at line {error.lineno}, column {error.colno}: {reason}"
        ) from None
    except RecursionError:
        raise RefusedError("the JSON value nests too deep") from None


def _integer(text: str) -> object:
    return int(text) if len(text) <= _EXACT_DIGITS else Number(text)


def _fraction(text: str) -> object:
    # An exponent may leave a double's range either way.
    return Number(text) if len(text) > _EXACT_DIGITS or "e" in text or "E" in text else float(text)


def _refuse_constant(text: str) -> object:
    raise RefusedError(
        f'the body is not valid JSON: {text} is no JSON number; where a double may hold it, write "{text}"'
    )


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    repeated = Repeated(plain)
    seen: set[str] = set()
    twice: dict[str, None] = {}
    for key, _ in pairs:
        if key in seen:
            twice[key] = None
        seen.add(key)
    repeated.keys_repeated = tuple(twice)
    return repeated


def is_blank(body: bytes) -> bool:
    """Return whether a body holds nothing but JSON's white space."""
    return not body.strip(b" \t\r\n")
