"""The reference codec: protobuf's own `json_format` behind the codec's interface.

It says what the JSON mapping is where plans are tested against it, and serves the types that have no plan. It stops
at the first violation and names no field.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from edge.transcoding.codec import Decoder, Encoder, JsonOptions
from edge.transcoding.json_text import is_blank, nests_deeper
from edge.transcoding.schema import MessageKind, Schema
from edge.transcoding.violations import BindingError, EncodingError, Violation


class ReferenceCodec:
    """Decodes and encodes by `json_format`; knows nothing of `emit_nulls`."""

    def decoder(self, descriptor: Descriptor, options: JsonOptions) -> Decoder:
        """Return what parses a JSON object into a message; see `Codec`."""
        wanted = f"the body does not fit the message type {descriptor.full_name}"

        def decode(body: bytes, message: Message) -> None:
            if not is_blank(body):
                _parse(_load(body, options), message, options, wanted)

        return decode

    def encoder(self, descriptor: Descriptor, options: JsonOptions) -> Encoder:  # noqa: ARG002 - the Codec's signature
        """Return what writes a message as JSON; see `Codec`."""
        return lambda message: _dump(_to_json(message, options))

    def field_decoder(self, field: FieldDescriptor, options: JsonOptions) -> Decoder:
        """Return what parses the value of one field; see `Codec`."""
        name = f"[{field.full_name}]" if field.is_extension else field.name
        wanted = f"the body does not fit the field {field.full_name}"

        def decode(body: bytes, message: Message) -> None:
            if not is_blank(body):
                _parse({name: _load(body, options)}, message, options, wanted)

        return decode

    def field_encoder(self, path: Sequence[FieldDescriptor], options: JsonOptions) -> Encoder:
        """Return what writes the field at the end of a path; see `Codec`."""
        *parents, leaf = path
        empty = _empty_value(leaf, options)

        def encode(message: Any) -> bytes:
            for parent in parents:
                message = getattr(message, parent.name)
            name = leaf.name if options.proto_names else leaf.json_name
            return _dump(_to_json(message, options).get(name, empty))

        return encode


def _load(body: bytes, options: JsonOptions) -> object:
    try:
        tree: object = json.loads(body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_refuse_constant)
        _refuse_surrogates(tree)
    except (ValueError, RecursionError):
        raise BindingError([Violation("", "the body is not valid JSON in UTF-8, or repeats a key")]) from None
    if nests_deeper(body, options.max_depth):
        limit = options.max_depth
        raise BindingError([Violation("", f"arrays and objects nest deeper than {limit} levels")])
    return tree


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    plain = dict(pairs)
    if len(plain) != len(pairs):
        raise ValueError("repeated key")
    return plain


def _refuse_constant(text: str) -> object:
    raise ValueError(text)


def _refuse_surrogates(tree: object) -> None:
    """Raise where a string holds half of a surrogate pair, which `json_format` is not proof against."""
    if isinstance(tree, str):
        tree.encode("utf-8")
    elif isinstance(tree, list):
        for item in tree:
            _refuse_surrogates(item)
    elif isinstance(tree, dict):
        for key, item in tree.items():
            key.encode("utf-8")
            _refuse_surrogates(item)


def _parse(tree: Any, message: Message, options: JsonOptions, wanted: str) -> None:
    pool: Any = message.DESCRIPTOR.file.pool
    try:
        json_format.ParseDict(tree, message, ignore_unknown_fields=options.ignore_unknown, descriptor_pool=pool)
    except (json_format.Error, ValueError, TypeError, AttributeError, KeyError, OverflowError):
        # What json_format raises on values of a wrong type depends on where they stand.
        raise BindingError([Violation("", wanted)]) from None


def _to_json(message: Any, options: JsonOptions) -> Any:
    try:
        return json_format.MessageToDict(
            message,
            preserving_proto_field_name=options.proto_names,
            always_print_fields_with_no_presence=options.emit_defaults,
            use_integers_for_enums=options.enum_numbers,
            descriptor_pool=message.DESCRIPTOR.file.pool,
        )
    except (json_format.Error, ValueError, TypeError):
        raise EncodingError(f"a {message.DESCRIPTOR.full_name} has no JSON form") from None


def _dump(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        raise EncodingError("the reply holds a string that is not UTF-8, or nests too deep for JSON") from None


def _empty_value(leaf: FieldDescriptor, options: JsonOptions) -> object:
    """Return the JSON of an unset field, which `json_format` leaves out of the message."""
    assert leaf.containing_type is not None
    message: Any = message_factory.GetMessageClass(leaf.containing_type)()
    if leaf.is_repeated:
        is_map = leaf.message_type is not None and leaf.message_type.GetOptions().map_entry
        return {} if is_map else []
    if leaf.message_type is not None:
        kind = Schema().message(leaf.message_type).kind
        if kind in (MessageKind.WRAPPER, MessageKind.TIMESTAMP, MessageKind.DURATION, MessageKind.VALUE):
            return None
        return _to_json(getattr(message, leaf.name), options)
    # A field with presence appears once it is set, one without when defaults are asked for.
    setattr(message, leaf.name, leaf.default_value)
    shown = _to_json(message, replace(options, emit_defaults=True))
    return shown[leaf.name if options.proto_names else leaf.json_name]
