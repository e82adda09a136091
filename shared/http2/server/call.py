"""One call as the server has it: what the client sent, what is sent to it, and how it ends."""

import asyncio
from typing import TYPE_CHECKING

import grpc

from shared.http2 import frames
from shared.http2.codes import ErrorCode, StreamFault
from shared.http2.messages import PREFIX_BYTES, MessageReader, prefix
from shared.http2.receiving import Receiving
from shared.http2.server.holding import UNCOUNTED_BYTES
from shared.http2.server.requests import RequestHead
from shared.http2.server.responses import HEAD, OK_TRAILERS, trailers

if TYPE_CHECKING:  # each knows the other
    from shared.http2.server.connection import ServerConnection

WINDOW = 256 << 10
"""Bytes of one call that a client may send unread; a larger message is let in when it is asked for."""

TURNS = 32
"""Messages that a handler sends before others have their turn."""

_CUT = "the client ended the call in the middle of a message"
_OK = grpc.StatusCode.OK


class ServerCall(Receiving):
    """The stream of one call. The connection tells it what comes; the handler reads, writes and ends it.

    `ended` tells that nothing more can be sent: the status was, or the client is gone. `cancelled` tells that the
    client left, that its deadline passed or that the server stops, so that nobody wants the answer; `task` carries the
    handler.
    """

    # What most calls leave as it is costs their making nothing.
    half_closed = False
    ended = False
    cancelled = False
    head_sent = False
    task: "asyncio.Task[None] | None" = None
    window = WINDOW
    outgoing: bytes | memoryview = b""
    _held = 0
    _message: bytes | None = None
    _turns = TURNS
    _reading: asyncio.Future[None] | None = None
    _writing: asyncio.Future[None] | None = None
    _timer: asyncio.TimerHandle | None = None

    def __init__(
        self, connection: "ServerConnection", number: int, head: RequestHead, send_window: int, max_message_bytes: int
    ) -> None:
        self.connection = connection
        self.number = number
        self.head = head
        self.send_window = send_window
        self._max = max_message_bytes
        if head.timeout is not None:
            self._timer = connection.loop.call_later(head.timeout, self._expire)

    # What the handler does.

    @property
    def exhausted(self) -> bool:
        """Whether the client has said its last word, and all of it was read."""
        reader = self._reader
        return self.half_closed and self._message is None and (reader is None or not (reader or reader.incomplete))

    def remaining(self) -> float | None:
        """Return the seconds until the client's deadline, None where it has none."""
        if self._timer is None:
            return None if self.head.timeout is None else 0.0
        return max(self._timer.when() - self.connection.loop.time(), 0.0)

    async def receive(self) -> bytes | None:
        """Return the next message, None at their end. Raises `StreamFault` for what is none."""
        while not (reader := self._reader):
            if self._message is not None:
                message, self._message = self._message, None
                return message
            if self.cancelled:
                raise asyncio.CancelledError
            if self.half_closed:
                if reader is not None and reader.incomplete:
                    raise StreamFault(ErrorCode.CANCEL, grpc.StatusCode.INTERNAL, _CUT)
                return None
            self._grant()
            self._reading = self.connection.loop.create_future()
            try:
                await self._reading
            finally:
                self._reading = None
        message = reader.take()
        if self._held:
            # The handler is done with the one before.
            self._let_go()
        if (size := len(message) + reader.held) > UNCOUNTED_BYTES:
            self._hold(size)
        if reader.taken >= WINDOW // 2:
            self._credit(reader)
        return message

    def send_head(self, metadata: bytes) -> None:
        """Send the initial metadata, encoded."""
        if not self.ended:
            self.head_sent = True
            self.connection.outlet.write_headers(self.number, HEAD + metadata)

    async def send(self, message: bytes) -> None:
        """Send a message; returns when the client's windows and the socket have let all of it out."""
        if self.outgoing:
            await self._drained()
        if self.ended:
            raise asyncio.CancelledError
        opens, self.head_sent = not self.head_sent, True
        self.outgoing = prefix(message) + message
        self.connection.outlet.send(self, opens=opens)
        if self.outgoing:
            await self._drained()
        self._turns -= 1
        if not self._turns:
            # A handler that has all of its answers at hand would let nobody else have a turn, nor hear of its end.
            self._turns = TURNS
            await asyncio.sleep(0)

    async def reply(self, message: bytes, metadata: bytes) -> None:
        """Send the one message of an answer, and end the call with OK."""
        data = prefix(message) + message
        if self.head_sent or self.ended or not self.connection.outlet.write_whole(self, data, OK_TRAILERS + metadata):
            await self.send(message)
            self.end(_OK, "", metadata)
        else:
            self.finish()

    def end(self, status: grpc.StatusCode, details: str, metadata: bytes = b"") -> None:
        """End the call with a status; what was not sent yet is dropped. Does nothing where it has ended."""
        if self.ended:
            return
        block = trailers(status, details, metadata)
        self.connection.outlet.write_end(
            self.number, block if self.head_sent else HEAD + block, half_closed=self.half_closed
        )
        self.finish()

    def finish(self) -> None:
        """Take note that the call has ended, on the wire too."""
        self.ended = True
        self.outgoing = b""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._held:
            self._let_go()
        self.connection.forget(self)
        self._wake()

    def cancel(self, status: grpc.StatusCode, details: str) -> None:
        """End the call with a status, and its handler."""
        self.end(status, details)
        self.abandon()

    # What the connection tells.

    def received(self, data: bytes, *, last: bool) -> None:
        """Take in bytes of messages."""
        if last:
            self.half_closed = True
        if self.ended:
            return
        reader = self._reader
        if reader is None:
            size = len(data) - PREFIX_BYTES
            # Most calls have one message, and it comes at once.
            if (
                last
                and size >= 0
                and data[0] == 0
                and self._message is None
                and int.from_bytes(data[1:PREFIX_BYTES], "big") == size <= self._max
            ):
                self._message = data[PREFIX_BYTES:]
                self._wake()
                return
            reader = self._open_reader()
        try:
            reader.feed(data)
            if reader.held > UNCOUNTED_BYTES:
                self._hold(reader.held)
            if not (reader or self.half_closed) and self._reading is not None:
                self._grant()
        except StreamFault as fault:
            self.fault(fault)
            return
        if reader or self.half_closed:
            self._wake_reading()

    def received_padding(self, size: int) -> None:
        """Take note of bytes that used up the window and hold nothing."""
        self._open_reader().taken += size

    def fault(self, fault: StreamFault) -> None:
        """End the call for what the client sent."""
        self.cancel(fault.status, fault.reason)

    def awaited(self) -> int | None:
        """Return how many bytes have come in all, None where the client has nothing to send or is held back."""
        reader = self._reader
        if reader is None or reader or not reader.incomplete or self.half_closed or self.window <= 0:
            return None
        return reader.fed

    def abandon(self) -> None:
        """Cancel the handler, once: nobody wants its answer, and what it does at its end is not disturbed."""
        if self.cancelled:
            return
        self.cancelled = True
        if not self.ended:
            self.finish()
        if self.task is not None:
            self.task.cancel()

    def sent(self) -> None:
        """Take note that all of `outgoing` is on its way."""
        writing = self._writing
        if writing is not None and not writing.done():
            writing.set_result(None)

    def _open_reader(self) -> MessageReader:
        if self._reader is None:
            self._reader = MessageReader(self._max)
            self._reader.set_encoding(self.head.encoding)
        return self._reader

    def _grant(self) -> None:
        reader = self._reader
        if reader is not None and reader.incomplete and not reader and reader.missing() > self.window:
            self._hold(reader.held + reader.missing())
        super()._grant()

    def _hold(self, size: int) -> None:
        """Count so many bytes as in memory, in all; raises `StreamFault` where there is no room for them."""
        more = size - self._held
        if more > 0 and not self.ended:
            self.connection.holding.take(self, more)
            self._held = size

    def _let_go(self) -> None:
        held, self._held = self._held, 0
        self.connection.holding.give(self, held)

    def _allow(self, size: int) -> None:
        if size > 0 and not self.ended and not self.half_closed:
            self.window += size
            self.connection.outlet.write(frames.window_update(self.number, size))

    async def _drained(self) -> None:
        while self.outgoing:
            if self._writing is None or self._writing.done():
                self._writing = self.connection.loop.create_future()
            # Two that write at once wait for the same.
            await asyncio.shield(self._writing)
        if self.cancelled:
            raise asyncio.CancelledError

    def _wake(self) -> None:
        self._wake_reading()
        self.sent()

    def _wake_reading(self) -> None:
        reading = self._reading
        if reading is not None and not reading.done():
            reading.set_result(None)

    def _expire(self) -> None:
        self._timer = None
        self.cancel(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
