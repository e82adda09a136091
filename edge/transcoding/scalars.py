"""What a scalar field takes, as a text (path, query, form, map key) and as a JSON value.

Every parser is made once for a field and raises `RefusedError` with what was given and what is expected.
"""

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation

from google.protobuf.descriptor import FieldDescriptor

from edge.transcoding.schema import EnumShape, FieldShape
from edge.transcoding.violations import RefusedError, did_you_mean, shown
from edge.transcoding.wellknown import parse_base64

TextParser = Callable[[str], object]
JsonParser = Callable[[object], object]

_INT32 = (-(2**31), 2**31 - 1)
_UINT32 = (0, 2**32 - 1)
_INT64 = (-(2**63), 2**63 - 1)
_UINT64 = (0, 2**64 - 1)

INTEGER_RANGES: Mapping[int, tuple[int, int]] = {
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_SINT32: _INT32,
    FieldDescriptor.TYPE_SFIXED32: _INT32,
    FieldDescriptor.TYPE_UINT32: _UINT32,
    FieldDescriptor.TYPE_FIXED32: _UINT32,
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_SINT64: _INT64,
    FieldDescriptor.TYPE_SFIXED64: _INT64,
    FieldDescriptor.TYPE_UINT64: _UINT64,
    FieldDescriptor.TYPE_FIXED64: _UINT64,
}
"""The integer types, with the least and the greatest value of each."""

FLOAT_LIMIT = 3.4028235677973366e38
"""From here on a double rounds to infinity as a float: half a step beyond the largest float."""

_DECIMAL = re.compile(r"-?[0-9]+\Z")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?\Z")
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_SURROGATE = re.compile("[\ud800-\udfff]")
_MAX_DIGITS = 400  # more than any double needs to be written out; bounds what Decimal is given


class Number(str):
    """A JSON number that a float or a short int would not keep exactly, as its text."""

    __slots__ = ()


def given(value: object) -> str:
    """Say in a few words what a JSON value is, without repeating texts."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Number | int | float):
        text = str(value)
        return f"the number {text}" if len(text) <= 32 else "a very long number"
    if isinstance(value, str):
        return "a string"
    return "an object" if isinstance(value, dict) else "an array"


def json_parser(field: FieldShape) -> JsonParser:
    """Return the parser of a scalar or enum field's JSON values."""
    type_ = field.type
    bounds = INTEGER_RANGES.get(type_)
    if bounds is not None:
        return _json_integer(*bounds)
    if type_ in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return _json_float(single=type_ == FieldDescriptor.TYPE_FLOAT)
    if field.enum is not None:
        return _json_enum(field.enum)
    return {
        FieldDescriptor.TYPE_BOOL: _json_bool,
        FieldDescriptor.TYPE_STRING: _json_string,
        FieldDescriptor.TYPE_BYTES: _json_bytes,
    }[type_]


def text_parser(field: FieldShape, *, go_numbers: bool = False) -> TextParser:
    """Return the parser of a scalar or enum field's texts in a path, a query or a form.

    With `go_numbers`, integers, floats and booleans are read as Go's strconv reads them (base prefixes, an octal `017`,
    underscores, `t` and `F`), which is what grpc-gateway does.
    """
    type_ = field.type
    bounds = INTEGER_RANGES.get(type_)
    if bounds is not None:
        return _text_integer(*bounds, go=go_numbers)
    if type_ in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return _text_float(single=type_ == FieldDescriptor.TYPE_FLOAT, go=go_numbers)
    if field.enum is not None:
        return _text_enum(field.enum)
    if type_ == FieldDescriptor.TYPE_BOOL:
        return _go_bool if go_numbers else _text_bool
    return parse_base64 if type_ == FieldDescriptor.TYPE_BYTES else _text_string


def map_key_parser(field: FieldShape) -> TextParser:
    """Return the parser of a map's keys, which are strings in JSON: `true` and `false` alone for bool."""
    return _key_bool if field.type == FieldDescriptor.TYPE_BOOL else text_parser(field)


def _integer_wanted(low: int, high: int) -> str:
    return f"expected an integer from {low} to {high}"


def _json_integer(low: int, high: int) -> JsonParser:
    wanted = _integer_wanted(low, high)

    def parse(value: object) -> int:
        if type(value) is int:
            number: int | None = value
        elif isinstance(value, float):
            number = int(value) if value.is_integer() else None
        elif isinstance(value, str):
            number = _integer_of(value)
            if number is None and type(value) is str:
                raise RefusedError(f"{wanted}, got {shown(value)}")
        else:
            number = None
        if number is None or not low <= number <= high:
            raise RefusedError(f"{wanted}, got {given(value)}")
        return number

    return parse


def _integer_of(text: str) -> int | None:
    """Return the integer that a JSON number's text stands for, exactly, or None where it is none."""
    if len(text) > _MAX_DIGITS or _NUMBER.match(text) is None:
        return None
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None  # an exponent of twenty digits
    if not number:
        return 0
    # Beyond twenty digits before the point no 64-bit field could hold it, and 1e999999 must not be written out.
    if number.adjusted() > 20 or number != number.to_integral_value():
        return None
    return int(number)


def _json_float(*, single: bool) -> JsonParser:
    name = "float" if single else "double"
    wanted = f'expected a number of type {name} (or "NaN", "Infinity", "-Infinity")'

    def parse(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise RefusedError(f"{wanted}, got {given(value)}")
        if type(value) is str:
            special = _NOT_FINITE.get(value)
            if special is not None:
                return special
            if _NUMBER.match(value) is None:
                raise RefusedError(f"{wanted}, got {shown(value)}")
        number = float(value)
        if math.isinf(number) or (single and abs(number) >= FLOAT_LIMIT):
            raise RefusedError(f"{wanted}, got a number beyond its range")
        return number

    return parse


def _json_bool(value: object) -> bool:
    if type(value) is bool:
        return value
    hint = " (without quotes)" if value in ("true", "false") else ""
    raise RefusedError(f"expected true or false, got {given(value)}{hint}")


def _json_string(value: object) -> str:
    if type(value) is not str:
        raise RefusedError(f"expected a string, got {given(value)}")
    if _SURROGATE.search(value):
        raise RefusedError("the string holds half of a surrogate pair, which is no character")
    return value


def _json_bytes(value: object) -> bytes:
    if type(value) is not str:
        raise RefusedError(f"expected bytes as a base64 string, got {given(value)}")
    return parse_base64(value)


def _json_enum(enum: EnumShape) -> JsonParser:
    from_text = _text_enum(enum)
    from_number = _json_integer(*_INT32)

    def parse(value: object) -> int:
        if value is None and enum.is_null_value:
            return 0
        if type(value) is str:
            return from_text(value)
        if value is None or isinstance(value, bool | dict | list):
            raise RefusedError(f"expected a value of {enum.full_name}, by name or number, got {given(value)}")
        number = from_number(value)
        assert isinstance(number, int)
        return _known_number(enum, number)

    return parse


class UnknownEnumNameError(RefusedError):
    """A name that the enum does not have; an option ignores the field instead."""


def _text_enum(enum: EnumShape) -> Callable[[str], int]:
    def parse(text: str) -> int:
        number = enum.names.get(text)
        if number is not None:
            return number
        parsed = _integer_of(text) if _DECIMAL.match(text) else None
        if parsed is None or not _INT32[0] <= parsed <= _INT32[1]:
            names = sorted(enum.names, key=enum.names.__getitem__)
            known = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
            raise UnknownEnumNameError(f"expected one of {known}, got {shown(text)}{did_you_mean(text, names)}")
        return _known_number(enum, parsed)

    return parse


def _known_number(enum: EnumShape, number: int) -> int:
    if enum.closed and number not in enum.by_number:
        raise RefusedError(f"{number} is no value of {enum.full_name}, which takes {_some(sorted(enum.by_number))}")
    return number


def _some(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:12])) + (", ..." if len(numbers) > 12 else "")


def _text_integer(low: int, high: int, *, go: bool) -> TextParser:
    wanted = _integer_wanted(low, high)
    read = _go_integer if go else _decimal_integer

    def parse(text: str) -> int:
        number = read(text) if len(text) <= _MAX_DIGITS else None
        if number is None or not low <= number <= high:
            raise RefusedError(f"{wanted}, got {shown(text)}")
        return number

    return parse


def _decimal_integer(text: str) -> int | None:
    return int(text) if _DECIMAL.match(text) else None


_GO_INTEGER = re.compile(
    r"[+-]?(?:0[xX](?:_?[0-9a-fA-F])+|0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0(?:_?[0-7])*|[1-9](?:_?[0-9])*)\Z"
)


def _go_integer(text: str) -> int | None:
    if _GO_INTEGER.match(text) is None:
        return None
    sign, digits = (-1, text[1:]) if text.startswith("-") else (1, text.lstrip("+"))
    digits = digits.replace("_", "").lower()
    if digits.startswith("0") and digits[1:].isdigit():
        return sign * int(digits, 8)
    return sign * int(digits, 0)


_GO_FLOAT = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\Z")
_GO_HEX_FLOAT = re.compile(r"[+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)[pP][+-]?[0-9]+\Z")
_GO_NOT_FINITE = re.compile(r"[+-]?inf(?:inity)?\Z|nan\Z", re.IGNORECASE)


def _go_float(text: str) -> float | None:
    if _GO_NOT_FINITE.match(text):
        return float(text)
    try:
        if _GO_HEX_FLOAT.match(text):
            return float.fromhex(text)
        number = float(text) if _GO_FLOAT.match(text) else None
    except OverflowError:
        return None
    return None if number is not None and math.isinf(number) else number


def _strict_float(text: str) -> float | None:
    special = _NOT_FINITE.get(text)
    if special is not None:
        return special
    number = float(text) if _NUMBER.match(text) else None
    return None if number is not None and math.isinf(number) else number


def _text_float(*, single: bool, go: bool) -> TextParser:
    name = "float" if single else "double"
    read = _go_float if go else _strict_float

    def parse(text: str) -> float:
        number = read(text)
        if number is None or (single and math.isfinite(number) and abs(number) >= FLOAT_LIMIT):
            raise RefusedError(f"expected a number of type {name} (or NaN, Infinity, -Infinity), got {shown(text)}")
        return number

    return parse


_BOOLS = {"true": True, "false": False, "1": True, "0": False}
_GO_BOOLS = dict.fromkeys(("1", "t", "T", "TRUE", "true", "True"), True) | dict.fromkeys(
    ("0", "f", "F", "FALSE", "false", "False"), False
)


def _text_bool(text: str) -> bool:
    # Clients write booleans as their language prints them, so that case says nothing.
    value = _BOOLS.get(text.lower())
    if value is None:
        raise RefusedError(f"expected true, false, 1 or 0, got {shown(text)}")
    return value


def _go_bool(text: str) -> bool:
    value = _GO_BOOLS.get(text)
    if value is None:
        raise RefusedError(f"expected true, false, 1, 0, t or f, got {shown(text)}")
    return value


def _key_bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise RefusedError(f'expected "true" or "false", got {shown(text)}')
    return text == "true"


def _text_string(text: str) -> str:
    if _SURROGATE.search(text):
        raise RefusedError("the text holds half of a surrogate pair, which is no character")
    return text
