"""One HTTP/2 connection, as a server (RFC 9113)."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, cast

import grpc

from shared.http2 import frames
from shared.http2.blocks import BlockReader
from shared.http2.codes import ConnectionFault, ErrorCode, StreamFault
from shared.http2.frames import FrameReader
from shared.http2.gathering import GatheringTransport
from shared.http2.server.call import WINDOW, ServerCall
from shared.http2.server.floods import MAX_IDLE_FRAMES, IdleFrames
from shared.http2.server.holding import Holding
from shared.http2.server.outlet import MAX_FRAME_BYTES, Outlet
from shared.http2.server.peers import AuthContext, auth_context_of, peer_of
from shared.http2.server.requests import RequestDecoder
from shared.http2.server.responses import refusal

CONNECTION_WINDOW = 16 << 20
"""Bytes that a client may send before it hears of their arrival. What one call holds back does not hold others back."""

MAX_SKIPPED_BYTES = 16 << 20
"""Of headers that are far too large and are read to their end, so that the other calls of a connection go on."""
MAX_UNREAD_BYTES = 1 << 20
"""What waits for a client that does not read; then nothing more is read from it."""

CALLS_PER_IDLE_FRAME = 64
"""Another window for so many calls is as dear as a frame that carries nothing."""

GREETING_SECONDS = 20.0
"""Time for a client to say that it speaks HTTP/2, and its settings."""
UNREAD_SECONDS = 60.0
"""After that a client that reads nothing at all, or whose machine does not answer, is taken for gone."""
FAREWELL_SECONDS = 1.0
"""Time in which a client that was told of the end answers, so that what it sent before is known."""

_FAREWELL = b"farewell"


class ConnectionOwner(Protocol):
    """The server, as its connections see it."""

    max_message_bytes: int
    max_metadata_bytes: int
    max_streams: int
    draining: bool
    holding: Holding

    def begin(self, call: ServerCall) -> None:
        """Have a call answered."""
        ...

    def opened(self, connection: "ServerConnection") -> str:
        """There is one more connection; returns why it cannot stay, nothing where it can."""
        ...

    def closed(self, connection: "ServerConnection") -> None:
        """There is one less."""
        ...


class ServerConnection(asyncio.Protocol):
    """The asyncio protocol of one connection.

    `peer` and `auth_context` tell who is at its other end; calls send by its `outlet`.
    """

    def __init__(self, owner: ConnectionOwner) -> None:
        self.loop = asyncio.get_running_loop()
        self.holding = owner.holding
        self.peer = ""
        self.auth_context: AuthContext = {}
        self._owner = owner
        self._transport: GatheringTransport
        self.outlet: Outlet
        self._reader = FrameReader(MAX_FRAME_BYTES)
        self._blocks = BlockReader(self._on_block, MAX_SKIPPED_BYTES)
        self._decoder = RequestDecoder(owner.max_metadata_bytes)
        self._idle = IdleFrames()
        # As many calls as may run can be taken back at once, where the edge loses its own clients.
        self._resets = IdleFrames(max(MAX_IDLE_FRAMES, owner.max_streams))
        self._calls: dict[int, ServerCall] = {}
        self._last = 0
        self._final: int | None = None
        self._preface: bytes | None = b""
        self._greeted = False
        self._refused = ""
        self._leaving = ""
        # What the last look saw: the stream of a block that was open, the last stream, and for how many looks the same.
        self._seen = (0, 0)
        self._quiet = 0
        self._greeting: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        # What the client is allowed.
        self._window = CONNECTION_WINDOW
        self._handlers: dict[int, Callable[[int, int, bytes], None]] = {
            frames.DATA: self._on_data,
            frames.HEADERS: self._blocks.begin,
            frames.PRIORITY: self._on_priority,
            frames.CONTINUATION: self._blocks.go_on,
            frames.RST_STREAM: self._on_reset,
            frames.SETTINGS: self._on_settings,
            frames.PUSH_PROMISE: self._on_push,
            frames.PING: self._on_ping,
            frames.GOAWAY: self._on_goaway,
            frames.WINDOW_UPDATE: self._on_window_update,
        }

    # What calls ask for.

    def forget(self, call: ServerCall) -> None:
        """Take note that a call has ended."""
        self._calls.pop(call.number, None)
        self.outlet.drop(call.number)
        if self._final is not None and not self._calls:
            self._close()

    # What the server asks for.

    def drain(self, reason: str) -> None:
        """Take no more calls, without losing any that is on its way, and close when the last one has ended."""
        if self._leaving:
            return
        self._leaving = reason
        # First that the end is near; what the client sent before it heard of it is still answered.
        self._transport.write(
            frames.goaway(ErrorCode.NO_ERROR, reason, frames.MAX_WINDOW) + frames.frame(frames.PING, 0, 0, _FAREWELL)
        )
        self._time(FAREWELL_SECONDS, self._take_no_more)

    def look(self, idle_looks: int) -> None:
        """End what does not go on, or what so many looks after each other have seen without a call."""
        seen = (self._blocks.stream, self._last)
        same, self._seen = seen == self._seen, seen
        if same and seen[0]:
            self._break(ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "headers whose end does not come"))
        self._quiet = self._quiet + 1 if same and not self._calls else 0
        if self._quiet >= idle_looks:
            self.drain("no calls for a long time")

    def end_calls(self, status: grpc.StatusCode, details: str) -> None:
        """End all calls that are under way."""
        self._leaving = details
        for call in list(self._calls.values()):
            call.cancel(status, details)
        self._take_no_more()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    # What the socket tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet the client."""
        # uvloop's transports are none of asyncio's class.
        self._transport = GatheringTransport(cast("asyncio.Transport", transport), self.loop)
        self.outlet = Outlet(self._transport)
        full = self._owner.opened(self)
        tls = transport.get_extra_info("ssl_object")
        if self._owner.draining or (tls is not None and tls.selected_alpn_protocol() != "h2"):
            self.abort()
            return
        self._greeting = self.loop.call_later(GREETING_SECONDS, self.abort)
        self.peer = peer_of(transport.get_extra_info("peername"))
        self.auth_context = auth_context_of(tls)
        _watch(transport.get_extra_info("socket"))
        self._transport.write(
            frames.settings(
                {
                    frames.HEADER_TABLE_SIZE: 0,
                    frames.MAX_CONCURRENT_STREAMS: self._owner.max_streams,
                    frames.INITIAL_WINDOW_SIZE: WINDOW,
                    frames.MAX_FRAME_SIZE: MAX_FRAME_BYTES,
                    frames.MAX_HEADER_LIST_SIZE: self._owner.max_metadata_bytes,
                }
            )
            + frames.window_update(0, CONNECTION_WINDOW - frames.DEFAULT_WINDOW)
        )
        if full:
            # Calls hear of it, too: gRPC's clients take a GOAWAY before any for a reason to try again in silence.
            self._refused = full
            self._time(FAREWELL_SECONDS, lambda: self._break(ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, full)))

    def data_received(self, data: bytes) -> None:
        """Take in frames."""
        try:
            if self._preface is not None:
                data = self._read_preface(data)
            handlers, blocks = self._handlers, self._blocks
            for kind, flags, number, payload in self._reader.feed(data):
                if blocks.open:
                    blocks.check(kind, number)
                if not self._greeted and kind != frames.SETTINGS:
                    raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is not SETTINGS")
                handler = handlers.get(kind)
                if handler is not None:
                    handler(flags, number, payload)
                else:
                    # What is not known is passed over.
                    self._idle.add(self.loop.time())
        except ConnectionFault as fault:
            self._break(fault)
            return
        if self.outlet.paused:
            self._wait_for_reader()

    def eof_received(self) -> None:
        """Close when the client does."""

    def connection_lost(self, _exc: Exception | None) -> None:
        """Cancel the calls that are under way."""
        for timer in (self._timer, self._unread, self._greeting):
            if timer is not None:
                timer.cancel()
        self._owner.closed(self)
        self._final = None
        self._abandon_calls()

    def pause_writing(self) -> None:
        """Send no more messages; the socket's buffer is full."""
        self.outlet.paused = True

    def resume_writing(self) -> None:
        """Send what waits, and read on."""
        self.outlet.paused = False
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
            if not self._transport.is_closing():
                self._transport.resume_reading()
        self.outlet.go_on()

    # Frames.

    def _read_preface(self, data: bytes) -> bytes:
        assert self._preface is not None
        data = self._preface + data
        if len(data) < len(frames.PREFACE):
            if not frames.PREFACE.startswith(data):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the client does not speak HTTP/2")
            self._preface = data
            return b""
        if not data.startswith(frames.PREFACE):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the client does not speak HTTP/2")
        self._preface = None
        return data[len(frames.PREFACE) :]

    def _on_data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        self._window -= size
        if self._window < CONNECTION_WINDOW // 2:
            self._open_window()
        call = self._calls.get(number)
        if call is None:
            self._check_number(number)
            return
        call.window -= size
        if call.window < 0:
            self._reset(call, ErrorCode.FLOW_CONTROL_ERROR)
            return
        if call.half_closed:
            self._reset(call, ErrorCode.STREAM_CLOSED)
            return
        if flags & frames.PADDED:
            payload = frames.without_padding(flags, payload)
            call.received_padding(size - len(payload))
        last = bool(flags & frames.END_STREAM)
        if payload or last:
            call.received(payload, last=last)
        else:
            self._idle.add(self.loop.time())

    def _on_block(self, flags: int, number: int, block: bytes) -> None:
        last = bool(flags & frames.END_STREAM)
        if self._blocks.cut:
            if not self._decoder.pass_over(block):
                raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "headers that are too large")
            block = b""
        if number <= self._last:
            self._on_trailers(number, block, last=last)
            return
        if number % 2 == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"a request on stream {number}, which is not a client's")
        if self._final is not None:
            # The client was told that these are not taken, and may send them elsewhere.
            self._decoder.skip(block)
            return
        self._last = number
        if len(self._calls) >= self._owner.max_streams:
            self._decoder.skip(block)
            self._refuse(number, ErrorCode.REFUSED_STREAM)
            return
        try:
            head = self._decoder.too_large() if self._blocks.cut else self._decoder.decode(block)
        except StreamFault as fault:
            self._refuse(number, fault.code)
            return
        call = ServerCall(self, number, head, self.outlet.initial_window, self._owner.max_message_bytes)
        call.half_closed = last
        self._calls[number] = call
        if head.http_status != 200:
            self.outlet.write_end(number, refusal(head.http_status), half_closed=last)
            call.finish()
        elif head.refusal is not None:
            call.end(*head.refusal)
        elif self._refused:
            call.end(grpc.StatusCode.UNAVAILABLE, self._refused)
        else:
            self._owner.begin(call)

    def _on_trailers(self, number: int, block: bytes, *, last: bool) -> None:
        """Pass over what a client says behind its messages; it ends them."""
        asks = self._decoder.skip(block)
        call = self._calls.get(number)
        if call is None:
            self._check_number(number)
            if asks:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"a request on stream {number}, which is not a new one")
            self._idle.add(self.loop.time())
        elif call.half_closed:
            self._reset(call, ErrorCode.STREAM_CLOSED)
        elif asks or not last:
            self._reset(call, ErrorCode.PROTOCOL_ERROR)
        else:
            call.received(b"", last=True)

    def _on_priority(self, _flags: int, number: int, payload: bytes) -> None:
        """Pass over what says nothing any more (RFC 9113, section 5.3.2), if it is one at all."""
        self._idle.add(self.loop.time())
        if not number:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a PRIORITY frame of no stream")
        if len(payload) != 5:
            call = self._calls.get(number)
            if call is not None:
                self._reset(call, ErrorCode.FRAME_SIZE_ERROR)

    def _on_reset(self, _flags: int, number: int, payload: bytes) -> None:
        frames.read_number(payload, "RST_STREAM")
        call = self._calls.get(number)
        if call is None:
            self._check_number(number)
        else:
            call.abandon()
        self._resets.add(self.loop.time())

    def _on_settings(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a SETTINGS frame of a stream")
        self._idle.add(self.loop.time())
        if flags & frames.ACK:
            if payload:
                raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "an acknowledgement that holds settings")
            if not self._greeted:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the first frame is an acknowledgement")
            return
        window = self.outlet.initial_window
        for name, value in frames.read_settings(payload):
            if name == frames.INITIAL_WINDOW_SIZE:
                window = frames.checked_window(value)
            elif name == frames.MAX_FRAME_SIZE:
                self.outlet.set_max_frame(value)
            elif name == frames.ENABLE_PUSH and value > 1:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "ENABLE_PUSH is 0 or 1")
        if window != self.outlet.initial_window:
            # Once, however often one frame says it: each time costs something for every call.
            self._idle.add(self.loop.time(), len(self._calls) // CALLS_PER_IDLE_FRAME)
            self.outlet.set_initial_window(window, self._calls.values())
        self._transport.write(frames.frame(frames.SETTINGS, frames.ACK, 0))
        if not self._greeted:
            self._greeted = True
            if self._greeting is not None:
                self._greeting.cancel()
        self.outlet.go_on()

    def _on_push(self, _flags: int, _number: int, _payload: bytes) -> None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a PUSH_PROMISE frame, which no client may send")

    def _on_ping(self, flags: int, number: int, payload: bytes) -> None:
        if number:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a PING frame of a stream")
        if len(payload) != 8:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a PING frame of {len(payload)} bytes")
        self._idle.add(self.loop.time())
        if not flags & frames.ACK:
            self._transport.write(frames.frame(frames.PING, frames.ACK, 0, payload))
        elif payload == _FAREWELL and self._leaving:
            self._take_no_more()

    def _on_goaway(self, _flags: int, _number: int, payload: bytes) -> None:
        # A client that leaves takes no streams of ours, and its own calls go on.
        frames.read_goaway(payload)
        self._idle.add(self.loop.time())

    def _on_window_update(self, _flags: int, number: int, payload: bytes) -> None:
        more = frames.read_number(payload, "WINDOW_UPDATE") & frames.MAX_WINDOW
        if number == 0:
            self.outlet.widen(more)
            return
        call = self._calls.get(number)
        if call is None:
            self._check_number(number)
        elif not self.outlet.widen_call(call, more):
            self._reset(call, ErrorCode.FLOW_CONTROL_ERROR if more else ErrorCode.PROTOCOL_ERROR)

    # What follows from them.

    def _wait_for_reader(self) -> None:
        """Read no more from a client that leaves too much unread."""
        transport = self._transport
        if self._unread is None and transport.get_write_buffer_size() > MAX_UNREAD_BYTES and not transport.is_closing():
            transport.pause_reading()
            self._unread = self.loop.call_later(UNREAD_SECONDS, self.abort)

    def _open_window(self) -> None:
        if self._window < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the client sent more than it was allowed")
        self._transport.write(frames.window_update(0, CONNECTION_WINDOW - self._window))
        self._window = CONNECTION_WINDOW

    def _check_number(self, number: int) -> None:
        """Pass over what still comes of a call that has ended; what was never begun ends the connection."""
        if number == 0 or number % 2 == 0 or (number > self._last and self._final is None):
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"a frame of stream {number}, which was never begun")

    def _refuse(self, number: int, code: ErrorCode) -> None:
        self._idle.add(self.loop.time())
        self._transport.write(frames.rst_stream(number, code))

    def _reset(self, call: ServerCall, code: ErrorCode) -> None:
        """End a call whose client does not keep to the rules."""
        self._refuse(call.number, code)
        call.abandon()

    def _take_no_more(self) -> None:
        if self._final is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._final = self._last
        self._transport.write(frames.goaway(ErrorCode.NO_ERROR, self._leaving, self._last))
        if not self._calls:
            self._close()

    def _break(self, fault: ConnectionFault) -> None:
        self._transport.write(frames.goaway(fault.code, fault.reason, self._last))
        self._abandon_calls()
        # What the client still sends is not waited for.
        self._close(FAREWELL_SECONDS)

    def _abandon_calls(self) -> None:
        for call in list(self._calls.values()):
            call.abandon()

    def _close(self, seconds: float = UNREAD_SECONDS) -> None:
        """Close when the client has read what is left for it, or so many seconds have passed."""
        self._transport.close()
        self._time(seconds, self.abort)

    def _time(self, seconds: float, then: Callable[[], None]) -> None:
        """Do something later; what was to be done before is forgotten."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, then)


def _watch(found: socket.socket | None) -> None:
    """Have the system send what is written at once, and find out about clients whose machine is gone."""
    if found is None or found.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with suppress(OSError):
        found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
            if hasattr(socket, name):
                found.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNREAD_SECONDS * 1000))
