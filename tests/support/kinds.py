"""Message types of every kind, compiled from protos/kinds.proto and protos/legacy.proto."""

from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

from tests.support.contracts import PROTOS, compile_contracts, message_class


@cache
def kinds_pool() -> DescriptorPool:
    """Return the pool of both files."""
    return compile_contracts({name: (PROTOS / name).read_text() for name in ("kinds.proto", "legacy.proto")})


def kind(name: str) -> Descriptor:
    """Return a message type by its short name."""
    package = "legacy" if name in ("Legacy", "Strict", "OldSet") else "kinds"
    return kinds_pool().FindMessageTypeByName(f"test.{package}.v1.{name}")


def make(type_name: str, /, **fields: Any) -> Any:
    """Return a message of a type with fields."""
    return message_class(kinds_pool(), kind(type_name).full_name)(**fields)


def field(type_name: str, name: str) -> FieldDescriptor:
    """Return a field of a type."""
    return kind(type_name).fields_by_name[name]
