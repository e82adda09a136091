"""Reads JSON into messages by plans: one function per message type, made once from its shape.

A plan takes what it is sure of, at orjson's and protobuf's speed. Whatever it is not sure of, good or bad, it raises
on, and `json_exact` reads the body again and decides. Doubt is never an answer: no request is refused here.
What orjson loses is counted instead of searched for: a body that writes more keys than the plan met repeats one.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from edge.transcoding.codec import Decoder, JsonOptions
from edge.transcoding.json_exact import ExactDecoder
from edge.transcoding.json_text import repeats_key
from edge.transcoding.scalars import FLOAT_LIMIT, INTEGER_RANGES
from edge.transcoding.schema import Cardinality, EnumShape, FieldShape, MessageKind, MessageShape
from edge.transcoding.wellknown import parse_base64, parse_duration, parse_field_mask, parse_timestamp

Reader = Callable[[Any, Any, int], int]
"""Puts a JSON value into a message and returns how many keys the objects in the value have.

The last argument is the room: how many arrays and objects may nest from here on, the value's own level included.
"""
Setter = Callable[[Any, Any, int], int]
"""Puts a JSON value into a field of the message given; the room and what it returns are the same."""
Convert = Callable[[Any], object]
"""From one JSON value to what protobuf takes for it."""

_PLAIN_DEPTH = 32
"""Up to here a plan reads without counting levels: even a Struct, three messages an object, stays within 100."""

_INTEGER = re.compile(r"-?[0-9]{1,19}\Z")
_NUMBERS = frozenset((int, float))
_BOOLEANS = frozenset((bool,))
_BOOL_KEYS: Mapping[str, bool] = {"true": True, "false": False}


class _Doubt(Exception):
    """The plan does not take the value."""


class _Never:
    """No value is of this type: the field always takes its setter."""


# What the libraries raise on values they do not take: each means that the exact decoder must look.
_DOUBTS = (_Doubt, ValueError, TypeError, KeyError, OverflowError)


class DecodePlans:
    """The decoders of message types under one set of options, made as they are asked for."""

    def __init__(self, options: JsonOptions, exact: ExactDecoder) -> None:
        self._exact = exact
        self._ignore_unknown = options.ignore_unknown
        self._room = min(options.max_depth, _PLAIN_DEPTH)
        self._readers: dict[MessageShape, Reader] = {}

    def decoder(self, shape: MessageShape) -> Decoder:
        """Return what parses a whole message."""
        exact = self._exact
        return _checking(self._reader(shape), lambda body, message: exact.message(shape, body, message), self._room)

    def field_decoder(self, field: FieldShape) -> Decoder:
        """Return what parses the value of one field."""
        exact = self._exact
        if field.is_extension:
            return lambda body, message: exact.field(field, body, message)
        # The message that has the field is one level more on the wire.
        return _checking(self._setter(field), lambda body, message: exact.field(field, body, message), self._room - 1)

    def _reader(self, shape: MessageShape) -> Reader:
        known = self._readers.get(shape)
        if known is not None:
            return known
        kind = shape.kind
        if kind is MessageKind.OBJECT:
            return self._object(shape)
        if kind is MessageKind.WRAPPER:
            return _wrapper(self._convert(shape.fields[0]))
        return {
            MessageKind.TIMESTAMP: _timestamp,
            MessageKind.DURATION: _duration,
            MessageKind.FIELD_MASK: _field_mask,
            MessageKind.STRUCT: _struct,
            MessageKind.VALUE: _value,
            MessageKind.LIST_VALUE: _list_value,
            MessageKind.ANY: _doubt,
        }[kind]

    def _object(self, shape: MessageShape) -> Reader:
        # JSON name -> (attribute, type of value that protobuf takes and checks as it is, what else to do)
        fields: dict[str, tuple[str, type, Setter]] = {}
        # Types may hold themselves: the function is known before its fields are.
        make = _tolerant_reader if self._ignore_unknown else _strict_reader
        read = make(fields, _json_names_apart(shape), _conflicts(shape))
        self._readers[shape] = read
        for name, field in shape.by_name.items():
            fields[name] = (field.name, _taken_as_is(field), _doubt if field.is_extension else self._setter(field))
        return read

    def _setter(self, field: FieldShape) -> Setter:
        if field.cardinality is Cardinality.MAP:
            return self._map(field)
        if field.cardinality is Cardinality.REPEATED:
            if field.message is not None:
                return _repeated_messages(field.name, self._reader(field.message))
            return _repeated_scalars(field.name, _same_types(field), self._convert(field))
        if field.message is not None:
            return _submessage(field.name, self._reader(field.message), takes_null=field.takes_null)
        return _scalar(field.name, self._convert(field), takes_null=field.takes_null)

    def _map(self, field: FieldShape) -> Setter:
        assert field.key is not None
        assert field.value is not None
        key: Convert | None = _integer_text
        if field.key.type == FieldDescriptor.TYPE_STRING:
            key = None
        elif field.key.type == FieldDescriptor.TYPE_BOOL:
            key = _BOOL_KEYS.__getitem__
        if field.value.message is not None:
            return _message_map(field.name, key, self._reader(field.value.message))
        return _scalar_map(field.name, key, self._convert(field.value))

    def _convert(self, field: FieldShape) -> Convert:
        if field.enum is not None:
            return _enum(field.enum)
        if field.type in INTEGER_RANGES:
            return _integer
        return {
            FieldDescriptor.TYPE_STRING: _string,
            FieldDescriptor.TYPE_BOOL: _bool,
            FieldDescriptor.TYPE_DOUBLE: _double,
            FieldDescriptor.TYPE_FLOAT: _single,
            FieldDescriptor.TYPE_BYTES: _bytes,
        }[field.type]


def _checking(read: Reader, exact: Decoder, room: int) -> Decoder:
    loads = orjson.loads

    def decode(body: bytes, message: Message) -> None:
        if not body:
            return
        try:
            if not repeats_key(body, read(loads(body), message, room)):
                return
        except _DOUBTS:
            pass  # the exact decoder below knows what it is, and whether it is wrong
        exact(body, message)

    return decode


Check = Callable[[dict[str, object]], None]


def _strict_reader(
    fields: Mapping[str, tuple[str, type, Setter]], json_names: frozenset[str], check: Check | None
) -> Reader:
    def read(value: Any, message: Any, room: int) -> int:
        room -= 1
        if type(value) is not dict or room < 0:
            raise _Doubt
        keys = len(value)
        for name, item in value.items():
            attribute, plain, setter = fields[name]
            if type(item) is plain:
                setattr(message, attribute, item)
            else:
                keys += setter(item, message, room)
        if check is not None and not json_names.isdisjoint(value):
            check(value)
        return keys

    return read


def _tolerant_reader(
    fields: Mapping[str, tuple[str, type, Setter]], json_names: frozenset[str], check: Check | None
) -> Reader:
    def read(value: Any, message: Any, room: int) -> int:
        room -= 1
        if type(value) is not dict or room < 0:
            raise _Doubt
        keys = len(value)
        for name, item in value.items():
            field = fields.get(name)
            if field is None:
                keys += _keys_in(item, room)
                continue
            attribute, plain, setter = field
            if type(item) is plain:
                setattr(message, attribute, item)
            else:
                keys += setter(item, message, room)
        if check is not None and not json_names.isdisjoint(value):
            check(value)
        return keys

    return read


def _json_names_apart(shape: MessageShape) -> frozenset[str]:
    """Return the names of which an object may hold one alone without being looked at for conflicts.

    These are the JSON names that differ from the contract's, and every name of a oneof's members.
    """
    names = {field.json_name for field in shape.fields if field.json_name != field.name}
    return frozenset(names | {name for name, field in shape.by_name.items() if field.oneof})


def _conflicts(shape: MessageShape) -> Check | None:
    """Return what raises where an object may name one field twice, or two fields of a oneof; None if none can."""
    twins = {field.json_name: field.name for field in shape.fields if field.json_name != field.name}
    members: dict[str, list[str]] = {}
    for name, field in shape.by_name.items():
        if field.oneof:
            members.setdefault(field.oneof, []).append(name)
    oneofs = tuple(members.values())
    if not twins and not oneofs:
        return None

    def check(value: dict[str, object]) -> None:
        for name in value:
            if twins.get(name) in value:
                raise _Doubt  # both spellings in one object
        for oneof in oneofs:
            if sum(name in value for name in oneof) > 1:
                raise _Doubt  # nulls may be among them, which would be right

    return check


def _taken_as_is(field: FieldShape) -> type:
    """Return the JSON type whose values protobuf takes as they are, ranges checked."""
    if field.cardinality is not Cardinality.SINGULAR or field.is_extension:
        return _Never
    if field.type in INTEGER_RANGES or field.enum is not None:
        return int
    return {
        FieldDescriptor.TYPE_STRING: str,
        FieldDescriptor.TYPE_BOOL: bool,
        FieldDescriptor.TYPE_DOUBLE: float,
    }.get(field.type, _Never)


def _same_types(field: FieldShape) -> frozenset[type] | None:
    """Return the types of elements that a whole list is handed to protobuf with."""
    if field.type == FieldDescriptor.TYPE_BOOL:
        return _BOOLEANS
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return _NUMBERS
    if field.type == FieldDescriptor.TYPE_STRING:
        return frozenset((str,))
    return frozenset((int,)) if field.type in INTEGER_RANGES else None


def _doubt(_value: object, _message: object, _room: int) -> int:
    raise _Doubt


def _keys_in(value: object, room: int) -> int:
    """Return how many keys the objects in an ignored value have."""
    if type(value) is not dict and type(value) is not list:
        return 0
    room -= 1
    if room < 0:
        raise _Doubt
    if type(value) is list:
        return sum(_keys_in(item, room) for item in value)
    assert isinstance(value, dict)
    return len(value) + sum(_keys_in(item, room) for item in value.values())


def _scalar(name: str, convert: Convert, *, takes_null: bool) -> Setter:
    def set_scalar(value: Any, message: Any, _room: int) -> int:
        if value is None and not takes_null:
            message.ClearField(name)
        else:
            setattr(message, name, convert(value))
        return 0

    return set_scalar


def _submessage(name: str, read: Reader, *, takes_null: bool) -> Setter:
    def set_message(value: Any, message: Any, room: int) -> int:
        if value is None and not takes_null:
            message.ClearField(name)
            return 0
        inner = getattr(message, name)
        inner.SetInParent()
        return read(value, inner, room)

    return set_message


def _repeated_messages(name: str, read: Reader) -> Setter:
    def set_messages(value: Any, message: Any, room: int) -> int:
        target = getattr(message, name)
        if target:
            del target[:]
        if value is None:
            return 0
        room -= 1
        if type(value) is not list or room < 0:
            raise _Doubt
        add = target.add
        keys = 0
        for item in value:
            keys += read(item, add(), room)
        return keys

    return set_messages


def _repeated_scalars(name: str, plain: frozenset[type] | None, convert: Convert) -> Setter:
    def set_scalars(value: Any, message: Any, room: int) -> int:
        target = getattr(message, name)
        if target:
            del target[:]
        if value is None:
            return 0
        if type(value) is not list or room < 1:
            raise _Doubt
        if plain is not None and plain.issuperset(map(type, value)):
            target.extend(value)
        else:
            target.extend([convert(item) for item in value])
        return 0

    return set_scalars


def _scalar_map(name: str, key: Convert | None, convert: Convert) -> Setter:
    def set_map(value: Any, message: Any, room: int) -> int:
        message.ClearField(name)
        if value is None:
            return 0
        if type(value) is not dict or room < 1:
            raise _Doubt
        entries = getattr(message, name)
        for text, item in value.items():
            entries[text if key is None else key(text)] = convert(item)
        if len(entries) != len(value):
            raise _Doubt  # two texts of one key
        return len(value)

    return set_map


def _message_map(name: str, key: Convert | None, read: Reader) -> Setter:
    def set_map(value: Any, message: Any, room: int) -> int:
        message.ClearField(name)
        if value is None:
            return 0
        room -= 1
        if type(value) is not dict or room < 0:
            raise _Doubt
        entries = getattr(message, name)
        keys = len(value)
        for text, item in value.items():
            keys += read(item, entries[text if key is None else key(text)], room)
        if len(entries) != len(value):
            raise _Doubt  # two texts of one key
        return keys

    return set_map


def _integer_text(text: str) -> int:
    if _INTEGER.match(text) is None:
        raise _Doubt
    return int(text)


def _integer(value: Any) -> object:
    # Protobuf checks the range, and refuses booleans and floats.
    return _integer_text(value) if type(value) is str else value


def _string(value: Any) -> object:
    # Protobuf would refuse everything else as well, but for bytes, which JSON does not have.
    return value


def _bool(value: Any) -> object:
    if type(value) is not bool:
        raise _Doubt
    return value


def _double(value: Any) -> object:
    if type(value) not in _NUMBERS:
        raise _Doubt
    return value


def _single(value: Any) -> object:
    if type(value) not in _NUMBERS or not -FLOAT_LIMIT < value < FLOAT_LIMIT:
        raise _Doubt
    return value


def _bytes(value: Any) -> object:
    if type(value) is not str:
        raise _Doubt
    return parse_base64(value)


def _enum(enum: EnumShape) -> Convert:
    names = enum.names
    null = 0 if enum.is_null_value else None

    def convert(value: Any) -> object:
        if type(value) is str:
            return names[value]
        return null if value is None else value

    return convert


def _wrapper(convert: Convert) -> Reader:
    def read(value: Any, message: Any, _room: int) -> int:
        message.value = convert(value)
        return 0

    return read


def _timestamp(value: Any, message: Any, _room: int) -> int:
    message.seconds, message.nanos = parse_timestamp(value)
    return 0


def _duration(value: Any, message: Any, _room: int) -> int:
    message.seconds, message.nanos = parse_duration(value)
    return 0


def _field_mask(value: Any, message: Any, _room: int) -> int:
    if type(value) is not str:
        raise _Doubt
    message.ClearField("paths")
    message.paths.extend(parse_field_mask(value))
    return 0


def _struct(value: Any, message: Any, room: int) -> int:
    room -= 1
    if type(value) is not dict or room < 0:
        raise _Doubt
    message.Clear()
    message.SetInParent()
    entries = message.fields
    keys = len(value)
    for key, item in value.items():
        keys += _value(item, entries[key], room)
    return keys


def _list_value(value: Any, message: Any, room: int) -> int:
    room -= 1
    if type(value) is not list or room < 0:
        raise _Doubt
    message.Clear()
    message.SetInParent()
    add = message.values.add
    keys = 0
    for item in value:
        keys += _value(item, add(), room)
    return keys


def _value(value: Any, message: Any, room: int) -> int:
    kind = type(value)
    if kind is str:
        message.string_value = value
    elif kind is bool:
        message.bool_value = value
    elif kind is dict:
        return _struct(value, message.struct_value, room)
    elif kind is list:
        return _list_value(value, message.list_value, room)
    elif value is None:
        message.null_value = 0
    else:
        message.number_value = value
    return 0
