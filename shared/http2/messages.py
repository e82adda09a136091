"""gRPC's messages inside a stream's DATA: each has a byte that says whether it is compressed, and its length."""

import struct
import zlib
from collections import deque

import grpc

from shared.http2.codes import ErrorCode, StreamFault

MAX_HELD_MESSAGES = 64
"""Messages that are cut out before somebody asks for them; what follows stays as it came."""

PREFIX_BYTES = 5
ACCEPTED_ENCODINGS = ("identity", "deflate", "gzip")
_PREFIX = struct.Struct(">BL")
# zlib's names for its formats: RFC 1952, and RFC 1950 that gRPC calls deflate.
_WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


class MessageReader:
    """Cuts the bytes of a stream into messages, however they arrive.

    `taken` counts the bytes of the messages that were taken out since it was last set to 0, `fed` all that arrived.
    """

    __slots__ = ("_bytes", "_encoding", "_max", "_messages", "_out", "fed", "taken")

    def __init__(self, max_message_bytes: int) -> None:
        self._max = max_message_bytes
        self._encoding = "identity"
        self._messages: deque[tuple[int, bytes]] = deque()
        self._bytes = bytearray()
        self._out = 0
        self.fed = 0
        self.taken = 0

    def set_encoding(self, encoding: str) -> None:
        """Say how compressed messages are; raises `StreamFault` for what is not known."""
        if encoding != "identity" and encoding not in _WINDOWS:
            raise StreamFault(
                ErrorCode.CANCEL, grpc.StatusCode.INTERNAL, "messages are compressed in a way not asked for"
            )
        self._encoding = encoding

    def __bool__(self) -> bool:
        """Whether a message is there."""
        return bool(self._messages)

    @property
    def held(self) -> int:
        """How many bytes are here."""
        return self.fed - self._out

    @property
    def incomplete(self) -> bool:
        """Whether there are bytes that are no whole message yet."""
        return bool(self._bytes)

    def feed(self, data: bytes) -> None:
        """Take in what arrived; raises `StreamFault`."""
        self.fed += len(data)
        if self._bytes or len(self._messages) >= MAX_HELD_MESSAGES:
            self._bytes += data
            self._cut()
            return
        # Most often one frame holds one message or a few whole ones.
        at, end = 0, len(data)
        while end - at >= PREFIX_BYTES and len(self._messages) < MAX_HELD_MESSAGES:
            flag, length = _PREFIX.unpack_from(data, at)
            start = at + PREFIX_BYTES
            if flag or length > self._max:
                self._check(flag, length)
            if start + length > end:
                break
            at = start + length
            self._messages.append((flag, data[start:at]))
        if at < end:
            self._bytes += data[at:]

    def take(self) -> bytes:
        """Return the next message; there must be one. Raises `StreamFault`."""
        flag, message = self._messages.popleft()
        size = len(message) + PREFIX_BYTES
        self.taken += size
        self._out += size
        if not self._messages and self._bytes:
            self._cut()
        # Not before it is asked for: a few bytes could stand for a message as large as the limit, 64 times over.
        return self._plain(message) if flag else message

    def missing(self) -> int:
        """Return how many bytes the message that is incomplete still lacks, 0 where that is not known."""
        if len(self._bytes) < PREFIX_BYTES:
            return 0
        length: int = _PREFIX.unpack_from(self._bytes)[1]
        return max(0, length + PREFIX_BYTES - len(self._bytes))

    def _cut(self) -> None:
        held = self._bytes
        at, end = 0, len(held)
        while end - at >= PREFIX_BYTES and len(self._messages) < MAX_HELD_MESSAGES:
            flag, length = _PREFIX.unpack_from(held, at)
            self._check(flag, length)
            start = at + PREFIX_BYTES
            if start + length > end:
                break
            at = start + length
            with memoryview(held) as view:
                self._messages.append((flag, bytes(view[start:at])))
        if at:
            del held[:at]

    def _check(self, flag: int, length: int) -> None:
        if flag > 1 or (flag and self._encoding == "identity"):
            raise StreamFault(
                ErrorCode.CANCEL, grpc.StatusCode.INTERNAL, "a message is marked as compressed, and no coding was named"
            )
        if length > self._max:
            raise _too_large(length, self._max)

    def _plain(self, message: bytes) -> bytes:
        decompress = zlib.decompressobj(_WINDOWS[self._encoding])
        try:
            plain = decompress.decompress(message, self._max + 1)
        except zlib.error:
            plain = b""
        if len(plain) > self._max:
            raise _too_large(len(plain), self._max)
        if not decompress.eof:
            raise StreamFault(ErrorCode.CANCEL, grpc.StatusCode.INTERNAL, "a compressed message does not decompress")
        return plain


def prefix(message: bytes) -> bytes:
    """Return what goes before a message that is not compressed."""
    return _PREFIX.pack(0, len(message))


def _too_large(length: int, limit: int) -> StreamFault:
    return StreamFault(
        ErrorCode.CANCEL,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"received a message of {length} bytes, the limit is {limit}",
    )
