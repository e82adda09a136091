"""Message types as JSON Schema (2020-12), as OpenAPI 3.1 has it in its components: the protobuf JSON mapping.

What is described is the form that the transcoder writes. It also reads others, such as numbers for enums, and 64-bit
integers as numbers; and NaN and the infinities, which are strings in JSON, are not described.
"""

import math
from collections.abc import Collection, Sequence
from itertools import combinations
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from edge.transcoding.codec import JsonOptions
from edge.transcoding.comments import Comments
from edge.transcoding.openapi_components import Components, JsonSchema, Use
from edge.transcoding.openapi_rules import behavior_of, constrain, required_choices
from edge.transcoding.scalars import INTEGER_RANGES
from edge.transcoding.schema import WIDE_INTEGERS, Cardinality, EnumShape, FieldShape, MessageKind, MessageShape

_INTEGER = "^-?[0-9]+$"
_MAX_ONEOF = 12
"""A larger oneof is described in words only: its rule grows with the square of its members."""

_WELL_KNOWN: dict[MessageKind, JsonSchema] = {
    MessageKind.TIMESTAMP: {"type": "string", "format": "date-time"},
    MessageKind.DURATION: {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$", "examples": ["1.5s"]},
    MessageKind.FIELD_MASK: {"type": "string", "examples": ["name,address.city"]},
    MessageKind.STRUCT: {"type": "object", "additionalProperties": True},
    MessageKind.VALUE: {},
    MessageKind.LIST_VALUE: {"type": "array", "items": {}},
    MessageKind.ANY: {
        "type": "object",
        "properties": {"@type": {"type": "string"}},
        "additionalProperties": True,
        "examples": [{"@type": "type.googleapis.com/google.protobuf.Duration", "value": "1.5s"}],
    },
}


class Schemas:
    """Makes schemas that refer to one another, and names them at the end.

    References lead nowhere until `named` is called.
    """

    def __init__(self, json: JsonOptions, comments: Comments) -> None:
        self._json = json
        self._comments = comments
        self._components = Components()

    def message(self, shape: MessageShape, use: Use) -> JsonSchema:
        """Return the schema of a message type: a reference, or the form of a well-known type."""
        if shape.kind is MessageKind.WRAPPER:
            return self._scalar(shape.fields[0])
        if shape.kind is not MessageKind.OBJECT:
            return dict(_WELL_KNOWN[shape.kind])
        name = shape.descriptor.full_name
        return self._components.reference((name, use), _parts(name), use, lambda: self._object(shape, use, ()))

    def body(self, name: str, shape: MessageShape, without: Collection[str]) -> JsonSchema:
        """Return a reference to the schema of a request body that lacks some of its type's fields."""
        key = (shape.descriptor.full_name, tuple(sorted(without)))
        return self._components.reference(
            key, tuple(name.split(".")), Use.REQUEST, lambda: self._object(shape, Use.REQUEST, without)
        )

    def field(self, shape: FieldShape, use: Use, *, described: bool = True) -> JsonSchema:
        """Return the schema of a field's value, with its comment as the description."""
        schema = self._value(shape, use)
        constrain(shape, schema)
        if described and (text := self._comments.of(shape.descriptor.full_name)):
            schema["description"] = text
        descriptor = shape.descriptor
        if descriptor.has_options and descriptor.GetOptions().deprecated:
            schema["deprecated"] = True
        if descriptor.has_default_value and shape.message is None:
            schema.update(_default(shape, self._json))
        return schema

    def file(self, shape: FieldShape) -> JsonSchema:
        """Return the schema of a field that is the file of a form."""
        text = self._comments.of(shape.descriptor.full_name)
        return {"type": "string", "format": "binary", **({"description": text} if text else {})}

    def name_of(self, shape: FieldShape) -> str:
        """Return the name that a field has in JSON."""
        if shape.is_extension:
            return f"[{shape.descriptor.full_name}]"
        return shape.name if self._json.proto_names else shape.json_name

    def named(self, reserved: Collection[str]) -> dict[str, JsonSchema]:
        """Return the components by name; see `Components.named`."""
        return self._components.named(reserved)

    def _object(self, shape: MessageShape, use: Use, without: Collection[str]) -> JsonSchema:
        properties: JsonSchema = {}
        required: list[str] = []
        oneofs: dict[str, list[str]] = {}
        for member in (*shape.fields, *shape.extensions.values()):
            behavior = behavior_of(member.descriptor)
            if member.name in without or (behavior.output_only if use is Use.REQUEST else behavior.input_only):
                continue
            name = self.name_of(member)
            schema = self.field(member, use)
            if use is Use.REQUEST:
                always = behavior.required
            else:
                always = member.descriptor.is_required or (use is Use.REPLY and self._is_always_written(member))
                if use is Use.REPLY and self._may_be_null(member):
                    schema = _nullable(schema)
            properties[name] = schema
            if always:
                required.append(name)
            if member.oneof:
                oneofs.setdefault(member.oneof, []).append(name)
        descriptor = shape.descriptor
        made = object_schema(properties, required)
        if text := self._comments.of(descriptor.full_name):
            made["description"] = text
        if descriptor.has_options and descriptor.GetOptions().deprecated:
            made["deprecated"] = True
        self._add_choices(shape, made, oneofs, demanding=use is Use.REQUEST)
        return made

    def _add_choices(
        self, shape: MessageShape, made: JsonSchema, oneofs: dict[str, list[str]], *, demanding: bool
    ) -> None:
        pairs = [pair for names in oneofs.values() if len(names) <= _MAX_ONEOF for pair in combinations(names, 2)]
        if pairs:
            forbidden = [{"required": list(pair)} for pair in pairs]
            made["not"] = forbidden[0] if len(forbidden) == 1 else {"anyOf": forbidden}
        for names in filter(lambda names: len(names) > 1, oneofs.values()):
            listed = ", ".join(f"`{name}`" for name in names)
            made["description"] = f"{made.get('description', '')}\n\nAt most one of {listed}.".lstrip()
        json_names = {member.name: self.name_of(member) for member in shape.fields}
        choices = [
            {
                "anyOf": [
                    {"required": [json_names[name]]}
                    for name in group
                    if json_names.get(name) in made.get("properties", ())
                ]
            }
            for group in (required_choices(shape.descriptor) if demanding else ())
        ]
        if choices:
            made["allOf"] = choices

    def _is_always_written(self, member: FieldShape) -> bool:
        return not member.is_extension and (not member.has_presence or self._may_be_null(member))

    def _may_be_null(self, member: FieldShape) -> bool:
        return self._json.emit_nulls and member.is_null_when_unset(optionals=self._json.null_optionals)

    def _value(self, shape: FieldShape, use: Use) -> JsonSchema:
        if shape.cardinality is Cardinality.MAP:
            assert shape.key is not None
            assert shape.value is not None
            made: JsonSchema = {"type": "object", "additionalProperties": self._value(shape.value, use)}
            if shape.key.type == FieldDescriptor.TYPE_BOOL:
                made["propertyNames"] = {"enum": ["true", "false"]}
            elif shape.key.type != FieldDescriptor.TYPE_STRING:
                made["propertyNames"] = {"pattern": _INTEGER}
            return made
        one = self.message(shape.message, use) if shape.message is not None else self._scalar(shape)
        return {"type": "array", "items": one} if shape.cardinality is Cardinality.REPEATED else one

    def _scalar(self, shape: FieldShape) -> JsonSchema:
        if shape.enum is not None:
            assert shape.descriptor.enum_type is not None
            return self._enum(shape.enum, shape.descriptor.enum_type)
        return scalar_schema(shape.type, is_wide=shape.is_wide)

    def _enum(self, shape: EnumShape, descriptor: EnumDescriptor) -> JsonSchema:
        if shape.is_null_value and not self._json.enum_numbers:
            return {"type": "null"}
        return self._components.reference(
            shape.full_name, _parts(shape.full_name), Use.REPLY, lambda: self._enum_schema(shape, descriptor)
        )

    def _enum_schema(self, shape: EnumShape, descriptor: EnumDescriptor) -> JsonSchema:
        values = list(shape.by_number) if self._json.enum_numbers else list(shape.by_number.values())
        made: JsonSchema = {"type": "integer" if self._json.enum_numbers else "string", "enum": values}
        texts = [self._comments.of(shape.full_name)]
        lines = []
        for value in descriptor.values:
            if text := self._comments.of(f"{shape.full_name}.{value.name}"):
                name = value.number if self._json.enum_numbers else shape.by_number[value.number]
                lines.append(f"- `{name}`: {text}")
        texts.append("\n".join(lines))
        if any(texts):
            made["description"] = "\n\n".join(filter(None, texts))
        return made


def object_schema(properties: JsonSchema, required: Sequence[str] = ()) -> JsonSchema:
    """Return the schema of an object."""
    made: JsonSchema = {"type": "object"}
    if properties:
        made["properties"] = properties
    if required:
        made["required"] = list(required)
    return made


def scalar_schema(type_: int, *, is_wide: bool) -> JsonSchema:
    """Return the schema of a scalar type that is no enum; `is_wide` of an integer that JSON has as a string."""
    if type_ in INTEGER_RANGES:
        low, high = INTEGER_RANGES[type_]
        if is_wide:
            return {
                "type": "string",
                "format": f"{'' if low else 'u'}int64",
                "pattern": _INTEGER if low else "^[0-9]+$",
            }
        if type_ in WIDE_INTEGERS:
            return {"type": "integer", "format": "int64", **({} if low else {"minimum": 0})}
        # No format of OpenAPI's is an unsigned one of 32 bits.
        return {
            "type": "integer",
            "format": "int32" if low else "int64",
            **({} if low else {"minimum": 0, "maximum": high}),
        }
    if type_ == FieldDescriptor.TYPE_BYTES:
        return {"type": "string", "format": "byte", "contentEncoding": "base64"}
    return {
        FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
        FieldDescriptor.TYPE_FLOAT: {"type": "number", "format": "float"},
        FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
        FieldDescriptor.TYPE_STRING: {"type": "string"},
    }[type_].copy()


def _default(shape: FieldShape, json: JsonOptions) -> JsonSchema:
    value: Any = shape.descriptor.default_value
    if isinstance(value, bytes) or (isinstance(value, float) and not math.isfinite(value)):
        return {}
    if shape.enum is not None:
        return {"default": value if json.enum_numbers else shape.enum.by_number.get(value, value)}
    return {"default": str(value) if shape.is_wide else value}


def _nullable(schema: JsonSchema) -> JsonSchema:
    if isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}
    outer: JsonSchema = {name: schema.pop(name) for name in ("description", "deprecated") if name in schema}
    return {"anyOf": [schema, {"type": "null"}], **outer} if schema else outer


def _parts(full_name: str) -> tuple[str, ...]:
    """Return a type's package in parts, and its own name, that of the types around it included, as the last."""
    *rest, last = full_name.split(".")
    # Packages are lower case by every style guide; a type within another is told by the other's name.
    own = [last]
    while rest and rest[-1][:1].isupper():
        own.insert(0, rest.pop())
    return (*rest, "_".join(own))
