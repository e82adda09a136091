"""What contracts say about the values of their fields, as JSON Schema.

Two sources are read: `google.api.field_behavior`, and the rules of protovalidate (buf/validate/validate.proto). The
latter are found by name in the pool of the contract that uses them, so that no package of them is needed.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from edge.transcoding.openapi_components import JsonSchema
from edge.transcoding.schema import FieldShape

_FIELD_RULES = ("google.protobuf.FieldOptions", "buf.validate.field")
_MESSAGE_RULES = ("google.protobuf.MessageOptions", "buf.validate.message")
_ONEOF_RULES = ("google.protobuf.OneofOptions", "buf.validate.oneof")

# 64-bit integers are strings in JSON, so that their bounds have no keyword.
_NUMBERS = frozenset(("float", "double", "int32", "uint32", "sint32", "fixed32", "sfixed32"))
_FORMATS: Mapping[str, str] = {
    "email": "email",
    "hostname": "hostname",
    "ipv4": "ipv4",
    "ipv6": "ipv6",
    "uri": "uri",
    "uri_ref": "uri-reference",
    "uuid": "uuid",
}
_RENAMED: Mapping[str, str] = {
    "min_len": "minLength",
    "max_len": "maxLength",
    "min_items": "minItems",
    "max_items": "maxItems",
    "min_pairs": "minProperties",
    "max_pairs": "maxProperties",
}


@dataclass(frozen=True, slots=True)
class Behavior:
    """Whether a field must be given in requests, and whether it stands in replies or in requests only."""

    required: bool = False
    output_only: bool = False
    input_only: bool = False


_PLAIN = Behavior()


def behavior_of(field: FieldDescriptor) -> Behavior:
    """Return what a contract says about a field's place."""
    if not field.has_options:
        return Behavior(required=field.is_required) if field.is_required else _PLAIN
    options = descriptor_pb2.FieldOptions.FromString(field.GetOptions().SerializeToString())
    said = set(options.Extensions[field_behavior_pb2.field_behavior])
    rules = _rules(_pool_of(field), _FIELD_RULES, options)
    return Behavior(
        required=field.is_required or field_behavior_pb2.REQUIRED in said or bool(rules is not None and rules.required),
        output_only=field_behavior_pb2.OUTPUT_ONLY in said,
        input_only=field_behavior_pb2.INPUT_ONLY in said,
    )


def constrain(field: FieldShape, schema: JsonSchema) -> None:
    """Add to a field's schema what protovalidate asks of its values."""
    descriptor = field.descriptor
    if not descriptor.has_options:
        return
    rules = _rules(_pool_of(descriptor), _FIELD_RULES, descriptor.GetOptions())
    if rules is None:
        return
    if rules.required and not descriptor.has_presence:
        # For a field without presence, given means other than empty.
        keyword = {"string": "minLength", "array": "minItems", "object": "minProperties"}.get(schema.get("type", ""))
        if keyword is not None and "format" not in schema:
            schema[keyword] = 1
    _add(field, rules, schema)


def required_choices(message: Descriptor) -> list[list[str]]:
    """Return the groups of fields, by their names, of which one at least must be given."""
    groups = [[field.name for field in oneof.fields] for oneof in message.oneofs if _oneof_is_required(oneof)]
    rules = _rules(message.file.pool, _MESSAGE_RULES, message.GetOptions()) if message.has_options else None
    if rules is not None and "oneof" in rules.DESCRIPTOR.fields_by_name:
        groups += [list(rule.fields) for rule in rules.oneof if rule.required]
    return groups


def _oneof_is_required(oneof: OneofDescriptor) -> bool:
    if not oneof.has_options:
        return False
    rules = _rules(oneof.containing_type.file.pool, _ONEOF_RULES, oneof.GetOptions())
    return rules is not None and bool(rules.required)


def _pool_of(field: FieldDescriptor) -> DescriptorPool:
    assert field.containing_type is not None
    return field.containing_type.file.pool


def _rules(pool: DescriptorPool, names: tuple[str, str], options: Message) -> Any:
    """Return the rules among some options, None where there are none or the pool knows no such rules."""
    options_name, extension_name = names
    try:
        extension = pool.FindExtensionByName(extension_name)
        own: Any = GetMessageClass(pool.FindMessageTypeByName(options_name))
    except KeyError:
        return None
    read = own.FromString(options.SerializeToString())
    return read.Extensions[extension] if read.HasExtension(extension) else None


def _add(field: FieldShape, rules: Any, schema: JsonSchema) -> None:
    kind = rules.WhichOneof("type")
    if kind is None:
        return
    said = {descriptor.name: value for descriptor, value in getattr(rules, kind).ListFields()}
    schema.update({keyword: said[name] for name, keyword in _RENAMED.items() if name in said and kind != "bytes"})
    if kind == "string":
        _add_string(said, schema)
    elif kind in _NUMBERS:
        _add_number(said, schema)
    elif kind == "bool" and "const" in said:
        schema["const"] = said["const"]
    elif kind == "enum" and field.enum is not None:
        numbers = [said["const"]] if "const" in said else said.get("in", ())
        names = [field.enum.by_number[number] for number in numbers if number in field.enum.by_number]
        if names:
            schema["enum"] = names
    elif kind == "repeated":
        if said.get("unique"):
            schema["uniqueItems"] = True
        if "items" in said:
            _add(field, said["items"], schema["items"])
    elif kind == "map" and field.key is not None and field.value is not None:
        if "values" in said:
            _add(field.value, said["values"], schema["additionalProperties"])
        if "keys" in said:
            _add(field.key, said["keys"], schema.setdefault("propertyNames", {}))


def _add_string(said: Mapping[str, Any], schema: JsonSchema) -> None:
    if "len" in said:
        schema["minLength"] = schema["maxLength"] = said["len"]
    _add_choice(said, schema)
    form = next((form for name, form in _FORMATS.items() if said.get(name)), None)
    if form is not None:
        schema["format"] = form
    patterns = [said["pattern"]] if "pattern" in said else []
    if "prefix" in said:
        patterns.append(f"^{_escaped(said['prefix'])}")
    if "suffix" in said:
        patterns.append(f"{_escaped(said['suffix'])}$")
    if "contains" in said:
        patterns.append(_escaped(said["contains"]))
    patterns = [pattern for pattern in patterns if _is_portable(pattern)]
    if patterns:
        schema["pattern"] = patterns[0]
    if len(patterns) > 1:
        schema["allOf"] = [{"pattern": pattern} for pattern in patterns[1:]]


def _add_number(said: Mapping[str, Any], schema: JsonSchema) -> None:
    low, high = said.get("gte", said.get("gt")), said.get("lte", said.get("lt"))
    # Bounds the wrong way round stand for what lies outside of them.
    if low is None or high is None or low <= high:
        keywords = {"gt": "exclusiveMinimum", "gte": "minimum", "lt": "exclusiveMaximum", "lte": "maximum"}
        schema.update({keyword: said[name] for name, keyword in keywords.items() if name in said})
    _add_choice(said, schema)


def _add_choice(said: Mapping[str, Any], schema: JsonSchema) -> None:
    if "const" in said:
        schema["const"] = said["const"]
    for name, keyword in (("in", "enum"), ("example", "examples")):
        values: Iterable[Any] = said.get(name, ())
        if values:
            schema[keyword] = list(values)


def _escaped(text: str) -> str:
    # re.escape also escapes what ECMA 262's Unicode mode forbids to.
    return re.sub(r"[\\^$.*+?()\[\]{}|/]", r"\\\g<0>", text)


def _is_portable(pattern: str) -> bool:
    """Tell whether an RE2 pattern means the same to ECMA 262, whose patterns JSON Schema has."""
    try:
        re.compile(pattern)
    except re.error:
        return False
    return re.search(r"\(\?[^:=!<]|\\[AzQECa]|\[\[:|\\p[A-Z]", pattern) is None
