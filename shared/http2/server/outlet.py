"""What leaves a connection: as much as the client's windows and the socket take."""

from collections.abc import Iterable

from shared.http2 import frames
from shared.http2.codes import ConnectionFault, ErrorCode
from shared.http2.gathering import GatheringTransport
from shared.http2.server.call import ServerCall
from shared.http2.server.responses import HEAD

MAX_FRAME_BYTES = 64 << 10
"""More than this at once would gain nothing."""


class Outlet:
    """Sends for the calls of one connection, in turns where there is no room for all.

    `initial_window` is what a call's window begins with; `paused` tells that the socket's buffer is full.
    """

    def __init__(self, transport: GatheringTransport) -> None:
        self._transport = transport
        # Those that wait for the connection's window or the socket; who waits for its own window is in nobody's way.
        self._blocked: dict[int, ServerCall] = {}
        self._max_frame = frames.DEFAULT_FRAME_BYTES
        self._window = frames.DEFAULT_WINDOW
        self.initial_window = frames.DEFAULT_WINDOW
        self.paused = False

    def write(self, data: bytes) -> None:
        """Send frames that need no window."""
        self._transport.write(data)

    def write_headers(self, number: int, block: bytes) -> None:
        """Send the headers of an answer."""
        self._transport.write(frames.headers(number, block, self._max_frame))

    def write_end(self, number: int, block: bytes, *, half_closed: bool) -> None:
        """Send the block that ends a call; a client that has more to say is told not to."""
        data = frames.headers(number, block, self._max_frame, frames.END_STREAM)
        if not half_closed:
            # RFC 9113, section 8.1.
            data += frames.rst_stream(number, ErrorCode.NO_ERROR)
        self._transport.write(data)

    def write_whole(self, call: ServerCall, data: bytes, end: bytes) -> bool:
        """Send a whole answer at once; returns False, having sent nothing, where there is no room for it."""
        size, number = len(data), call.number
        if self.paused or size > min(self._max_frame, call.send_window, self._window) or len(end) > self._max_frame:
            return False
        self._window -= size
        parts = (
            frames.frame_head(frames.HEADERS, frames.END_HEADERS, number, len(HEAD)),
            HEAD,
            frames.frame_head(frames.DATA, 0, number, size),
            data,
            frames.frame_head(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, number, len(end)),
            end,
            b"" if call.half_closed else frames.rst_stream(number, ErrorCode.NO_ERROR),
        )
        self._transport.write(b"".join(parts))
        return True

    def send(self, call: ServerCall, *, opens: bool = False) -> None:
        """Send what a call has to send as far as there is room, the headers first where it opens the answer.

        The rest follows by itself.
        """
        number = call.number
        head = frames.frame(frames.HEADERS, frames.END_HEADERS, number, HEAD) if opens else b""
        self._blocked.pop(number, None)
        while call.outgoing:
            data = call.outgoing
            room = min(call.send_window, self._window, self._max_frame)
            if room <= 0 or self.paused:
                if head:
                    self._transport.write(head)
                if call.send_window > 0:
                    self._blocked[number] = call
                return
            piece = data[:room]
            size = len(piece)
            call.outgoing = memoryview(data)[size:] if size < len(data) else b""
            call.send_window -= size
            self._window -= size
            self._transport.write(b"".join((head, frames.frame_head(frames.DATA, 0, number, size), piece)))
            head = b""
        call.sent()

    def drop(self, number: int) -> None:
        """Send no more of a call."""
        self._blocked.pop(number, None)

    def go_on(self) -> None:
        """Send what waits for room in the connection's window or the socket."""
        blocked = self._blocked
        # Who is stopped again goes to the end of the line; the others are not looked at while there is no room.
        while blocked and self._window > 0 and not self.paused:
            self.send(next(iter(blocked.values())))

    # What the client allows.

    def set_max_frame(self, value: int) -> None:
        """Take note of how large frames may be; raises `ConnectionFault`."""
        if not frames.DEFAULT_FRAME_BYTES <= value < 1 << 24:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"frames of {value} bytes at most")
        self._max_frame = min(value, MAX_FRAME_BYTES)

    def set_initial_window(self, value: int, calls: Iterable[ServerCall]) -> None:
        """Take note of another window that calls begin with; raises `ConnectionFault`.

        What it gives room to waits for `go_on`.
        """
        more = value - self.initial_window
        self.initial_window = value
        for call in calls:
            call.send_window += more
            if call.send_window > frames.MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window is too large")
            if call.outgoing and call.send_window > 0:
                self._blocked[call.number] = call

    def widen(self, more: int) -> None:
        """Take note that more may be sent in all; raises `ConnectionFault`."""
        if not more:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a window that grows by nothing")
        self._window += more
        if self._window > frames.MAX_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window is too large")
        if self._blocked:
            self.go_on()

    def widen_call(self, call: ServerCall, more: int) -> bool:
        """Take note that more may be sent of a call; returns False where that cannot be."""
        call.send_window += more
        if not more or call.send_window > frames.MAX_WINDOW:
            return False
        if call.outgoing:
            self.send(call)
        return True
