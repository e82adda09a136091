"""How an application's response becomes bytes: uvicorn's way, with trailers, cuts, and clients of HTTP/1.0."""

import socket
import struct
from collections.abc import Callable

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HEADER_RE, HEADER_VALUE_RE, RequestResponseCycle

from edge.transcoding.errors import Code
from edge.transcoding.exchange import CUT, DEPARTURE, TRAILERS


class Responding:
    """Serves one request by an application, with what uvicorn's own way of responding lacks.

    Applications find three extensions in their scope: `http.response.trailers`, which is ASGI's,
    `http.response.cut`, a message that ends a response which cannot be completed, and `connection.departure`, whose
    `listen` has a function called when the client leaves, whether or not anybody receives. To a client of HTTP/1.0,
    which knows no chunks, a body without a length ends with its connection (RFC 9112, 6.1 and 6.3); one that is cut
    resets it.
    """

    __slots__ = ("_app", "_cycle", "_listener", "_send", "_trailers", "_trails", "_until_close")

    def __init__(self, cycle: RequestResponseCycle, app: ASGIApp) -> None:
        self._cycle = cycle
        self._app = app
        self._send: Send
        self._trails = False
        self._until_close = False
        self._trailers: list[tuple[bytes, bytes]] = []
        self._listener: Callable[[], object] | None = None

    def listen(self, listener: Callable[[], object] | None) -> None:
        """Have a function called when the client leaves, at once where it has left; None forgets it."""
        self._listener = listener
        if listener is not None and self._cycle.disconnected:
            self.leave()

    def leave(self) -> None:
        """Take note that the client has left."""
        cycle = self._cycle
        if cycle.response_complete:
            return
        cycle.disconnected = True
        cycle.message_event.set()
        listener, self._listener = self._listener, None
        if listener is not None:
            listener()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        scope["extensions"] = {TRAILERS: {}, CUT: {}, DEPARTURE: {"listen": self.listen}}
        self._send = send
        await self._app(scope, receive, self._respond)

    async def _respond(self, message: Message) -> None:
        kind = message["type"]
        if kind == "http.response.start":
            self._trails = message.get("trailers", False)
            if self._cycle.scope["http_version"] == "1.0":
                self._begin_old(message)
        elif self._until_close and kind == "http.response.body":
            self._cycle.expected_content_length = len(message.get("body", b"")) + message.get("more_body", False)
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

    def _begin_old(self, message: Message) -> None:
        self._trails = False
        names = [name.lower() for name, _ in message.get("headers", ())]
        if b"content-length" not in names:
            self._until_close = True
            self._cycle.chunked_encoding = False

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
        transport = self._cycle.transport
        if self._until_close:
            # An orderly close would look like the end.
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        else:
            transport.close()
        # Or uvicorn would report a fault of the application's.
        self._cycle.disconnected = True


async def busy(_scope: Scope, _receive: Receive, send: Send) -> None:
    """Answers that there are too many connections: an ASGI application."""
    message = "too many connections are open; try again"
    body = orjson.dumps({"code": int(Code.UNAVAILABLE), "message": message, "details": []})
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"retry-after", b"1"),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": body})
