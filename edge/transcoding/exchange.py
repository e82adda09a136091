"""One HTTP request and its response, as the transcoder sees them."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, Protocol

from starlette.types import Receive, Scope, Send

from edge.transcoding.cross_origin import OriginPolicy
from edge.transcoding.errors import Code, ErrorStyle, RpcFailure, StyleByHeader, failure, failure_of_binding
from edge.transcoding.headers import Header, RequestHead, accepts_trailers
from edge.transcoding.transport.channel import Call, CallEndedError
from edge.transcoding.violations import BindingError

_DRAIN_BYTES = 16 << 20
_DRAIN_SECONDS = 2.0
_DISCONNECTS = ("http.disconnect", "websocket.disconnect")

TRAILERS = "http.response.trailers"
"""ASGI's extension for trailers, and its message."""
CUT = "http.response.cut"
"""An extension of the edge's own server, and its message: the response ends here and must not look complete."""
DEPARTURE = "connection.departure"
"""An extension of the edge's own server: what its `listen` is given is called when the client leaves.

Who waits for a backend learns from it at once; by `receive` alone, only when it takes in more of the body.
"""

_LOG = logging.getLogger(__name__)


class ClientGoneError(Exception):
    """The client left; there is nobody to answer."""


class ResponseCutError(Exception):
    """A response that began cannot be completed; the connection is closed so that the client notices."""


class Cancellable(Protocol):
    """A call that ends when its client leaves."""

    def cancel(self) -> bool:
        """Cancel the call; returns False where it has ended."""
        ...


class Exchange:
    """State of one request, and the ways of answering it.

    `head` and `style` are set as soon as they are known. `started` tells whether the response has begun, `gone` that
    the client left while a call was watched, `fault` what is wrong with a streamed request body. `state` is the
    scope's; headers that an authorizer puts into its list `response_headers` go out with every response. `origins` is
    set where pages of other origins may call.
    """

    __slots__ = (
        "_listen",
        "_loop",
        "_receive",
        "_send",
        "_timer",
        "_trails",
        "_watch_after",
        "_watcher",
        "fault",
        "gone",
        "head",
        "is_head",
        "origins",
        "request_id",
        "scope",
        "started",
        "state",
        "style",
        "timeout",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, style: ErrorStyle, watch_after: float) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self._watch_after = watch_after
        departure = scope.get("extensions", {}).get(DEPARTURE)
        self._listen: Callable[[Callable[[], object] | None], None] | None = departure and departure["listen"]
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None
        self.style = style
        self.head: RequestHead
        self.request_id = ""
        self.is_head = scope.get("method") == "HEAD"
        self.timeout = 0.0
        self.started = False
        self.gone = False
        self.fault: RpcFailure | None = None
        self.origins: OriginPolicy | None = None
        self._trails = False
        self.state: dict[str, Any] = scope.setdefault("state", {})

    async def receive(self) -> tuple[bytes, bool]:
        """Return the next piece of the request body and whether more follows; raises `ClientGoneError`."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        return message.get("body", b""), message.get("more_body", False)

    async def drain(self) -> bool:
        """Take in and drop what the client still sends, within bounds; returns whether the body ended.

        A connection that is closed while bytes wait unread is reset, and the client might never see its answer.
        """
        drained, more = 0, True
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                while more and drained < _DRAIN_BYTES:
                    piece, more = await self.receive()
                    drained += len(piece)
        except TimeoutError:
            return False
        return not more

    async def reply(self, status: int, headers: list[Header], body: bytes) -> None:
        """Send a whole response; its length and the request id are added to the headers."""
        self._complete(headers)
        # RFC 9110, section 8.6: 204 has no Content-Length; that of 304 would be the one of the body not sent.
        if status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(body)))
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": b"" if self.is_head else body})

    async def start(self, status: int, headers: Sequence[Header]) -> None:
        """Begin a response whose length is not known."""
        self.started = True
        all_headers = list(headers)
        self._complete(all_headers)
        message: dict[str, Any] = {"type": "http.response.start", "status": status, "headers": all_headers}
        if self.wants_trailers:
            self._trails = message["trailers"] = True
        await self._send(message)

    @property
    def wants_trailers(self) -> bool:
        """Whether the client asked for trailers behind a streamed response, and the server can send them."""
        return accepts_trailers(self.head.te) and TRAILERS in self.scope.get("extensions", ())

    async def write(self, data: bytes) -> None:
        """Send a piece of the body; returns when the server can take more."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"", trailers: Sequence[Header] = ()) -> None:
        """Send the last piece of the body, and trailers where they are wanted."""
        await self._send({"type": "http.response.body", "body": data})
        if self._trails:
            await self._send({"type": TRAILERS, "headers": trailers})

    async def cut(self) -> None:
        """Leave the response without its end; servers close the connection then, some after a complaint."""
        if CUT in self.scope.get("extensions", ()):
            await self._send({"type": CUT})

    async def fail(self, failure: RpcFailure) -> None:
        """Answer with an error in the route's style."""
        style = self.style
        if isinstance(style, StyleByHeader):
            style = style.of(self.scope["headers"])
        media_type, body = style.body(failure.status, failure.http_status, self.request_id)
        headers = [(b"content-type", media_type.encode()), *failure.headers]
        await self.reply(failure.http_status, headers, body)

    def watch(self, call: Cancellable) -> None:
        """Cancel a call when the client leaves, until `unwatch`.

        Where the server does not tell of it, the watching begins after a short while only, since it costs a task and
        most calls end sooner.
        """
        if self._listen is not None:
            self._listen(partial(self._leave, call))
            return
        self._timer = self._loop.call_later(self._watch_after, self._start_watching, call)

    def feed(self, call: Call, messages: AsyncIterator[bytes]) -> None:
        """Write messages of the request body to a call until the body ends, then watch for the client leaving.

        A fault of the body cancels the call and is kept in `fault`. Writing waits for the backend to take a message,
        so that a slow backend slows the client down.
        """
        self._watcher = self._loop.create_task(self._feed(call, messages))
        if self._listen is not None:
            self._listen(partial(self._leave, call))

    def unwatch(self) -> None:
        """End the watching, and the feeding."""
        if self._listen is not None:
            self._listen(None)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    def _complete(self, headers: list[Header]) -> None:
        headers.append((b"x-request-id", self.request_id.encode()))
        extra = self.state.get("response_headers")
        if extra:
            headers.extend(extra)
        if self.origins is not None:
            self.origins.complete(headers, self.scope["headers"])

    def _start_watching(self, call: Cancellable) -> None:
        self._watcher = self._loop.create_task(self._cancel_when_gone(call))

    async def _cancel_when_gone(self, call: Cancellable) -> None:
        # A body that the rule does not take is drained here.
        while (await self._receive())["type"] not in _DISCONNECTS:
            pass
        self._leave(call)

    def _leave(self, call: Cancellable) -> None:
        self.gone = True
        call.cancel()

    async def _feed(self, call: Call, messages: AsyncIterator[bytes]) -> None:
        try:
            async for message in messages:
                await call.write(message)
            await call.done_writing()
        except ClientGoneError:
            self._leave(call)
            return
        except (RpcFailure, BindingError) as error:
            self.fault = error if isinstance(error, RpcFailure) else failure_of_binding(error)
            call.cancel()
            return
        except CallEndedError:
            pass  # the call ended before the body did; whoever reads its replies learns why
        except Exception:
            _LOG.exception("request %s met a fault in the transcoder", self.request_id)
            self.fault = failure(Code.INTERNAL, f"internal error; quote request {self.request_id}")
            call.cancel()
            return
        await self._cancel_when_gone(call)
