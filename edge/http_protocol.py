"""uvicorn's HTTP protocol, with bounds on heads, trailers behind streams, and a way to cut a response off."""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, HttpToolsProtocol, RequestResponseCycle

from edge.transcoding.errors import Code
from edge.transcoding.exchange import CUT, TRAILERS

_EXTENSIONS: Mapping[str, Mapping[str, Any]] = {TRAILERS: {}, CUT: {}}


class BoundedHttpProtocol(HttpToolsProtocol):
    """Refuses heads that are too large (431) and drops connections whose head does not arrive in time.

    The parser itself keeps whatever a client sends until the head is complete, so that one connection could fill the
    memory, and a thousand slow ones all places. Trailers behind a body are counted and not kept.

    Applications find two extensions in their scope: `http.response.trailers`, which is ASGI's, and
    `http.response.cut`, a message that ends a response which cannot be completed.
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

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        super()._start_asgi_task(cycle, _Extended(cycle, app))  # type: ignore[arg-type]  # uvicorn types ASGI by itself

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


class _Extended:
    """Serves one request by an application, with the extensions."""

    __slots__ = ("_app", "_cycle", "_send", "_trailers", "_trails")

    def __init__(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:
        self._cycle = cycle
        self._app = app
        self._send: Send
        self._trails = False
        self._trailers: list[tuple[bytes, bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        scope["extensions"] = _EXTENSIONS
        self._send = send
        await self._app(scope, receive, self._extended)

    async def _extended(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self._trails = message.get("trailers", False)
        elif self._trails and kind == "http.response.body" and not message.get("more_body"):
            # The end waits for the trailers.
            message = {**message, "more_body": True}
        elif kind == TRAILERS:
            self._trailers += message["headers"]
            if not message.get("more_trailers"):
                await self._end()
            return
        elif kind == CUT:
            self._cut()
            return
        await self._send(message)

    async def _end(self) -> None:
        """End a response, with trailers where its body is chunked; elsewhere HTTP/1.1 has no place for them."""
        cycle = self._cycle
        if cycle.chunked_encoding and not cycle.disconnected:
            lines = []
            for name, value in self._trailers:
                if HEADER_RE.search(name) or HEADER_VALUE_RE.search(value):
                    raise RuntimeError("Invalid HTTP trailer.")
                lines.append(b"%b: %b\r\n" % (name, value))
            cycle.transport.write(b"0\r\n%b\r\n" % b"".join(lines))
            # What uvicorn would write at the end is written.
            cycle.chunked_encoding = False
            cycle.expected_content_length = 0
        await self._send({"type": "http.response.body", "body": b""})

    def _cut(self) -> None:
        """Close the connection before the response has its end, so that the client notices."""
        self._cycle.transport.close()
        # Or uvicorn would report a fault of the application's.
        self._cycle.disconnected = True
