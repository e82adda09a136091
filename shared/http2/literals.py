"""Header fields that need no table to be read (RFC 7541, section 6.2.2), and gRPC's metadata as such fields."""

import base64
import binascii
import re
from collections.abc import Iterable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

Metadata = Iterable[tuple[str, str | bytes]]

CONTENT_TYPE = 31
"""Place of `content-type` in the static table (RFC 7541, appendix A)."""

NO_TABLE = b"\x20"
"""Says at the beginning of a block that no dynamic table is used from there on.

It must be said where the reader allows less of one than all begin with (RFC 7541, section 4.2).
"""

DEFAULT_TABLE_BYTES = 4096

_KEPT_NAMES = 256
_NAME = re.compile(r"[0-9a-z_.-]+\Z")


class MetadataEncoder:
    """Encodes metadata; names are kept as they were encoded, a bounded number of them."""

    def __init__(self) -> None:
        self._names: dict[str, bytes] = {}

    def encode(self, metadata: Metadata) -> bytes:
        """Return metadata as fields of a header block; raises ValueError for what is none."""
        parts, names = [], self._names
        for name, value in metadata:
            parts.append(names.get(name) or self._name(name))
            if isinstance(value, bytes):
                data = base64.b64encode(value).rstrip(b"=")
            elif value.isascii() and value.isprintable():
                data = value.encode()
            else:
                raise ValueError(f"metadata {name}: a value is printable ASCII")
            size = len(data)
            parts.append(_SIZES[size] if size < 127 else integer(size, 0, 7))
            parts.append(data)
        return b"".join(parts)

    def _name(self, name: str) -> bytes:
        if not _NAME.match(name):
            raise ValueError("metadata: a name is of a-z, 0-9, '-', '_' and '.'")
        return keep(self._names, name, literal(name.encode()), _KEPT_NAMES)


def decode_metadata(name: bytes, value: bytes) -> tuple[str, str | bytes]:
    """Return a field as metadata: of names that end in `-bin` the bytes, of others the text."""
    text = name.decode("latin-1")
    if not name.endswith(b"-bin"):
        return text, value.decode("utf-8", "replace")
    try:
        return text, base64.b64decode(value + b"=" * (-len(value) % 4))
    except binascii.Error:
        return text, b""


def keep(kept: dict[K, V], key: K, value: V, most: int) -> V:
    """Remember a value for its key, and return it; there are never more than so many."""
    # What is needed often is back at once.
    if len(kept) >= most:
        kept.clear()
    kept[key] = value
    return value


def indexed(index: int, value: bytes) -> bytes:
    """Return a field whose name is in the static table."""
    return integer(index, 0, 4) + string(value)


def literal(name: bytes) -> bytes:
    """Return the name of a field; its value is to follow."""
    return b"\x00" + string(name)


def string(value: bytes) -> bytes:
    """Return a string as it is, which Huffman's code would make shorter and dearer."""
    return integer(len(value), 0, 7) + value


def integer(value: int, first: int, bits: int) -> bytes:
    """Return an integer with a prefix of so many bits; RFC 7541, section 5.1."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((first | value,))
    out = bytearray((first | most,))
    value -= most
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


_SIZES = tuple(bytes((size,)) for size in range(127))
