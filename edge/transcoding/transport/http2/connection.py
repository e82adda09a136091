"""One HTTP/2 connection, as a client (RFC 9113)."""

import asyncio
import ssl
from collections.abc import Callable
from typing import Protocol, cast

import grpc

from edge.transcoding.transport.http2.call import WINDOW, Http2Call
from edge.transcoding.transport.http2.fields import FieldDecoder, FieldEncoder
from edge.transcoding.transport.http2.keepalive import Keepalive, SilenceWatch
from shared.http2 import frames
from shared.http2.blocks import BlockReader
from shared.http2.codes import ConnectionFault, ErrorCode, StreamFault, name_of
from shared.http2.frames import FrameReader
from shared.http2.literals import DEFAULT_TABLE_BYTES, NO_TABLE

CONNECTION_WINDOW = 16 << 20
"""Bytes that a server may send before it hears of their arrival. What one call holds back does not hold others back."""

MAX_FRAME_BYTES = 64 << 10
MAX_CONTROL_FRAMES = 1_000
"""In a second, of those that ask for an answer or do nothing. gRPC's own servers send some ten."""
MAX_UNREAD_BYTES = 1 << 20
"""What waits for a server that does not read; then its questions end the connection."""

_LAST_STREAM = frames.MAX_WINDOW


class ConnectionOwner(Protocol):
    """Whom a connection tells what others must know."""

    def has_room(self) -> None:
        """A call ended, so that another may begin."""
        ...

    def leaves(self, connection: "Connection", reason: str) -> None:
        """The connection takes no more calls."""
        ...

    def not_taken(self, call: Http2Call, reason: str) -> None:
        """The server did not take a call; it may be sent again."""
        ...


class Connection(asyncio.Protocol):
    """The asyncio protocol of one connection.

    `leaving` tells that it takes no more calls, and `reason` why. `ready` is done when the server has said its
    settings; its result is what went wrong before, None for nothing.
    """

    def __init__(
        self,
        owner: ConnectionOwner,
        encoder: FieldEncoder,
        decoder: FieldDecoder,
        *,
        max_metadata_bytes: int,
        keepalive: Keepalive | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._owner = owner
        self._encoder = encoder
        self._decoder = decoder
        self._max_metadata = max_metadata_bytes
        self._keepalive = keepalive
        self.context = context
        self.ready: asyncio.Future[str | None] = self._loop.create_future()
        self.closed: asyncio.Future[None] = self._loop.create_future()
        self.leaving = False
        self._transport: asyncio.Transport
        self._reader = FrameReader(MAX_FRAME_BYTES)
        self._calls: dict[int, Http2Call] = {}
        # Those that wait for the connection's window or the socket; who waits for its own window is in nobody's way.
        self._blocked: dict[int, Http2Call] = {}
        self._next = 1
        # What the first header block begins with.
        self._opening = b""
        self._last_taken = _LAST_STREAM
        self.reason = "the connection was closed"
        # What the server allows.
        self._max_calls = frames.MAX_WINDOW
        self._max_frame = frames.DEFAULT_FRAME_BYTES
        self._initial_window = frames.DEFAULT_WINDOW
        self._send_window = frames.DEFAULT_WINDOW
        self._paused = False
        # What it is allowed.
        self._window = CONNECTION_WINDOW
        self._blocks = BlockReader(self._on_block)
        self._control = 0
        self._control_since = 0.0
        self._watch: SilenceWatch | None = None
        self._handlers: dict[int, Callable[[int, int, bytes], None]] = {
            frames.HEADERS: self._blocks.begin,
            frames.CONTINUATION: self._blocks.go_on,
            frames.RST_STREAM: self._on_reset,
            frames.SETTINGS: self._on_settings,
            frames.PUSH_PROMISE: self._on_push,
            frames.PING: self._on_ping,
            frames.GOAWAY: self._on_goaway,
            frames.WINDOW_UPDATE: self._on_window_update,
        }

    @property
    def used(self) -> bool:
        """Whether a call was begun on it."""
        return self._next > 1

    @property
    def takes_calls(self) -> bool:
        """Whether one more call may begin now."""
        return not self.leaving and len(self._calls) < self._max_calls

    # What calls ask for.

    def open(self, call: Http2Call) -> None:
        """Begin a call; raises ValueError where its metadata are none."""
        block = self._encoder.encode(call.head, call.timeout, call.metadata)
        if self._opening:
            block, self._opening = self._opening + block, b""
        number = self._next
        self._next += 2
        call.number = number
        call.connection = self
        call.send_window = self._initial_window
        self._calls[number] = call
        if self._next > _LAST_STREAM:
            self._leave("the connection has no numbers for streams left")
        size, data = len(block), call.outgoing
        length = len(data)
        if size > self._max_frame:
            self._transport.write(frames.headers(number, block, self._max_frame))
        elif (
            call.ends and length <= self._max_frame and length <= self._send_window and length <= self._initial_window
        ) and not self._paused:
            self._send_window -= length
            call.send_window -= length
            call.outgoing = b""
            call.end_sent = True
            self._transport.write(
                b"".join(
                    (
                        frames.frame_head(frames.HEADERS, frames.END_HEADERS, number, size),
                        block,
                        frames.frame_head(frames.DATA, frames.END_STREAM, number, length),
                        data,
                    )
                )
            )
            return
        else:
            self._transport.write(frames.frame(frames.HEADERS, frames.END_HEADERS, number, block))
        self.send(call)

    def send(self, call: Http2Call) -> None:
        """Send what a call has to send, as far as the server and the socket take it; the rest follows by itself."""
        number = call.number
        self._blocked.pop(number, None)
        while call.outgoing:
            data = call.outgoing
            room = min(call.send_window, self._send_window, self._max_frame)
            if room <= 0 or self._paused:
                if call.send_window > 0:
                    self._blocked[number] = call
                return
            piece = data[:room]
            size = len(piece)
            rest: bytes | memoryview = b""
            if size < len(data):
                rest = (data if isinstance(data, memoryview) else memoryview(data))[size:]
            call.outgoing = rest
            call.send_window -= size
            self._send_window -= size
            flags = 0
            if call.ends and not rest:
                flags = frames.END_STREAM
                call.end_sent = True
            self._transport.write(b"".join((frames.frame_head(frames.DATA, flags, number, size), piece)))
        if call.ends and not call.end_sent:
            call.end_sent = True
            self._transport.write(frames.frame_head(frames.DATA, frames.END_STREAM, number, 0))
        call.sent()

    def allow(self, number: int, size: int) -> None:
        """Let the server send more of one call."""
        self._transport.write(frames.window_update(number, size))

    def forget(self, call: Http2Call, code: ErrorCode | None) -> None:
        """Take note that a call has ended; with a code, the server is told."""
        if self._calls.pop(call.number, None) is None:
            return
        self._blocked.pop(call.number, None)
        if code is not None:
            self._transport.write(frames.rst_stream(call.number, code))
        if not self.leaving:
            self._owner.has_room()
        elif not self._calls:
            self._transport.close()

    def drain(self) -> None:
        """Take no more calls, and close when the last one has ended."""
        self._leave("the connection was replaced")

    def close(self) -> None:
        """Close at once; calls that are under way are cancelled before."""
        for call in list(self._calls.values()):
            call.cancel()
        self._leave("the channel was closed")
        # Whether the server reads what is written, or says farewell in its turn, is not waited for.
        self._transport.abort()

    # What the socket tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the server."""
        # uvloop's transports are none of asyncio's class.
        self._transport = cast("asyncio.Transport", transport)
        self._transport.write(
            frames.PREFACE
            + frames.settings(
                {
                    frames.HEADER_TABLE_SIZE: 0,
                    frames.ENABLE_PUSH: 0,
                    frames.INITIAL_WINDOW_SIZE: WINDOW,
                    frames.MAX_FRAME_SIZE: MAX_FRAME_BYTES,
                    frames.MAX_HEADER_LIST_SIZE: self._max_metadata,
                }
            )
            + frames.window_update(0, CONNECTION_WINDOW - frames.DEFAULT_WINDOW)
        )

    def data_received(self, data: bytes) -> None:
        """Take in frames."""
        if self._watch is not None:
            self._watch.heard = True
        handlers, calls, blocks = self._handlers, self._calls, self._blocks
        try:
            for kind, flags, number, payload in self._reader.feed(data):
                if kind == frames.DATA and not blocks.open:
                    self._window -= len(payload)
                    if self._window < CONNECTION_WINDOW // 2:
                        self._open_window()
                    call = calls.get(number)
                    if call is None:
                        self._check_number(number)
                    else:
                        self._on_data(call, flags, payload)
                else:
                    if blocks.open:
                        blocks.check(kind, number)
                    if not self.ready.done() and kind != frames.SETTINGS:
                        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
                    handler = handlers.get(kind)
                    if handler is not None:
                        handler(flags, number, payload)
                    else:
                        # PRIORITY, and what is not known, is passed over.
                        self._count_control()
        except ConnectionFault as fault:
            self._break(fault)

    def eof_received(self) -> None:
        """Close when the server does."""

    def connection_lost(self, exc: Exception | None) -> None:
        """End the calls that are under way."""
        if self._watch is not None:
            self._watch.stop()
        reason = self.reason if exc is None else f"the connection broke: {_words(exc)}"
        self._leave(reason)
        if not self.ready.done():
            self.ready.set_result(reason)
        self._end_calls(reason)
        if not self.closed.done():
            self.closed.set_result(None)

    def pause_writing(self) -> None:
        """Send no more messages; the socket's buffer is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """Send what waits."""
        self._paused = False
        self._send_blocked()

    # Frames.

    def _on_data(self, call: Http2Call, flags: int, payload: bytes) -> None:
        size = len(payload)
        call.window -= size
        if call.window < 0:
            call.fault(
                StreamFault(
                    ErrorCode.FLOW_CONTROL_ERROR, grpc.StatusCode.INTERNAL, "the server sent more than it was allowed"
                )
            )
            return
        if flags & frames.PADDED:
            payload = frames.without_padding(flags, payload)
            call.received_padding(size - len(payload))
        if payload:
            call.received_data(payload, last=bool(flags & frames.END_STREAM))
        elif flags & frames.END_STREAM:
            call.received_data(payload, last=True)
        else:
            self._count_control()

    def _on_block(self, flags: int, number: int, block: bytes) -> None:
        call = self._calls.get(number)
        if call is None:
            self._check_number(number)
            return
        try:
            fields = self._decoder.decode(block)
        except StreamFault as fault:
            call.fault(fault)
            return
        call.received_fields(fields, last=bool(flags & frames.END_STREAM))

    def _on_reset(self, _flags: int, number: int, payload: bytes) -> None:
        code = frames.read_number(payload, "RST_STREAM")
        call = self._calls.get(number)
        if call is None:
            self._check_number(number)
            return
        # There is no stream left to tell anything about.
        call.end_sent = True
        if code == ErrorCode.REFUSED_STREAM:
            self._give_back(call, "the server refused the stream")
        else:
            call.reset(code)

    def _on_settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a SETTINGS frame of a stream")
        self._count_control()
        if flags & frames.ACK:
            return
        window = self._initial_window
        for name, value in frames.read_settings(payload):
            if name == frames.MAX_CONCURRENT_STREAMS:
                self._max_calls = value
            elif name == frames.INITIAL_WINDOW_SIZE:
                window = frames.checked_window(value)
            elif name == frames.HEADER_TABLE_SIZE and value < DEFAULT_TABLE_BYTES:
                self._opening = NO_TABLE
            elif name == frames.MAX_FRAME_SIZE:
                if not frames.DEFAULT_FRAME_BYTES <= value < 1 << 24:
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"frames of {value} bytes at most")
                # More than this at once would gain nothing.
                self._max_frame = min(value, MAX_FRAME_BYTES)
        if window != self._initial_window:
            self._set_initial_window(window)
        self._transport.write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        # Larger windows are the server's word from here on only.
        self._send_blocked()
        if not self.ready.done():
            self.ready.set_result(None)
            if self._keepalive is not None:
                self._watch = SilenceWatch(
                    self._keepalive, busy=lambda: bool(self._calls), ask=self._ask, give_up=self._give_up
                )
        else:
            self._owner.has_room()

    def _set_initial_window(self, value: int) -> None:
        more = value - self._initial_window
        self._initial_window = value
        for call in self._calls.values():
            call.send_window += more
            if call.send_window > frames.MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window is too large")
            if call.outgoing and call.send_window > 0:
                self._blocked[call.number] = call

    def _on_push(self, _flags: int, _number: int, _payload: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a PUSH_PROMISE frame, which was refused by the settings")

    def _on_ping(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a PING frame of a stream")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a PING frame of {len(payload)} bytes")
        self._count_control()
        if not flags & frames.ACK:
            self._transport.write(frames.frame(frames.PING, frames.ACK, 0, payload))

    def _on_goaway(self, _flags: int, _number: int, payload: bytes) -> None:
        last, code, reason = frames.read_goaway(payload)
        self._count_control()
        self._last_taken = min(self._last_taken, last)
        said = f"GOAWAY received: {name_of(code)}{f', {reason}' if reason else ''}"
        self.reason = said
        self._leave(said)
        for number, call in list(self._calls.items()):
            if number > last:
                self._give_back(call, said)

    def _on_window_update(self, _flags: int, number: int, payload: bytes) -> None:
        more = frames.read_number(payload, "WINDOW_UPDATE") & frames.MAX_WINDOW
        if number == 0:
            self._send_window += more
            if not more or self._send_window > frames.MAX_WINDOW:
                raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window is too large, or not more")
            if self._blocked:
                self._send_blocked()
            return
        call = self._calls.get(number)
        if call is None:
            self._check_number(number)
            return
        call.send_window += more
        if not more or call.send_window > frames.MAX_WINDOW:
            call.fault(
                StreamFault(
                    ErrorCode.FLOW_CONTROL_ERROR,
                    grpc.StatusCode.INTERNAL,
                    "the stream's window is too large, or not more",
                )
            )
        elif call.outgoing:
            self.send(call)

    # What follows from them.

    def _send_blocked(self) -> None:
        blocked = self._blocked
        # Who is stopped again goes to the end of the line; the others are not looked at while there is no room.
        while blocked and self._send_window > 0 and not self._paused:
            self.send(next(iter(blocked.values())))

    def _open_window(self) -> None:
        if self._window < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the server sent more than it was allowed")
        self._transport.write(frames.window_update(0, CONNECTION_WINDOW - self._window))
        self._window = CONNECTION_WINDOW

    def _check_number(self, number: int) -> None:
        """Pass over what still comes of a call that has ended here; what was never begun ends the connection."""
        if number == 0 or number % 2 == 0 or number >= self._next:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"a frame of stream {number}, which was never begun")

    def _count_control(self) -> None:
        now = self._loop.time()
        if now - self._control_since >= 1.0:
            self._control_since, self._control = now, 0
        self._control += 1
        unread = self._paused and self._transport.get_write_buffer_size() > MAX_UNREAD_BYTES
        if unread or self._control > MAX_CONTROL_FRAMES:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "more frames that carry nothing than are put up with")

    def _give_back(self, call: Http2Call, reason: str) -> None:
        self._calls.pop(call.number, None)
        self._blocked.pop(call.number, None)
        self._owner.not_taken(call, reason)
        if self.leaving and not self._calls:
            self._transport.close()

    def _leave(self, reason: str) -> None:
        if self.leaving:
            return
        self.leaving = True
        self.reason = reason
        self._owner.leaves(self, reason)
        if not self._calls:
            self._transport.close()

    def _break(self, fault: ConnectionFault) -> None:
        self.reason = f"the connection was ended, since the server sent {fault.reason}"
        self._transport.write(frames.goaway(fault.code, fault.reason))
        self._leave(self.reason)
        if not self.ready.done():
            self.ready.set_result(f"the server does not speak HTTP/2: {fault.reason}")
        self._end_calls(self.reason)
        # What the server still sends is not waited for.
        self._transport.close()

    def _end_calls(self, reason: str) -> None:
        calls = list(self._calls.values())
        self._calls.clear()
        self._blocked.clear()
        for call in calls:
            call.finish(grpc.StatusCode.UNAVAILABLE, reason)

    def _ask(self) -> None:
        self._transport.write(frames.frame(frames.PING, 0, 0, bytes(8)))

    def _give_up(self) -> None:
        self._leave("keepalive: the server does not answer")
        self._end_calls(self.reason)
        self._transport.abort()


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
