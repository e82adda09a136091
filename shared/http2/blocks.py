"""Header blocks put together from their frames (RFC 9113, section 4.3), within bounds."""

from collections.abc import Callable

from shared.http2 import frames
from shared.http2.codes import ConnectionFault, ErrorCode

MAX_BLOCK_BYTES = 64 << 10
"""Of one header block, compressed, in all its frames."""
MAX_BLOCK_FRAMES = 64
LEAST_SKIPPED_BYTES = 1 << 10
"""In a frame, on average, of a block that is read to its end only to be refused."""


class BlockReader:
    """Puts one block together at a time, and hands it to `whole` with its stream and its HEADERS frame's flags.

    `open` tells that its end has not come: no other frame may come before, and `stream` whose it is. Of a block that
    is too large the beginning is given, and `cut` is set, where up to `max_skipped` bytes are skipped.
    """

    def __init__(self, whole: Callable[[int, int, bytes], None], max_skipped: int = 0) -> None:
        self._whole = whole
        self.open = False
        self.cut = False
        self._max_skipped = max_skipped
        self._skipped = 0
        self._bytes = bytearray()
        self.stream = 0
        self._flags = 0
        self._frames = 0

    def begin(self, flags: int, stream: int, payload: bytes) -> None:
        """Take in a HEADERS frame; raises `ConnectionFault`."""
        self.cut = False
        if flags & (frames.PADDED | frames.HAS_PRIORITY):
            payload = frames.without_padding(flags, payload, priority=True)
        if flags & frames.END_HEADERS:
            self._whole(flags, stream, payload)
            return
        self.open = True
        self._bytes[:] = payload
        self.stream, self._flags, self._frames, self._skipped = stream, flags, 1, 0

    def go_on(self, flags: int, stream: int, payload: bytes) -> None:
        """Take in a CONTINUATION frame, of which `check` knows; raises `ConnectionFault`."""
        if not self.open:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a CONTINUATION frame outside of a header block")
        self._frames += 1
        if self.cut or (self._max_skipped and len(self._bytes) + len(payload) > MAX_BLOCK_BYTES):
            self.cut = True
            self._skipped += len(payload)
        else:
            self._bytes += payload
        most = MAX_BLOCK_FRAMES + self._skipped // LEAST_SKIPPED_BYTES
        if len(self._bytes) > MAX_BLOCK_BYTES or self._skipped > self._max_skipped or self._frames > most:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM,
                f"a header block of more than {MAX_BLOCK_BYTES} bytes or {MAX_BLOCK_FRAMES} frames",
            )
        if flags & frames.END_HEADERS:
            self.open = False
            self.stream = 0
            block = bytes(self._bytes)
            self._bytes.clear()
            self._whole(self._flags, stream, block)

    def check(self, kind: int, stream: int) -> None:
        """See that a frame may come while the block is open; raises `ConnectionFault`."""
        if kind != frames.CONTINUATION or stream != self.stream:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame inside of a header block")
