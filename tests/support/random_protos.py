"""Hypothesis strategies: message types of every kind, and messages of them."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    duration_pb2,
    field_mask_pb2,
    message_factory,
    struct_pb2,
    timestamp_pb2,
    wrappers_pb2,
)
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

F = descriptor_pb2.FieldDescriptorProto

WELL_KNOWN_FILES = (any_pb2, duration_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2)
WELL_KNOWN = tuple(
    f".google.protobuf.{name}"
    for name in (
        *("Timestamp", "Duration", "FieldMask", "Struct", "Value", "ListValue", "Any"),
        *("DoubleValue", "FloatValue", "Int64Value", "UInt64Value", "Int32Value", "UInt32Value"),
        *("BoolValue", "StringValue", "BytesValue"),
    )
)
SCALARS = tuple(t for t in range(1, 19) if t not in (F.TYPE_GROUP, F.TYPE_MESSAGE, F.TYPE_ENUM))
MAP_KEYS = tuple(t for t in SCALARS if t not in (F.TYPE_DOUBLE, F.TYPE_FLOAT, F.TYPE_BYTES))
EDITION_2023 = descriptor_pb2.Edition.EDITION_2023

# Each has another JSON name; letter case and underscores aside they differ, as protobuf demands.
FIELD_NAMES = (
    "a",
    "b_c",
    "long_field_name",
    "_lead",
    "n1_2x",
    "class",
    "camelCase",
    "trail_",
    "value",
    "x9",
    "kind",
    "p_q_r",
)
TEXTS = ("", "a", "na\u00efve", "\U0001f600", 'quo"te\\', 'colon: ": :', "{[", "\x00\x1f", "1", "true", "null", " x ")


# Hypothesis looks a strategy through when it is first drawn from, which takes longer than to draw: each is made once.


@cache
def _sampled(values: tuple[Any, ...]) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


@cache
def _several(values: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, max_size=most)


@cache
def _names() -> st.SearchStrategy[list[str]]:
    return st.lists(_sampled(FIELD_NAMES), max_size=6, unique=True)


@dataclass(frozen=True)
class Contract:
    """A pool with one random file, and the message types in it."""

    pool: descriptor_pool.DescriptorPool
    messages: tuple[Descriptor, ...]

    def __repr__(self) -> str:
        """Show the contract, for a failing test's report."""
        file = descriptor_pb2.FileDescriptorProto()
        self.messages[0].file.CopyToProto(file)
        del file.dependency[:]
        return str(file)


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    """One to three message types and two enums, of any syntax, referring to one another and to well-known types."""
    syntax = draw(_sampled(("proto3", "proto2", "editions")))
    file = descriptor_pb2.FileDescriptorProto(name="random.proto", package="t", syntax=syntax)
    if syntax == "editions":
        file.edition = EDITION_2023
    file.dependency.extend(module.DESCRIPTOR.name for module in WELL_KNOWN_FILES)
    for name in ("E", "G"):
        enum = file.enum_type.add(name=name)
        for value, number in (("ZERO", 0), ("ONE", 1), ("MINUS", -3), ("UNO", 1), ("MANY", 70)):
            enum.value.add(name=f"{name}_{value}", number=number)
        enum.options.allow_alias = True
    if syntax == "editions":
        file.enum_type[1].options.features.enum_type = descriptor_pb2.FeatureSet.CLOSED
    count = draw(st.integers(1, 3))
    for index in range(count):
        message = file.message_type.add(name=f"M{index}")
        names = draw(_names())
        for number, name in enumerate(names, 1):
            _add_field(draw, file, message, name, number, count, syntax)
        _add_oneof(draw, message, syntax)
    if syntax == "proto2":
        file.message_type[0].extension_range.add(start=100, end=200)
        file.extension.add(name="ext", number=100, label=1, extendee=".t.M0", type=draw(_sampled(SCALARS)))
        file.extension.add(name="ext_m", number=101, label=3, extendee=".t.M0", type=F.TYPE_MESSAGE, type_name=".t.M0")
    pool = descriptor_pool.DescriptorPool()
    for module in WELL_KNOWN_FILES:
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return Contract(pool, tuple(pool.FindMessageTypeByName(f"t.M{index}") for index in range(count)))


def _add_field(
    draw: st.DrawFn,
    file: descriptor_pb2.FileDescriptorProto,
    message: descriptor_pb2.DescriptorProto,
    name: str,
    number: int,
    messages: int,
    syntax: str,
) -> None:
    shape = draw(_sampled(("scalar", "scalar", "enum", "message", "known", "map", "group")))
    field = message.field.add(name=name, number=number, label=draw(_sampled((1, 1, 3))))
    if draw(st.integers(0, 9)) == 0:
        field.json_name = f"@{name}"
    if shape == "map":
        entry_name = _entry_name(name)
        entry = message.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        entry.field.add(name="key", number=1, label=1, type=draw(_sampled(MAP_KEYS)))
        value = entry.field.add(name="value", number=2, label=1)
        _set_type(draw, value, draw(_sampled(("scalar", "enum", "message", "known"))), messages, syntax)
        field.label = F.LABEL_REPEATED
        field.type = F.TYPE_MESSAGE
        field.type_name = f".t.{message.name}.{entry_name}"
        return
    if shape == "group" and syntax != "proto3":
        _set_type(draw, field, "message", messages, syntax)
        if syntax == "editions":
            field.options.features.message_encoding = descriptor_pb2.FeatureSet.DELIMITED
        else:
            field.type = F.TYPE_GROUP
        return
    _set_type(draw, field, "known" if shape == "group" else shape, messages, syntax)
    if field.label == 1:
        if syntax == "proto3" and field.type != F.TYPE_MESSAGE and draw(st.booleans()):
            field.proto3_optional = True
            field.oneof_index = len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{name}_optional")
        elif syntax == "editions" and field.type != F.TYPE_MESSAGE and draw(st.booleans()):
            field.options.features.field_presence = descriptor_pb2.FeatureSet.IMPLICIT
            if field.type == F.TYPE_ENUM:
                field.type_name = ".t.E"


def _entry_name(name: str) -> str:
    """Name a map's entry as protoc does, which the pool checks."""
    out, upper = "", True
    for letter in name:
        if letter == "_":
            upper = True
        else:
            out += letter.upper() if upper else letter
            upper = False
    return out + "Entry"


def _set_type(draw: st.DrawFn, field: Any, shape: str, messages: int, syntax: str) -> None:
    if shape == "scalar":
        field.type = draw(_sampled(SCALARS))
    elif shape == "enum":
        field.type = F.TYPE_ENUM
        # The null enum is open; a closed type or map value of another syntax may not hold it.
        names = (".t.E", ".t.G", ".google.protobuf.NullValue") if syntax == "proto3" else (".t.E", ".t.G")
        field.type_name = draw(_sampled(names))
    else:
        field.type = F.TYPE_MESSAGE
        field.type_name = (
            draw(_sampled(WELL_KNOWN)) if shape == "known" else f".t.M{draw(st.integers(0, messages - 1))}"
        )


def _add_oneof(draw: st.DrawFn, message: descriptor_pb2.DescriptorProto, syntax: str) -> None:
    """Move some singular fields into a oneof; real ones must stand before those of optional fields."""
    free = [f for f in message.field if f.label == 1 and not f.HasField("oneof_index") and not f.options.ListFields()]
    if len(free) < 2 or not draw(st.booleans()):
        return
    message.oneof_decl.insert(0, descriptor_pb2.OneofDescriptorProto(name="choice"))
    for field in message.field:
        if field.HasField("oneof_index"):
            field.oneof_index += 1
    # Protobuf wants the members together, one after the other.
    chosen = free[:3]
    rest = [f for f in message.field if f not in chosen]
    for field in chosen:
        field.oneof_index = 0
    ordered = [*chosen, *rest]
    copies = [F.FromString(f.SerializeToString()) for f in ordered]
    del message.field[:]
    message.field.extend(copies)


def new(descriptor: Descriptor) -> Any:
    """Return an empty message of a type."""
    return message_factory.GetMessageClass(descriptor)()


INTEGERS: dict[int, tuple[int, int]] = {
    **dict.fromkeys((F.TYPE_INT32, F.TYPE_SINT32, F.TYPE_SFIXED32), (-(2**31), 2**31 - 1)),
    **dict.fromkeys((F.TYPE_UINT32, F.TYPE_FIXED32), (0, 2**32 - 1)),
    **dict.fromkeys((F.TYPE_INT64, F.TYPE_SINT64, F.TYPE_SFIXED64), (-(2**63), 2**63 - 1)),
    **dict.fromkeys((F.TYPE_UINT64, F.TYPE_FIXED64), (0, 2**64 - 1)),
}


def scalar_values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Values that a scalar or enum field holds."""
    if field.type == F.TYPE_ENUM:
        assert field.enum_type is not None
        known = tuple(value.number for value in field.enum_type.values)
        return _sampled(known if field.enum_type.is_closed else (*known, 5, -(2**31)))
    return _scalars(field.type)


@cache
def _scalars(kind: int) -> st.SearchStrategy[Any]:
    if kind in INTEGERS:
        low, high = INTEGERS[kind]
        return st.one_of(st.sampled_from((low, high, max(low, -1), 0, 1)), st.integers(low, high))
    if kind == F.TYPE_DOUBLE:
        return st.floats()
    if kind == F.TYPE_FLOAT:
        return st.floats(width=32)
    if kind == F.TYPE_BOOL:
        return st.booleans()
    if kind == F.TYPE_BYTES:
        return st.binary(max_size=5)
    return st.one_of(st.sampled_from(TEXTS), st.text(max_size=6))


@cache
def _objects() -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(_sampled(TEXTS), json_like(), max_size=3)


@cache
def _seconds() -> st.SearchStrategy[int]:
    return st.one_of(st.sampled_from((-62135596800, 253402300799, 0)), st.integers(-(10**10), 10**10))


@cache
def json_like(max_leaves: int = 6) -> st.SearchStrategy[Any]:
    """Values that a Struct may hold."""
    leaves = st.one_of(
        st.none(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(TEXTS)
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(TEXTS), inner, max_size=3)
        ),
        max_leaves=max_leaves,
    )


@st.composite
def messages(draw: st.DrawFn, contract: Contract, descriptor: Descriptor) -> Message:
    """A message of a type, with well-known types in their valid range."""
    message: Message = new(descriptor)
    fill(draw, contract, message, 0)
    return message


def fill(draw: st.DrawFn, contract: Contract, message: Any, depth: int) -> None:
    """Give some of a message's fields values, extensions included."""
    descriptor = message.DESCRIPTOR
    if descriptor.full_name.startswith("google.protobuf."):
        _fill_known(draw, contract, message, depth)
        return
    for field in descriptor.fields:
        if draw(st.integers(0, 3)):
            _fill_field(draw, contract, message, field, depth)
    for extension in contract.pool.FindAllExtensions(descriptor) if descriptor.is_extendable else ():
        if draw(st.booleans()):
            if extension.is_repeated:
                if depth < 3:
                    fill(draw, contract, message.Extensions[extension].add(), depth + 1)
            else:
                message.Extensions[extension] = draw(scalar_values(extension))


def _fill_field(draw: st.DrawFn, contract: Contract, message: Any, field: FieldDescriptor, depth: int) -> None:
    nested = field.message_type
    if nested is not None and nested.GetOptions().map_entry:
        key_field, value_field = nested.fields_by_name["key"], nested.fields_by_name["value"]
        entries = getattr(message, field.name)
        for key in draw(_several(scalar_values(key_field), 2)):
            if value_field.message_type is None:
                entries[key] = draw(scalar_values(value_field))
            elif depth < 3:
                fill(draw, contract, entries[key], depth + 1)
    elif nested is not None:
        if depth >= 3:
            return
        if field.is_repeated:
            for _ in range(draw(st.integers(0, 2))):
                fill(draw, contract, getattr(message, field.name).add(), depth + 1)
        else:
            inner = getattr(message, field.name)
            inner.SetInParent()
            fill(draw, contract, inner, depth + 1)
    elif field.is_repeated:
        getattr(message, field.name).extend(draw(_several(scalar_values(field), 3)))
    else:
        setattr(message, field.name, draw(scalar_values(field)))


def _fill_known(draw: st.DrawFn, contract: Contract, message: Any, depth: int) -> None:
    name = message.DESCRIPTOR.name
    if name == "Timestamp":
        message.seconds = draw(_seconds())
        message.nanos = draw(_sampled((0, 1, 1000, 999_000_000, 123_456_000, 999_999_999)))
    elif name == "Duration":
        sign = draw(_sampled((1, -1)))
        message.seconds = sign * draw(_sampled((0, 1, 59, 10**9, 315_575_999_999)))
        message.nanos = sign * draw(_sampled((0, 1, 1000, 999_000_000, 123_456_789)))
    elif name == "FieldMask":
        message.paths.extend(draw(_several(_sampled(("a", "b_c", "d.e_f", "long_name.x")), 2)))
    elif name == "Struct":
        message.update(draw(_objects()))
    elif name == "ListValue":
        message.extend(draw(_several(json_like(), 3)))
    elif name == "Value":
        _fill_value(message, draw(json_like()))
    elif name == "Any":
        if depth < 3 and draw(st.booleans()):
            own = contract.messages[0].full_name
            known = ("google.protobuf.Duration", "google.protobuf.Struct", "google.protobuf.Int64Value", own)
            inner = new(contract.pool.FindMessageTypeByName(draw(_sampled(known))))
            fill(draw, contract, inner, depth + 1)
            message.type_url = f"type.googleapis.com/{inner.DESCRIPTOR.full_name}"
            message.value = inner.SerializeToString(deterministic=True)
    elif name != "Empty":
        message.value = draw(scalar_values(message.DESCRIPTOR.fields[0]))


def _fill_value(message: Any, value: Any) -> None:
    if value is None:
        message.null_value = 0
    elif isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, float):
        message.number_value = value
    elif isinstance(value, str):
        message.string_value = value
    elif isinstance(value, list):
        message.list_value.SetInParent()
        message.list_value.extend(value)
    else:
        message.struct_value.SetInParent()
        message.struct_value.update(value)
