"""WebSocket (RFC 6455) for streaming methods: one JSON message a frame, the status in the close code.

A client ends its stream of messages by an empty frame, since closing the socket would end the replies as well.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from starlette.types import Receive, Scope, Send

from edge.transcoding.call import Caller, ReplyEncoder, Request
from edge.transcoding.endpoint import Bind, set_timeout
from edge.transcoding.errors import Code, ErrorStyle, RpcFailure, failure, failure_of_binding
from edge.transcoding.exchange import ClientGoneError, Exchange
from edge.transcoding.httpbody import HttpBodyReader
from edge.transcoding.options import MethodOptions
from edge.transcoding.paths import PathError
from edge.transcoding.routes import Route
from edge.transcoding.streaming import StreamCall
from edge.transcoding.violations import BindingError

_LOG = logging.getLogger(__name__)

NORMAL_CLOSE = 1000
TOO_BIG_CLOSE = 1009
STATUS_CLOSE = 4000
"""A status other than OK closes with this plus its code, in the range that RFC 6455 leaves to applications."""

CHOSEN_SUBPROTOCOL = "subprotocol"
"""Key of the state under which an authorizer says which of the offered subprotocols is accepted."""

_REASON_BYTES = 123


class SocketExchange(Exchange):
    """A WebSocket in the place of a request: `receive` gives a frame, `write` sends one."""

    __slots__ = ("accepted",)

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, style: ErrorStyle, watch_after: float) -> None:
        super().__init__(scope, receive, send, style=style, watch_after=watch_after)
        self.accepted = False

    async def accept(self) -> None:
        """Complete the handshake."""
        self.accepted = self.started = True
        headers = [(b"x-request-id", self.request_id.encode())]
        # A browser that offered some goes on only when one of them is chosen.
        chosen = self.state.get(CHOSEN_SUBPROTOCOL)
        await self._send({"type": "websocket.accept", "headers": headers, "subprotocol": chosen})

    async def receive(self) -> tuple[bytes, bool]:
        """Return the next frame, and True since more may follow; raises `ClientGoneError`."""
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            raise ClientGoneError
        text = message.get("text")
        return (message.get("bytes") or b"" if text is None else text.encode()), True

    async def write(self, data: bytes) -> None:
        """Send a text frame; raises `ClientGoneError`."""
        await self._frame({"type": "websocket.send", "text": data.decode()})

    async def write_binary(self, data: bytes) -> None:
        """Send a binary frame; raises `ClientGoneError`."""
        await self._frame({"type": "websocket.send", "bytes": data})

    async def close(self, code: int, reason: str = "") -> None:
        """Close the socket; the reason is cut to what a close frame holds."""
        cut = reason.encode()[:_REASON_BYTES].decode(errors="ignore")
        await self._frame({"type": "websocket.close", "code": code, "reason": cut})

    async def fail(self, failed: RpcFailure) -> None:
        """Answer the handshake with an error, or close the socket with the status."""
        if self.accepted:
            too_big = failed.http_status == 413
            await self.close(TOO_BIG_CLOSE if too_big else STATUS_CLOSE + failed.status.code, failed.status.message)
            return
        if "websocket.http.response" not in self.scope.get("extensions", {}):
            await self._frame({"type": "websocket.close", "code": STATUS_CLOSE + failed.status.code})
            return
        media_type, body = self.style.body(failed.status, failed.http_status, self.request_id)
        headers = [
            (b"content-type", media_type.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", self.request_id.encode()),
            *failed.headers,
        ]
        await self._frame({"type": "websocket.http.response.start", "status": failed.http_status, "headers": headers})
        await self._frame({"type": "websocket.http.response.body", "body": body})

    async def _frame(self, message: dict[str, Any]) -> None:
        try:
            await self._send(message)
        except OSError:
            # The ASGI specification has send raise OSError once the client is gone.
            raise ClientGoneError from None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SocketEndpoint:
    """A streaming method as WebSockets see it.

    `encode` writes replies as text frames; `read_raw` takes its place where replies are google.api.HttpBody, which go
    as binary frames. `takes_frames` says whether the request's message, or messages, come by frames.
    """

    route: Route
    style: ErrorStyle
    caller: Caller
    bind: Bind
    encode: ReplyEncoder
    read_raw: HttpBodyReader | None
    takes_frames: bool

    async def serve(self, exchange: SocketExchange, captures: Sequence[str]) -> None:
        """Accept the socket and serve it until either side ends; raises as `Endpoint.serve` does."""
        method, options = self.route.method, self.route.options
        set_timeout(exchange, options)
        await exchange.accept()
        query = exchange.scope["query_string"]
        if method.client_streaming:
            request: Request = self._messages(exchange, captures, query, options)
        else:
            frame = await _frame(exchange, options, 1) if self.takes_frames else b""
            request = self.bind(captures, query, frame, None).SerializeToString()
        if method.server_streaming:
            await self._stream(exchange, request, options)
        else:
            reply, _ = await self.caller.unary(exchange, request)
            await self._reply(exchange, reply)
        await exchange.close(NORMAL_CLOSE)

    async def _stream(self, exchange: SocketExchange, request: Request, options: MethodOptions) -> None:
        call = StreamCall(self.caller, exchange, request, idle_timeout=options.idle_timeout)
        try:
            async for message in call.messages:
                call.pulse.felt()
                await self._reply(exchange, message)
        except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
            raise call.failure(error) from None
        finally:
            await call.close()

    async def _reply(self, exchange: SocketExchange, message: bytes) -> None:
        if self.read_raw is None:
            await exchange.write(self.encode(message))
        else:
            await exchange.write_binary(self.read_raw(message)[1])

    async def _messages(
        self, exchange: SocketExchange, captures: Sequence[str], query: bytes, options: MethodOptions
    ) -> AsyncIterator[bytes]:
        count, received = 1, 0
        if not self.takes_frames:
            yield self.bind(captures, query, b"", None).SerializeToString()
            return
        while frame := await _frame(exchange, options, count):
            received += len(frame)
            if received > options.max_stream_bytes:
                raise failure(
                    Code.INVALID_ARGUMENT,
                    f"the messages are larger than this route's limit of {options.max_stream_bytes} bytes together",
                    http_status=413,
                )
            try:
                message = self.bind(captures, query, frame, None)
            except BindingError as error:
                failed = failure_of_binding(error)
                raise failure(failed.status.code, f"message {count}: {failed.status.message}") from None
            captures, query = (), b""
            count += 1
            yield message.SerializeToString()


async def serve_socket(exchange: SocketExchange, serving: Awaitable[None]) -> None:
    """Await what serves a socket, and tell the client of whatever ends it early."""
    try:
        await serving
    except ClientGoneError:
        return  # nobody is left to hear
    except PathError as error:
        failed = failure(Code.INVALID_ARGUMENT, str(error))
    except RpcFailure as error:
        failed = error
    except BindingError as error:
        failed = failure_of_binding(error)
    except Exception:
        _LOG.exception("request %s met a fault in the transcoder", exchange.request_id)
        failed = failure(Code.INTERNAL, f"internal error; quote request {exchange.request_id}")
    else:
        return
    try:
        await exchange.fail(failed)
    except ClientGoneError:
        return


async def _frame(exchange: SocketExchange, options: MethodOptions, number: int) -> bytes:
    frame, _ = await exchange.receive()
    if len(frame) > options.max_message_bytes:
        raise failure(
            Code.INVALID_ARGUMENT,
            f"message {number} is larger than this route's limit of {options.max_message_bytes} bytes",
            http_status=413,
        )
    return frame
