"""uvicorn's HTTP protocol, with bounds on what a client may send, and how slowly, before a request begins."""

import asyncio
from typing import Any, cast

import httptools
import orjson
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from edge.departures import Departures
from edge.http_responses import Responding, busy
from edge.transcoding.errors import Code
from shared.http2.gathering import GatheringTransport

# What asks for another protocol, which is not spoken: "h2c" is what Java's own client begins with, for one.
_UPGRADE_NAMES = frozenset((b"upgrade", b"connection", b"http2-settings"))


class BoundedHttpProtocol(HttpToolsProtocol):
    """Refuses heads that are too large (431) and drops connections whose head does not arrive in time.

    The parser itself keeps whatever a client sends until the head is complete, so that one connection could fill the
    memory, and a thousand slow ones all places. Trailers behind a body are counted and not kept.

    A client that takes nothing of an answer for long is dropped: whatever is held for it would be held forever.

    A request that would rather go on by another protocol, but for WebSocket, is served by this one (RFC 9110, 7.8).

    `departures` notices clients that leave while nothing is read from them; without it they are noticed later.
    """

    max_head_bytes = 64 << 10
    """Bytes of a request's line and headers; also of all trailers of one request."""
    head_seconds = 10.0
    """Time in which a head must arrive, from its first byte or from the connection's beginning."""

    write_seconds = 60.0
    """Time in which a client must take what waits for it, some 64 KiB."""

    _awaits_head = True
    _passes_over = False
    _head_bytes = 0
    _trailer_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _responding: Responding | None = None

    def __init__(self, *args: Any, departures: Departures | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._departures = departures

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for the first head."""
        gathering: Any = GatheringTransport(cast("asyncio.Transport", transport), self.loop)
        super().connection_made(gathering)
        if self._departures is not None:
            self.flow = _WatchedFlow(self.transport, self._departures)
        self._head_timer = self.loop.call_later(self.head_seconds, self._drop)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_timer()
        self._stop_write_timer()
        self._stop_watching()
        super().connection_lost(exc)
        if self._responding is not None:
            # uvicorn tells the request that came last, which may wait for its turn behind the one being answered.
            self._responding.leave()

    def handle_websocket_upgrade(self) -> None:
        """Leave the connection to another protocol, which watches it by itself."""
        self._stop_watching()
        super().handle_websocket_upgrade()

    def pause_writing(self) -> None:
        """Begin to wait for a client that does not take what is sent."""
        super().pause_writing()
        self._write_timer = self.loop.call_later(self.write_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on."""
        self._stop_write_timer()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, and see that a head that goes on stays within its bounds."""
        if self._awaits_head:
            self._head_bytes += len(data)
        self._parse(data)
        if not self._awaits_head or self.transport.is_closing():
            return
        if self._head_bytes > self.max_head_bytes:
            message = f"the request's line and headers hold more than {self.max_head_bytes} bytes"
            self._refuse(b"431 Request Header Fields Too Large", message)
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_seconds, self._drop)

    def on_message_begin(self) -> None:
        """Begin to count a head."""
        super().on_message_begin()
        self._awaits_head = True
        self._passes_over = False
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
        method = self.parser.get_method()
        # CONNECT asks for a tunnel whatever its headers say; it is answered as any method that no route takes.
        if self.parser.should_upgrade() and method != b"CONNECT" and not self._should_upgrade():
            # The parser takes what follows for another protocol; the request begins when it is parsed without that.
            self.scope["method"] = method.decode("ascii")
            self.scope["http_version"] = self.parser.get_http_version()
            self._passes_over = True
            return
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Take note of a request's end, unless the parser found it where none is."""
        if not self._passes_over:
            super().on_message_complete()

    def _parse(self, data: bytes) -> None:
        """Parse as uvicorn does, but for a request that asks for a protocol which is not spoken."""
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
            elif self._passes_over:
                self._parse_again(data[upgrade.args[0] :])
        except (httptools.HttpParserInvalidURLError, httptools.HttpParserCallbackError):
            # Ours fail for nothing that a client sends but for a target that is none.
            self._refuse(
                b"400 Bad Request", "the request's target cannot be read; what is not ASCII is percent-encoded in it"
            )
        except httptools.HttpParserError as error:
            reason = str(error)
            self._refuse(b"400 Bad Request", f"the request is no HTTP/1.1: {reason[:1].lower()}{reason[1:]}")

    def _parse_again(self, rest: bytes) -> None:
        """Parse the head without what asks for another protocol, and what follows it."""
        connection = [token for name, value in self.headers if name == b"connection" for token in value.split(b",")]
        # "close" and "keep-alive" go on being heeded; the other tokens belong to what is left out.
        kept = [token.strip() for token in connection if token.strip().lower() in (b"close", b"keep-alive")]
        lines = [b"%b %b HTTP/%b" % (self.scope["method"].encode(), self.url, self.scope["http_version"].encode())]
        lines += [b"%b: %b" % (name, value) for name, value in self.headers if name not in _UPGRADE_NAMES]
        lines += [b"connection: " + token for token in kept]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
        self._parse(b"\r\n".join((*lines, b"", b"")) + rest)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        # uvicorn puts an application of its own in the place of ours where there are too many connections.
        served = app if app is self.app else busy
        self._responding = Responding(cycle, served)
        super()._start_asgi_task(cycle, self._responding)  # type: ignore[arg-type]  # uvicorn types ASGI by itself

    def _refuse(self, status: bytes, message: str) -> None:
        # Where a request of this connection is still being answered, nothing can be said in between; what is wrong
        # with the body of one whose answer has not begun is its answer.
        cycle = self.cycle
        is_answer = not (self._awaits_head or self.pipeline) and not (cycle is None or cycle.response_started)
        if cycle is None or cycle.response_complete or is_answer:
            body = orjson.dumps({"code": int(Code.INVALID_ARGUMENT), "message": message, "details": []})
            self.transport.write(
                b"HTTP/1.1 %b\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"
                % (status, len(body), body)
            )
        self.transport.close()

    def _drop(self) -> None:
        self._head_timer = None
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _stop_watching(self) -> None:
        if isinstance(self.flow, _WatchedFlow):
            self.flow.stop_watching()

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None


class _WatchedFlow(FlowControl):
    """Has a connection watched from when it is first not read from."""

    def __init__(self, transport: asyncio.Transport, departures: Departures) -> None:
        super().__init__(transport)
        self._departures = departures
        self._watched: int | None = None

    def pause_reading(self) -> None:
        super().pause_reading()
        if self._watched is None:
            self._watched = self._departures.watch(self._transport)

    def stop_watching(self) -> None:
        if self._watched is not None:
            self._departures.forget(self._watched, self._transport)
            self._watched = None
