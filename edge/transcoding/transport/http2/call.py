"""One call over HTTP/2: what it sends, what it received, and how it ended."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import TYPE_CHECKING, Any

import grpc

from edge.transcoding.transport.channel import CallEndedError, Metadata
from edge.transcoding.transport.http2.fields import Fields
from shared.http2.codes import ErrorCode, StreamFault, name_of, status_of_reset
from shared.http2.messages import PREFIX_BYTES, MessageReader, prefix
from shared.http2.receiving import Receiving

if TYPE_CHECKING:  # each knows the other
    from edge.transcoding.transport.http2.connection import Connection

WINDOW = 512 << 10
"""Bytes of one call that a server may send unread; a larger message is let in when it is asked for."""

REPLAYED_BYTES = 256 << 10
"""As much of a client stream is kept, until the server answers, to be sent again where it did not take the call."""

_CUT = "the server ended the call in the middle of a message"
_CANCELLED = grpc.StatusCode.CANCELLED
_OK = grpc.StatusCode.OK


class Http2Call(Receiving):
    """Implements `channel.Call`. The connection tells it what comes, and asks it for what is to be sent.

    `waiting` is told when the call ends before it has a connection.
    """

    # What most calls leave as it is costs their making nothing.
    number = 0
    tries = 0
    connection: "Connection | None" = None
    send_window = 0
    window = WINDOW
    ends = False
    end_sent = False
    ended = False
    _fields: Fields | None = None
    _trailing: Metadata = ()
    _status: grpc.StatusCode | None = None
    _details = ""
    _cancelled = False
    _reply: bytes | None = None
    _sent_bytes = 0
    _waiter: asyncio.Future[None] | None = None
    _watchers: list[asyncio.Future[None]] | None = None
    _timer: asyncio.TimerHandle | None = None

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        request: bytes | None,
        *,
        streams_replies: bool,
        max_message_bytes: int,
        timeout: float | None,
        metadata: Metadata,
        head: bytes,
        withdraw: Callable[["Http2Call"], None],
    ) -> None:
        self._loop = loop
        self._streams_replies = streams_replies
        self._max = max_message_bytes
        self._withdraw = withdraw
        self.head = head
        self.metadata = metadata
        self.timeout = timeout
        if request is None:
            self.outgoing: bytes | memoryview = b""
            self._sent: list[bytes] | None = []
        else:
            data = prefix(request) + request
            self.outgoing = data
            self._sent = [data]
            self.ends = True
        if timeout is not None:
            self._timer = loop.call_later(timeout, self._expire)

    def __await__(self) -> Generator[Any, None, bytes]:
        """See `channel.Call`."""
        while not self.ended:
            self._grant()
            yield from self._wait()
        if self._status is not _OK:
            raise self._error()
        assert self._reply is not None
        return self._reply

    def __aiter__(self) -> AsyncIterator[bytes]:
        """See `channel.Call`."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next message."""
        reader = self._reader
        while not reader:
            if self.ended:
                if self._status is _OK and reader is not None and reader.incomplete:
                    self._status, self._details = grpc.StatusCode.INTERNAL, _CUT
                if self._status is _OK:
                    raise StopAsyncIteration
                raise self._error()
            self._grant()
            await self._waiting()
            reader = self._reader
        if self._cancelled:
            raise self._error()
        try:
            message = reader.take()
        except StreamFault as fault:
            self.fault(fault)
            # The server may have ended the call as if all were well.
            self._status, self._details = fault.status, fault.reason
            raise self._error() from None
        if reader.taken >= WINDOW // 2:
            self._credit(reader)
        return message

    def cancel(self) -> bool:
        """See `channel.Call`."""
        if self.ended:
            return False
        self._cancelled = True
        self.finish(_CANCELLED, "the call was cancelled", ErrorCode.CANCEL)
        return True

    async def initial_metadata(self) -> Metadata:
        """See `channel.Call`."""
        while self._fields is None and not self.ended:
            await self._changed()
        return self._fields.metadata if self._fields is not None else ()

    async def trailing_metadata(self) -> Metadata:
        """See `channel.Call`."""
        while not self.ended:
            await self._changed()
        return self._trailing

    async def write(self, message: bytes) -> None:
        """See `channel.Call`."""
        if self.ended:
            raise CallEndedError
        data = prefix(message) + message
        if self._sent is not None:
            self._sent.append(data)
            self._sent_bytes += len(data)
            if self._sent_bytes > REPLAYED_BYTES:
                self._sent = None
        self.outgoing = data
        if self.connection is not None:
            self.connection.send(self)
        while self.outgoing:
            if self.ended:
                raise CallEndedError
            try:
                await self._changed()
            except asyncio.CancelledError:
                self.cancel()
                raise

    async def done_writing(self) -> None:
        """See `channel.Call`."""
        if self.ended:
            raise CallEndedError
        self.ends = True
        if self.connection is not None:
            self.connection.send(self)

    # What the connection tells.

    def remaining(self) -> float | None:
        """Return the seconds until the deadline."""
        if self._timer is None:
            return None
        return max(self._timer.when() - self._loop.time(), 1e-6)

    def sent(self) -> None:
        """Take note that all of `outgoing` is on its way."""
        self._notify()

    def received_fields(self, fields: Fields, *, last: bool) -> None:
        """Take in a header block."""
        if fields.interim:
            if last:
                self.finish(grpc.StatusCode.INTERNAL, "the server ended the call by an interim answer")
            return
        if fields.refusal is not None and self._fields is None:
            self.finish(*fields.refusal, ErrorCode.CANCEL)
            return
        # A call that the server took may have had its effect.
        self._sent = None
        if last:
            self._end(fields)
            return
        if self._fields is not None:
            self.finish(grpc.StatusCode.INTERNAL, "headers in the middle of the answer", ErrorCode.PROTOCOL_ERROR)
            return
        self._fields = fields
        if fields.encoding != "identity":
            try:
                self._open_reader().set_encoding(fields.encoding)
            except StreamFault as fault:
                self.fault(fault)
                return
        if self._watchers:
            self._notify()

    def received_data(self, data: bytes, *, last: bool) -> None:
        """Take in bytes of messages."""
        if self._fields is None:
            self.finish(grpc.StatusCode.INTERNAL, "data before headers", ErrorCode.PROTOCOL_ERROR)
            return
        reader = self._reader
        if reader is None:
            if not self._streams_replies and data[:1] == b"\0" and self._reply is None and self._is_reply(data):
                self._reply = data[PREFIX_BYTES:]
                if last:
                    self._end(None)
                return
            reader = self._open_reader()
        try:
            reader.feed(data)
            if not self._streams_replies:
                self._take_reply(reader)
        except StreamFault as fault:
            self.fault(fault)
            return
        if last:
            self._end(None)
        elif (waiter := self._waiter) is not None:
            if not reader:
                self._grant()
            elif not waiter.done():
                waiter.set_result(None)

    def received_padding(self, size: int) -> None:
        """Take note of bytes that used up the window and hold nothing."""
        self._open_reader().taken += size

    def reset(self, code: int) -> None:
        """Take note that the server ended the stream."""
        self.finish(status_of_reset(code), f"the server reset the stream: {name_of(code)}")

    def fault(self, fault: StreamFault) -> None:
        """End the call for what the server sent."""
        self.finish(fault.status, fault.reason, fault.code)

    def again(self) -> bool:
        """Make ready to be sent once more, on another connection; returns False where that cannot be."""
        if self._sent is None or self.ended:
            return False
        self.connection = None
        self.number = 0
        self.window = WINDOW
        self.outgoing = b"".join(self._sent)
        self.end_sent = False
        return True

    def finish(self, status: grpc.StatusCode, details: str, code: ErrorCode | None = None) -> None:
        """End the call; with a code, the server is told."""
        if self.ended:
            return
        self.ended = True
        self._status, self._details = status, details
        self._sent = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.connection is None:
            self._withdraw(self)
        else:
            if code is None and not self.end_sent:
                # The server is done with a client stream that is not.
                code = ErrorCode.NO_ERROR
            self.connection.forget(self, code)
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        if self._watchers:
            self._notify()

    def _end(self, trailers: Fields | None) -> None:
        """End the call as the server says."""
        reader = self._reader
        if trailers is None or trailers.status is None:
            self.finish(grpc.StatusCode.UNKNOWN, "the server ended the call without a status")
            return
        self._trailing = trailers.metadata
        status, details = trailers.status, trailers.message
        if status is _OK:
            # Of a stream, messages may wait still to be cut out.
            if not self._streams_replies and reader is not None and reader.incomplete:
                status, details = grpc.StatusCode.INTERNAL, _CUT
            elif not self._streams_replies and self._reply is None:
                status, details = grpc.StatusCode.INTERNAL, "the server ended the call without a reply"
        self.finish(status, details)

    def _is_reply(self, data: bytes) -> bool:
        size = len(data) - PREFIX_BYTES
        return size >= 0 and int.from_bytes(data[1:PREFIX_BYTES], "big") == size <= self._max

    def _take_reply(self, reader: MessageReader) -> None:
        if not reader:
            self._grant()
            return
        if self._reply is not None:
            raise StreamFault(ErrorCode.CANCEL, grpc.StatusCode.INTERNAL, "more than one reply to a unary call")
        self._reply = reader.take()
        self._take_reply(reader)

    def _open_reader(self) -> MessageReader:
        if self._reader is None:
            self._reader = MessageReader(self._max)
            if self._reply is not None:
                self._reader.taken = len(self._reply) + PREFIX_BYTES
        return self._reader

    def _allow(self, size: int) -> None:
        if size > 0 and not self.ended and self.connection is not None:
            self.window += size
            self.connection.allow(self.number, size)

    def _expire(self) -> None:
        self._timer = None
        self.finish(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded", ErrorCode.CANCEL)

    def _error(self) -> BaseException:
        if self._cancelled:
            return asyncio.CancelledError()
        assert self._status is not None
        initial = self._fields.metadata if self._fields is not None else ()
        return grpc.aio.AioRpcError(
            self._status,
            grpc.aio.Metadata(*initial),
            grpc.aio.Metadata(*self._trailing),
            details=self._details,
        )

    def _wait(self) -> Generator[Any, None, None]:
        """Wait for what the reader waits for; who stops waiting ends the call."""
        waiter = self._waiter = self._loop.create_future()
        try:
            yield from waiter
        except asyncio.CancelledError:
            self.cancel()
            raise
        finally:
            self._waiter = None

    async def _waiting(self) -> None:
        waiter = self._waiter = self._loop.create_future()
        try:
            await waiter
        except asyncio.CancelledError:
            self.cancel()
            raise
        finally:
            self._waiter = None

    async def _changed(self) -> None:
        """Wait until something else about the call changes."""
        if self._watchers is None:
            self._watchers = []
        watcher = self._loop.create_future()
        self._watchers.append(watcher)
        await watcher

    def _notify(self) -> None:
        watchers, self._watchers = self._watchers, None
        for watcher in watchers or ():
            if not watcher.done():
                watcher.set_result(None)
