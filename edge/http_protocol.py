"""uvicorn's HTTP protocol with bounds on what a client may send, and how slowly, before a request begins."""

import asyncio

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from edge.transcoding.errors import Code


class BoundedHttpProtocol(HttpToolsProtocol):
    """Refuses heads that are too large (431) and drops connections whose head does not arrive in time.

    The parser itself keeps whatever a client sends until the head is complete, so that one connection could fill the
    memory, and a thousand slow ones all places. Trailers behind a body are counted and not kept.
    """

    max_head_bytes = 64 << 10
    """Bytes of a request's line and headers; also of all trailers of one request."""
    head_seconds = 10.0
    """Time in which a head must arrive, from its first byte or from the connection's beginning."""

    _awaits_head = True
    _head_bytes = 0
    _trailer_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first head."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows the transport's type
        self._head_timer = self.loop.call_later(self.head_seconds, self._drop)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, and see that a head that goes on stays within its bounds."""
        if self._awaits_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if not self._awaits_head or self.transport.is_closing():
            return
        if self._head_bytes > self.max_head_bytes:
            self._refuse()
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds, self._drop)

    def on_message_begin(self) -> None:
        """Begin to count a head."""
        super().on_message_begin()
        self._awaits_head = True
        self._trailer_bytes = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; count a trailer."""
        if self._awaits_head:
            super().on_header(name, value)
            return
        self._trailer_bytes += len(name) + len(value)
        if self._trailer_bytes > self.max_head_bytes:
            self.transport.close()

    def on_headers_complete(self) -> None:
        """Let the request begin."""
        self._awaits_head = False
        self._head_bytes = 0
        self._stop_timer()
        super().on_headers_complete()

    def _refuse(self) -> None:
        # Where an earlier request of this connection is still being answered, nothing can be said in between.
        if self.cycle is None or self.cycle.response_complete:
            message = f"the request's line and headers hold more than {self.max_head_bytes} bytes"
            body = orjson.dumps({"code": int(Code.INVALID_ARGUMENT), "message": message, "details": []})
            self.transport.write(
                b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/json\r\n"
                b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
            )
        self.transport.close()

    def _drop(self) -> None:
        self._head_timer = None
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
