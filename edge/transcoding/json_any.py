"""Finds the message types that `google.protobuf.Any` names."""

import re
from collections.abc import Callable
from functools import lru_cache

from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from edge.transcoding.schema import MessageShape, Schema

# The host and path may be anything printable in ASCII but spaces, quotes and backslashes.
_TYPE_URL = re.compile(r"[!#-\[\]-~]*/([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*)\Z", re.ASCII)

MAX_TYPES = 256
"""How many types a pool's resolver keeps; Any in requests could otherwise fill memory with every type of a pool."""


class AnyType:
    """A resolved type: its shape, and the class that makes its messages."""

    __slots__ = ("make", "shape")

    def __init__(self, shape: MessageShape, make: Callable[[], Message]) -> None:
        self.shape = shape
        self.make = make


TypeResolver = Callable[[str], AnyType | None]


def type_resolver(pool: DescriptorPool) -> TypeResolver:
    """Return a function from a type URL, such as `type.googleapis.com/a.b.C`, to its type, or None if unknown.

    Types come from the pool that holds the message with the Any; nothing is fetched.
    """

    @lru_cache(maxsize=MAX_TYPES)
    def find(name: str) -> AnyType | None:
        try:
            descriptor = pool.FindMessageTypeByName(name)
        except KeyError:
            return None
        # A schema of its own: the caller's is complete and may be in use elsewhere.
        return AnyType(Schema().message(descriptor), message_factory.GetMessageClass(descriptor))

    def resolve(url: str) -> AnyType | None:
        match = _TYPE_URL.match(url) if len(url) <= 512 else None
        return find(match.group(1)) if match else None

    return resolve
