"""The interface between transcoding and the JSON codec: messages to and from the protobuf JSON mapping.

Two implementations stand behind it: `json_plan.PlanCodec`, compiled plans, and `json_reference.ReferenceCodec`,
protobuf's own `json_format`. Decoders raise `violations.BindingError`, encoders `violations.EncodingError`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

Decoder = Callable[[bytes, Message], None]
Encoder = Callable[[Message], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonOptions:
    """How JSON is read and written.

    Reading takes the contract's field names and the JSON names alike, whatever is said here.

    - `proto_names`: write field names as the contract has them; otherwise lowerCamelCase (`json_name`).
    - `emit_defaults`: write fields without presence even when they hold their default.
    - `emit_nulls`: with `emit_defaults`, also write unset message fields and proto2 scalars as null, oneofs excepted,
      as grpc-gateway's EmitUnpopulated does.
    - `null_optionals`: with `emit_nulls`, also write unset `optional` fields of proto3 as null.
    - `enum_numbers`: write enums as numbers.
    - `ignore_unknown`: take and drop JSON fields that the message does not have.
    - `ignore_unknown_enums`: take and drop enum names that the enum does not have.
    - `max_depth`: how deep arrays and objects may nest, 1 to 100.
    """

    proto_names: bool = True
    emit_defaults: bool = False
    emit_nulls: bool = False
    null_optionals: bool = False
    enum_numbers: bool = False
    ignore_unknown: bool = False
    ignore_unknown_enums: bool = False
    max_depth: int = 100

    def __post_init__(self) -> None:
        if not 1 <= self.max_depth <= 100:
            raise ValueError(f"max_depth is 1 to 100, got {self.max_depth}")


class Codec(Protocol):
    """Compiles decoders and encoders; compiling is done at start, what it returns runs per request."""

    def decoder(self, descriptor: Descriptor, options: JsonOptions) -> Decoder:
        """Return what parses a JSON object into the message it is given.

        An empty body, or white space alone, leaves the message as it is. Fields that the JSON names are replaced,
        messages in them merged, others kept.
        """
        ...

    def encoder(self, descriptor: Descriptor, options: JsonOptions) -> Encoder:
        """Return what writes a message as JSON in UTF-8, without white space."""
        ...

    def field_decoder(self, field: FieldDescriptor, options: JsonOptions) -> Decoder:
        """Return what parses the JSON value of one field, of any kind, into the message that has the field.

        Violations carry paths from that message. Null, and an empty body, leave the field unset.
        """
        ...

    def field_encoder(self, path: Sequence[FieldDescriptor], options: JsonOptions) -> Encoder:
        """Return what writes the last field of a path, starting at the message given.

        An unset field is its default: `""`, `0`, `[]`, `{}`; null for the well-known types that have no empty form.
        """
        ...
