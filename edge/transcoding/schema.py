"""What the JSON codec needs to know of a message type, worked out once from its descriptor."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto

from google.protobuf import json_enumvalue_options_pb2  # type: ignore[attr-defined]  # newer than its stubs
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FieldOptions

WRAPPERS = frozenset(
    f"google.protobuf.{name}Value"
    for name in ("Double", "Float", "Int64", "UInt64", "Int32", "UInt32", "Bool", "String", "Bytes")
)

WIDE_INTEGERS = frozenset(
    {
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_SINT64,
        FieldDescriptor.TYPE_SFIXED64,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_FIXED64,
    }
)
"""Types of integers that JSON writes as strings, for their values do not all fit a double."""


class MessageKind(Enum):
    """How a message type is written in JSON."""

    OBJECT = auto()
    WRAPPER = auto()
    TIMESTAMP = auto()
    DURATION = auto()
    FIELD_MASK = auto()
    STRUCT = auto()
    VALUE = auto()
    LIST_VALUE = auto()
    ANY = auto()


_KINDS: Mapping[str, MessageKind] = {
    "google.protobuf.Timestamp": MessageKind.TIMESTAMP,
    "google.protobuf.Duration": MessageKind.DURATION,
    "google.protobuf.FieldMask": MessageKind.FIELD_MASK,
    "google.protobuf.Struct": MessageKind.STRUCT,
    "google.protobuf.Value": MessageKind.VALUE,
    "google.protobuf.ListValue": MessageKind.LIST_VALUE,
    "google.protobuf.Any": MessageKind.ANY,
} | dict.fromkeys(WRAPPERS, MessageKind.WRAPPER)


class Cardinality(Enum):
    """How many values a field holds."""

    SINGULAR = auto()
    REPEATED = auto()
    MAP = auto()


@dataclass(frozen=True, slots=True)
class EnumShape:
    """An enum's values by JSON name and by number.

    `names` holds aliases and, where the enum declares them with `(pb.enumvalue.json)`, its own JSON names as well.
    `by_number` holds the name that JSON output uses. A closed enum takes no other number.
    """

    full_name: str
    names: Mapping[str, int]
    by_number: Mapping[int, str]
    closed: bool
    is_null_value: bool


@dataclass(frozen=True, slots=True, eq=False)
class FieldShape:
    """A field: the names that JSON may give it, and what it holds.

    For a map, `key` and `value` are the shapes of its entry's two fields. `oneof` is the name of the real oneof that
    holds the field, the empty string elsewhere (an `optional` field of proto3 is in none).
    """

    descriptor: FieldDescriptor
    name: str
    json_name: str
    cardinality: Cardinality
    type: int
    has_presence: bool
    is_extension: bool
    oneof: str
    enum: EnumShape | None = None
    message: "MessageShape | None" = None
    key: "FieldShape | None" = None
    value: "FieldShape | None" = None

    def is_null_when_unset(self, *, optionals: bool) -> bool:
        """Whether the field, when unset, can be written as null: it knows being unset, and no oneof speaks for it.

        `optionals` counts the `optional` fields of proto3, which grpc-gateway leaves out.
        """
        alone = self.descriptor.containing_oneof is None or (optionals and _is_optional(self.descriptor))
        return self.has_presence and alone

    @property
    def is_wide(self) -> bool:
        """Whether JSON has the field's integers as strings, since they may be too wide for the numbers of JavaScript.

        A contract whose integers are not says so by `jstype = JS_NUMBER`, which other options of fields know as well.
        """
        return self.type in WIDE_INTEGERS and self.descriptor.GetOptions().jstype != FieldOptions.JS_NUMBER

    @property
    def takes_null(self) -> bool:
        """Whether JSON null is a value of the field, not its absence."""
        if self.message is not None:
            return self.message.kind is MessageKind.VALUE
        return self.enum is not None and self.enum.is_null_value


@dataclass(slots=True, eq=False)
class MessageShape:
    """A message type.

    `fields` are in the contract's order, without extensions; `extensions` are those that the pool knew when the shape
    was made, by `[full.name]`; `by_name` finds a field by every name that JSON may give it, extensions included.
    """

    descriptor: Descriptor
    kind: MessageKind
    fields: tuple[FieldShape, ...] = ()
    extensions: Mapping[str, FieldShape] = field(default_factory=dict)
    by_name: Mapping[str, FieldShape] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the contract, for hints."""
        return tuple(shape.name for shape in self.fields)


class Schema:
    """The shapes of every message type that its `message` was asked for, and of all that these reach.

    A schema is filled while plans are compiled and only read afterwards.
    """

    def __init__(self) -> None:
        self._messages: dict[Descriptor, MessageShape] = {}
        self._enums: dict[EnumDescriptor, EnumShape] = {}

    def message(self, descriptor: Descriptor) -> MessageShape:
        """Return the shape of a message type; types may refer to themselves."""
        shape = self._messages.get(descriptor)
        if shape is None:
            shape = MessageShape(descriptor, _KINDS.get(descriptor.full_name, MessageKind.OBJECT))
            self._messages[descriptor] = shape
            self._fill(shape)
        return shape

    def field(self, descriptor: FieldDescriptor) -> FieldShape:
        """Return the shape of a field."""
        assert descriptor.containing_type is not None
        owner = self.message(descriptor.containing_type)
        if descriptor.is_extension:
            return owner.extensions[f"[{descriptor.full_name}]"]
        return next(shape for shape in owner.fields if shape.name == descriptor.name)

    def _fill(self, shape: MessageShape) -> None:
        descriptor = shape.descriptor
        shape.fields = tuple(self._field(f) for f in descriptor.fields)
        if descriptor.is_extendable:
            known = descriptor.file.pool.FindAllExtensions(descriptor)
            shape.extensions = {f"[{f.full_name}]": self._field(f) for f in known}
        # A contract's name wins over another field's JSON name.
        by_name = {f.json_name: f for f in shape.fields}
        by_name.update((f.name, f) for f in shape.fields)
        by_name.update(shape.extensions)
        shape.by_name = by_name

    def _field(self, descriptor: FieldDescriptor) -> FieldShape:
        entry = descriptor.message_type
        if entry is not None and entry.GetOptions().map_entry:
            key, value = (self._field(entry.fields_by_name[name]) for name in ("key", "value"))
            return self._shape(descriptor, Cardinality.MAP, key=key, value=value)
        return self._shape(descriptor, Cardinality.REPEATED if descriptor.is_repeated else Cardinality.SINGULAR)

    def _shape(
        self,
        descriptor: FieldDescriptor,
        cardinality: Cardinality,
        *,
        key: FieldShape | None = None,
        value: FieldShape | None = None,
    ) -> FieldShape:
        oneof = descriptor.containing_oneof
        return FieldShape(
            descriptor=descriptor,
            name=descriptor.name,
            json_name=descriptor.json_name,
            cardinality=cardinality,
            type=descriptor.type,
            has_presence=descriptor.has_presence,
            is_extension=descriptor.is_extension,
            # The oneof of an `optional` field holds that field alone; a real one of one member needs no rule either.
            oneof=oneof.name if oneof is not None and len(oneof.fields) > 1 else "",
            enum=self._enum(descriptor.enum_type) if descriptor.enum_type is not None else None,
            message=self.message(descriptor.message_type)
            if descriptor.message_type is not None and cardinality is not Cardinality.MAP
            else None,
            key=key,
            value=value,
        )

    def _enum(self, descriptor: EnumDescriptor) -> EnumShape:
        shape = self._enums.get(descriptor)
        if shape is None:
            by_number: dict[int, str] = {}
            names: dict[str, int] = {}
            for name, number, own in _enum_values(descriptor):
                names.setdefault(own or name, number)
                by_number.setdefault(number, own or name)
            names.update((value.name, value.number) for value in descriptor.values)
            shape = EnumShape(
                full_name=descriptor.full_name,
                names=names,
                by_number=by_number,
                closed=descriptor.is_closed,
                is_null_value=descriptor.full_name == "google.protobuf.NullValue",
            )
            self._enums[descriptor] = shape
        return shape


def reachable(shape: MessageShape) -> Iterator[MessageShape]:
    """Yield a message type and all that its fields and extensions lead to, each once."""
    seen = {shape}
    waiting = [shape]
    while waiting:
        current = waiting.pop()
        yield current
        for field_ in (*current.fields, *current.extensions.values()):
            inner = field_.value.message if field_.value is not None else field_.message
            if inner is not None and inner not in seen:
                seen.add(inner)
                waiting.append(inner)


def _enum_values(descriptor: EnumDescriptor) -> Iterator[tuple[str, int, str]]:
    """Yield each value's name, number and own JSON name, if it has one.

    Own names are declared by `(pb.enumvalue.json)`, google/protobuf/json_enumvalue_options.proto.
    """
    extension = json_enumvalue_options_pb2.json
    for value in descriptor.values:
        options = value.GetOptions()
        own = options.Extensions[extension].string if options.HasExtension(extension) else ""
        yield value.name, value.number, own


def _is_optional(field: FieldDescriptor) -> bool:
    """Tell whether a field is an `optional` one of proto3.

    Its made-up oneof holds it alone and is named after it: `_name`, with `X` in front while that name is taken.
    """
    oneof = field.containing_oneof
    return oneof is not None and len(oneof.fields) == 1 and oneof.name.lstrip("X") == f"_{field.name}"
