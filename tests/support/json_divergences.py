"""Where Gaia's reading of JSON differs from protobuf's `json_format` on purpose, and why.

`divergence` says for one JSON value of one field whether the two may disagree about it. It looks at the value only,
never at what the codec makes of it.
"""

import math
import re
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from edge.transcoding.scalars import INTEGER_RANGES
from edge.transcoding.schema import Cardinality, FieldShape, MessageKind, MessageShape, Schema

REASONS = {
    "alias": "one field under both of its names: refused, json_format takes the last",
    "any": "an Any's URL has a slash and printable ASCII, and a well-known type's Any no other keys",
    "base64": "characters outside the alphabet, or too much padding: refused, json_format drops them",
    "bool as number": "true is no number and no enum value",
    "date": "times are RFC 3339 with two-digit parts and an offset of less than a day",
    "duration": "durations have up to twelve digits, nine of fraction, and stay within the range to the nanosecond",
    "enum number": "an enum's number is an integer of 32 bits; json_format cuts fractions off and wraps wide numbers",
    "extension name": "an unknown extension is an unknown field like any other, which an option ignores",
    "field mask": "paths in the contract's spelling are taken; empty and odd paths are refused",
    "float range": "a number beyond a float or double is refused in every form; what rounds to the largest is taken",
    "map key": "integer keys are decimal, no two name one entry, and they are read even if the value is ignored",
    "message": "a message is an object; json_format walks a string or list as if it were one",
    "null value": "null is a value of NullValue wherever it stands, counts in a oneof, and empties any repeated field",
    "number text": "numbers in strings have JSON's grammar; json_format takes Python's (1_0, +1, inf, other digits)",
    "wide number": "integers are exact in every form; json_format goes through a double",
}

_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\Z")
_DECIMAL = re.compile(r"-?[0-9]+\Z")
_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])\Z"
)
_DURATION = re.compile(r"-?[0-9]{1,12}(\.[0-9]{1,9})?s\Z")
_MASK = re.compile(r"[a-zA-Z][a-zA-Z0-9]*(\.[a-zA-Z][a-zA-Z0-9]*)*(,[a-zA-Z][a-zA-Z0-9]*(\.[a-zA-Z][a-zA-Z0-9]*)*)*\Z")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/_-]{4})*(?:[A-Za-z0-9+/_-]{2}(?:==)?|[A-Za-z0-9+/_-]{3}=?)?\Z")
_FLOAT_MAX = float.fromhex("0x1.fffffep+127")
_SPECIAL = ("NaN", "Infinity", "-Infinity")


def divergences(shape: MessageShape, tree: Any) -> Iterator[str]:
    """Yield a key of `REASONS` for every value in a JSON tree that the two may read differently."""
    kind = shape.kind
    if kind is MessageKind.OBJECT:
        yield from _object(shape, tree)
    elif kind is MessageKind.WRAPPER:
        yield from _scalar(shape.fields[0], tree)
    elif kind is MessageKind.TIMESTAMP and isinstance(tree, str):
        if not _TIMESTAMP.match(tree):
            yield "date"
    elif kind is MessageKind.DURATION and isinstance(tree, str):
        if not _DURATION.match(tree) or tree.lstrip("-").startswith("315576000000"):
            yield "duration"
    elif kind is MessageKind.FIELD_MASK and isinstance(tree, str):
        if tree and not _MASK.match(tree):
            yield "field mask"
    elif kind is MessageKind.ANY:
        yield from _any(shape, tree)
    elif _beyond_double(tree):
        yield "float range"


def _beyond_double(tree: Any) -> bool:
    if isinstance(tree, dict | list):
        return any(map(_beyond_double, tree.values() if isinstance(tree, dict) else tree))
    return isinstance(tree, float) and math.isinf(tree)


def _object(shape: MessageShape, tree: Any) -> Iterator[str]:
    if isinstance(tree, str | list):
        yield "message"
    if not isinstance(tree, dict):
        return
    seen: set[FieldShape] = set()
    for key, value in tree.items():
        field = shape.by_name.get(key)
        if field is None:
            if key.startswith("["):
                yield "extension name"
            continue
        if field in seen:
            yield "alias"
        seen.add(field)
        if value is None:
            if field.takes_null and (field.oneof or field.cardinality is Cardinality.REPEATED):
                yield "null value"
        elif field.cardinality is Cardinality.MAP:
            if isinstance(value, dict):
                yield from _map(field, value)
        elif field.cardinality is Cardinality.REPEATED:
            for item in value if isinstance(value, list) else ():
                yield from _one(field, item, inside=True)
        else:
            yield from _one(field, value, inside=False)


def _map(field: FieldShape, tree: dict[str, Any]) -> Iterator[str]:
    assert field.key is not None
    assert field.value is not None
    low, high = INTEGER_RANGES.get(field.key.type, (0, 0))
    if high:
        keys = [int(key) if _DECIMAL.match(key) else None for key in tree]
        if None in keys or len(set(keys)) < len(keys) or not all(low <= (key or 0) <= high for key in keys):
            yield "map key"
    for value in tree.values():
        yield from _one(field.value, value, inside=True)


def _one(field: FieldShape, value: Any, *, inside: bool) -> Iterator[str]:
    if value is None:
        if inside and field.enum is not None and field.enum.is_null_value:
            yield "null value"
    elif field.message is not None:
        yield from divergences(field.message, value)
    else:
        yield from _scalar(field, value)


def _scalar(field: FieldShape, value: Any) -> Iterator[str]:
    type_ = field.type
    if type_ in INTEGER_RANGES:
        yield from _integer(value)
    elif type_ in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        yield from _float(value, single=type_ == FieldDescriptor.TYPE_FLOAT)
    elif type_ == FieldDescriptor.TYPE_BYTES and isinstance(value, str):
        if not _BASE64.match(value):
            yield "base64"
    elif field.enum is not None:
        if isinstance(value, bool):
            yield "bool as number"
        elif isinstance(value, float) or (_is_decimal(value) and not -(2**31) <= int(value) < 2**31):
            yield "enum number"
        elif (
            isinstance(value, str)
            and value not in field.enum.names
            and not _DECIMAL.match(value)
            and _python_number(value)
        ):
            yield "number text"


def _is_decimal(value: Any) -> bool:
    return isinstance(value, int) or (isinstance(value, str) and _DECIMAL.match(value) is not None)


def _integer(value: Any) -> Iterator[str]:
    if isinstance(value, str) and not _NUMBER.match(value):
        if _python_number(value):
            yield "number text"
    elif isinstance(value, str) and _DECIMAL.match(value):
        return
    elif isinstance(value, float | str) and (abs(float(value)) >= 2**53 or not float(value)):
        # Nothing of 1e-400 is left in a double.
        yield "wide number"


def _float(value: Any, *, single: bool) -> Iterator[str]:
    if isinstance(value, bool):
        yield "bool as number"
        return
    if isinstance(value, str):
        if value in _SPECIAL:
            return
        if not _NUMBER.match(value):
            if _python_number(value):
                yield "number text"
            return
    try:
        number = float(value) if isinstance(value, int | float | str) else 0.0
    except OverflowError:
        return
    if math.isinf(number) or (single and abs(number) > _FLOAT_MAX):
        yield "float range"


def _python_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _any(shape: MessageShape, tree: Any) -> Iterator[str]:
    url = tree.get("@type") if isinstance(tree, dict) else None
    if not isinstance(url, str):
        return
    if "/" not in url or not re.match(r"[!#-\[\]-~]+\Z", url):
        yield "any"
    try:
        descriptor = shape.descriptor.file.pool.FindMessageTypeByName(url.split("/")[-1])
    except KeyError:
        return
    inner = Schema().message(descriptor)
    rest = {key: value for key, value in tree.items() if key != "@type"}
    if inner.kind is MessageKind.OBJECT:
        yield from divergences(inner, rest)
    else:
        if rest.keys() - {"value"}:
            yield "any"
        yield from divergences(inner, rest.get("value"))
