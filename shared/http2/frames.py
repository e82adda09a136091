"""HTTP/2 frames (RFC 9113, sections 4 and 6), taken out of a stream of bytes and written into one."""

import struct
from collections.abc import Iterator
from typing import Final

from shared.http2.codes import ConnectionFault, ErrorCode

DATA: Final = 0x0
HEADERS: Final = 0x1
PRIORITY: Final = 0x2
RST_STREAM: Final = 0x3
SETTINGS: Final = 0x4
PUSH_PROMISE: Final = 0x5
PING: Final = 0x6
GOAWAY: Final = 0x7
WINDOW_UPDATE: Final = 0x8
CONTINUATION: Final = 0x9

END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
HAS_PRIORITY: Final = 0x20

HEADER_TABLE_SIZE: Final = 0x1
ENABLE_PUSH: Final = 0x2
MAX_CONCURRENT_STREAMS: Final = 0x3
INITIAL_WINDOW_SIZE: Final = 0x4
MAX_FRAME_SIZE: Final = 0x5
MAX_HEADER_LIST_SIZE: Final = 0x6

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DEFAULT_FRAME_BYTES: Final = 16_384
DEFAULT_WINDOW: Final = 65_535
MAX_WINDOW: Final = (1 << 31) - 1

Frame = tuple[int, int, int, bytes]
"""Type, flags, stream and payload."""

_HEAD = struct.Struct(">HBBBL")
_HEAD_BYTES = 9
_SETTING = struct.Struct(">HL")
_NUMBER = struct.Struct(">L")
_TWO_NUMBERS = struct.Struct(">LL")


class FrameReader:
    """Cuts what a peer sends into frames, however it arrives; keeps at most one incomplete frame."""

    def __init__(self, max_frame_bytes: int) -> None:
        self._max = max_frame_bytes
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete now; raises `ConnectionFault` for one that is too large.

        Each iterator is to be used up before the next call.
        """
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        unpack, most = _HEAD.unpack_from, self._max
        while end - at >= _HEAD_BYTES:
            high, low, kind, flags, stream = unpack(data, at)
            length = high << 8 | low
            if length > most:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes, the limit is {most}")
            start = at + _HEAD_BYTES
            if start + length > end:
                break
            at = start + length
            # The highest bit of the stream's number is reserved.
            yield kind, flags, stream & MAX_WINDOW, data[start:at]
        self._rest = data[at:] if at else data


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return a frame."""
    size = len(payload)
    return _HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream) + payload


def frame_head(kind: int, flags: int, stream: int, size: int) -> bytes:
    """Return what goes before a payload of this size."""
    return _HEAD.pack(size >> 8, size & 0xFF, kind, flags, stream)


def window_update(stream: int, increment: int) -> bytes:
    """Return the frame that lets the peer send more, on a stream or, for 0, on the connection."""
    return _HEAD.pack(0, 4, WINDOW_UPDATE, 0, stream) + _NUMBER.pack(increment)


def rst_stream(stream: int, code: ErrorCode) -> bytes:
    """Return the frame that ends a stream."""
    return _HEAD.pack(0, 4, RST_STREAM, 0, stream) + _NUMBER.pack(code)


def settings(values: dict[int, int]) -> bytes:
    """Return a SETTINGS frame."""
    return frame(SETTINGS, 0, 0, b"".join(_SETTING.pack(name, value) for name, value in values.items()))


def goaway(code: ErrorCode, reason: str = "", last: int = 0) -> bytes:
    """Return the frame that ends a connection; `last` is the last stream that was taken, of which a client has none."""
    return frame(GOAWAY, 0, 0, _TWO_NUMBERS.pack(last, code) + reason.encode()[:256])


def headers(stream: int, block: bytes, max_frame_bytes: int, flags: int = 0) -> bytes:
    """Return a header block in as many frames as it needs."""
    if len(block) <= max_frame_bytes:
        return frame(HEADERS, flags | END_HEADERS, stream, block)
    parts = [frame(HEADERS, flags, stream, block[:max_frame_bytes])]
    for start in range(max_frame_bytes, len(block), max_frame_bytes):
        last = start + max_frame_bytes >= len(block)
        piece = block[start : start + max_frame_bytes]
        parts.append(frame(CONTINUATION, END_HEADERS if last else 0, stream, piece))
    return b"".join(parts)


def read_settings(payload: bytes) -> Iterator[tuple[int, int]]:
    """Yield names and values; raises `ConnectionFault`."""
    if len(payload) % _SETTING.size:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a SETTINGS frame of {len(payload)} bytes")
    return _SETTING.iter_unpack(payload)


def checked_window(value: int) -> int:
    """Return what SETTINGS say of windows; raises `ConnectionFault` for more than there can be."""
    if value > MAX_WINDOW:
        raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"a window of {value} bytes")
    return value


def read_number(payload: bytes, name: str) -> int:
    """Return the one number that a frame holds; raises `ConnectionFault`."""
    if len(payload) != _NUMBER.size:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a {name} frame of {len(payload)} bytes")
    number: int = _NUMBER.unpack(payload)[0]
    return number


def read_goaway(payload: bytes) -> tuple[int, int, str]:
    """Return the last stream that the peer took, its error code and its reason; raises `ConnectionFault`."""
    if len(payload) < _TWO_NUMBERS.size:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a GOAWAY frame of {len(payload)} bytes")
    last, code = _TWO_NUMBERS.unpack_from(payload)
    reason = payload[_TWO_NUMBERS.size :][:256].decode("utf-8", "replace")
    return last & MAX_WINDOW, code, "".join(c if c.isprintable() else " " for c in reason)


def without_padding(flags: int, payload: bytes, *, priority: bool = False) -> bytes:
    """Return a payload without its padding and, where it may be there, its priority; raises `ConnectionFault`."""
    start, padding = 0, 0
    if flags & PADDED:
        if not payload:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "a padded frame without a length of its padding")
        start, padding = 1, payload[0]
    if priority and flags & HAS_PRIORITY:
        start += 5
    end = len(payload) - padding
    if end < start:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame with more padding than payload")
    return payload[start:end]
