"""Writes messages as JSON by plans: one function per message type, made once from its shape."""

import math
import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError

from edge.transcoding.codec import Encoder, JsonOptions
from edge.transcoding.json_any import MAX_TYPES, AnyType, TypeResolver
from edge.transcoding.schema import Cardinality, FieldShape, MessageKind, MessageShape
from edge.transcoding.violations import EncodingError
from edge.transcoding.wellknown import format_base64, format_duration, format_field_mask, format_timestamp

Convert = Callable[[Any], object]
"""From a field's value, as protobuf gives it, to what orjson writes."""

_FLOAT = struct.Struct("<f")
_LARGEST_EXACT = 2**53
"""Up to here a double tells every whole number from its neighbours."""


class EncodePlans:
    """The encoders of message types under one set of options, made as they are asked for."""

    def __init__(self, options: JsonOptions, resolve: TypeResolver) -> None:
        self._options = options
        self._resolve = resolve
        self._messages: dict[MessageShape, Convert] = {}
        # Types that only an Any names are met while serving: their plans are kept apart, and bounded.
        self._foreign = lru_cache(maxsize=MAX_TYPES)(self._make_foreign)

    def encoder(self, shape: MessageShape) -> Encoder:
        """Return what writes a message of this type."""
        return _dumping(self.message(shape))

    def field_encoder(self, path: Sequence[FieldShape]) -> Encoder:
        """Return what writes the last field of a path."""
        *parents, leaf = path
        names = [parent.name for parent in parents]
        convert = self._value(leaf)
        needs_presence = leaf.cardinality is Cardinality.SINGULAR and leaf.message is not None

        def encode(message: Any) -> object:
            for name in names:
                message = getattr(message, name)
            if needs_presence and not message.HasField(leaf.name):
                assert leaf.message is not None
                return _unset(leaf.message.kind, convert, getattr(message, leaf.name))
            value = getattr(message, leaf.name)
            return value if convert is None else convert(value)

        return _dumping(encode)

    def message(self, shape: MessageShape) -> Convert:
        """Return what turns a message of this type into dicts and lists."""
        known = self._messages.get(shape)
        return known if known is not None else self._make(shape)

    def _make(self, shape: MessageShape) -> Convert:
        kind = shape.kind
        if kind is MessageKind.OBJECT:
            return self._object(shape)
        if kind is MessageKind.WRAPPER:
            inner = self._value(shape.fields[0])
            return (lambda message: message.value) if inner is None else (lambda message: inner(message.value))
        if kind is MessageKind.ANY:
            return self._any
        return {
            MessageKind.TIMESTAMP: lambda message: format_timestamp(message.seconds, message.nanos),
            MessageKind.DURATION: lambda message: format_duration(message.seconds, message.nanos),
            MessageKind.FIELD_MASK: lambda message: format_field_mask(message.paths),
            MessageKind.STRUCT: _struct,
            MessageKind.VALUE: _value,
            MessageKind.LIST_VALUE: _list_value,
        }[kind]

    def _object(self, shape: MessageShape) -> Convert:
        # (JSON name, attribute, has presence, what else to do with the value), in the contract's order
        steps: list[tuple[str, str, bool, Convert | None]] = []
        extensions: dict[FieldDescriptor, tuple[str, Convert | None]] = {}
        defaults = self._options.emit_defaults
        # Types may hold themselves: the function is known before its steps are.
        encode = _object_encoder(steps, defaults=defaults)
        nulls = self._nulls(shape) if defaults and self._options.emit_nulls else ()
        if shape.extensions or nulls:
            encode = _with_extras(encode, extensions, nulls)
        self._messages[shape] = encode
        for field in shape.fields:
            name = field.name if self._options.proto_names else field.json_name
            steps.append((name, field.name, field.has_presence, self._value(field)))
        extensions.update((f.descriptor, (name, self._value(f))) for name, f in shape.extensions.items())
        return encode

    def _nulls(self, shape: MessageShape) -> tuple[tuple[str, str], ...]:
        """Return JSON name and attribute of the fields that are null when unset."""
        return tuple(
            (field.name if self._options.proto_names else field.json_name, field.name)
            for field in shape.fields
            if field.is_null_when_unset(optionals=self._options.null_optionals)
        )

    def _value(self, field: FieldShape) -> Convert | None:
        """Return what a field's value needs, None if orjson writes it as it is."""
        if field.cardinality is Cardinality.MAP:
            return self._map(field)
        one = self.message(field.message) if field.message is not None else self._scalar(field)
        if field.cardinality is Cardinality.SINGULAR:
            return one
        # A slice of a protobuf list is a list, and the fastest way to one.
        return _slice if one is None else _each(one)

    def _scalar(self, field: FieldShape) -> Convert | None:
        if field.enum is not None:
            if self._options.enum_numbers:
                return None
            if field.enum.is_null_value:
                return _null
            names = field.enum.by_number
            return lambda number: names.get(number, number)
        if field.is_wide:
            return str
        if field.type == FieldDescriptor.TYPE_BYTES:
            return format_base64
        if field.type == FieldDescriptor.TYPE_DOUBLE:
            return _double
        return _single if field.type == FieldDescriptor.TYPE_FLOAT else None

    def _map(self, field: FieldShape) -> Convert:
        assert field.key is not None
        assert field.value is not None
        convert = self._value(field.value)
        if field.key.type == FieldDescriptor.TYPE_STRING:
            if convert is None:
                return lambda entries: {key: entries[key] for key in entries}
            return lambda entries: {key: convert(entries[key]) for key in entries}
        key_text = _bool_key if field.key.type == FieldDescriptor.TYPE_BOOL else str
        if convert is None:
            return lambda entries: {key_text(key): entries[key] for key in entries}
        return lambda entries: {key_text(key): convert(entries[key]) for key in entries}

    def _any(self, message: Any) -> object:
        url = message.type_url
        if not url and not message.value:
            return {}
        resolved = self._resolve(url)
        if resolved is None:
            return _opaque(message)
        inner = resolved.make()
        try:
            inner.ParseFromString(message.value)
        except DecodeError:
            return _opaque(message)
        value = self._foreign(resolved)(inner)
        if resolved.shape.kind is MessageKind.OBJECT:
            assert isinstance(value, dict)
            return {"@type": url, **value}
        return {"@type": url, "value": value}

    def _make_foreign(self, resolved: AnyType) -> Convert:
        plans = EncodePlans(self._options, self._resolve)
        plans._foreign = self._foreign  # one bound for all, however deep an Any lies in another
        return plans.message(resolved.shape)


def _dumping(convert: Convert) -> Encoder:
    dumps = orjson.dumps

    def encode(message: Any) -> bytes:
        try:
            return dumps(convert(message))
        except orjson.JSONEncodeError:
            reason = "the reply holds a string that is not UTF-8, or nests too deep for JSON"
        except RecursionError:
            reason = "the reply nests too deep for JSON"
        raise EncodingError(reason)

    return encode


def _object_encoder(steps: list[tuple[str, str, bool, Convert | None]], *, defaults: bool) -> Convert:
    def encode(message: Any) -> dict[str, object]:
        out: dict[str, object] = {}
        has = message.HasField
        key = ""
        try:
            for key, attribute, presence, convert in steps:
                if presence:
                    if not has(attribute):
                        continue
                    value = getattr(message, attribute)
                else:
                    value = getattr(message, attribute)
                    # Minus zero is no default, though it is false.
                    if not value and not defaults and (value.__class__ is not float or math.copysign(1.0, value) > 0):
                        continue
                out[key] = value if convert is None else convert(value)
        except EncodingError as error:
            raise error.within(key) from None
        return out

    return encode


def _with_extras(
    encode: Convert,
    extensions: dict[FieldDescriptor, tuple[str, Convert | None]],
    nulls: Sequence[tuple[str, str]],
) -> Convert:
    def encode_all(message: Any) -> dict[str, object]:
        out = encode(message)
        assert isinstance(out, dict)
        for key, attribute in nulls:
            if not message.HasField(attribute):
                out[key] = None
        if extensions:
            for descriptor, value in message.ListFields():
                # An extension that joined the pool after the plan was made is unknown to the contract as compiled.
                step = extensions.get(descriptor) if descriptor.is_extension else None
                if step is not None:
                    key, convert = step
                    try:
                        out[key] = convert(value) if convert is not None else value
                    except EncodingError as error:
                        raise error.within(key) from None
        return out

    return encode_all


def _unset(kind: MessageKind, convert: Convert | None, empty: Any) -> object:
    """Return what stands for a message field that is not set, where the field is the whole reply."""
    if kind in (MessageKind.WRAPPER, MessageKind.TIMESTAMP, MessageKind.DURATION, MessageKind.VALUE):
        return None
    assert convert is not None
    return convert(empty)


def _opaque(message: Any) -> dict[str, object]:
    """Return an Any whose type is not known, or whose bytes are not of that type, with its bytes."""
    return {"@type": message.type_url, "value": format_base64(message.value)}


def _slice(values: Any) -> object:
    return values[:]


def _each(one: Convert) -> Convert:
    return lambda values: [one(value) for value in values]


def _null(_: object) -> None:
    return None


def _bool_key(key: bool) -> str:
    return "true" if key else "false"


def _double(value: float) -> object:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _single(value: float) -> object:
    """Return the shortest decimal that reads back as the same float; a double would show its rounding."""
    if not math.isfinite(value):
        return _double(value)
    for digits in (6, 7, 8):
        short = float(f"{value:.{digits}g}")
        if _FLOAT.unpack(_FLOAT.pack(short))[0] == value:
            return short
    return float(f"{value:.9g}")


def _plain_number(number: float) -> float | int:
    """Return a whole number without a fraction, as it was sent: not every client takes 7.0 for an integer."""
    is_whole = number.is_integer() and abs(number) <= _LARGEST_EXACT
    return int(number) if is_whole and (number or math.copysign(1.0, number) > 0) else number


def _struct(message: Any) -> object:
    entries = message.fields
    # Twice as fast as items(), which protobuf leaves to the standard library's mixin.
    return {key: _value(entries[key]) for key in entries}


def _list_value(message: Any) -> object:
    return [_value(value) for value in message.values]


def _value(message: Any) -> object:
    kind = message.WhichOneof("kind")
    if kind == "string_value":
        return message.string_value
    if kind == "number_value":
        number = message.number_value
        if not math.isfinite(number):
            raise EncodingError("a google.protobuf.Value holds NaN or infinity, which JSON has no number for")
        return _plain_number(number)
    if kind == "bool_value":
        return message.bool_value
    if kind == "struct_value":
        return _struct(message.struct_value)
    if kind == "list_value":
        return _list_value(message.list_value)
    return None
