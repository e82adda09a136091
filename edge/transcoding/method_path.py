"""gRPC-Web and Connect unary calls, on a method's own path: browsers need no other proxy.

Rules: gRPC's doc/PROTOCOL-WEB.md, and the Connect protocol's specification of unary calls.
"""

import asyncio
import base64
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import orjson
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from edge.transcoding.call import Caller, ReplyEncoder
from edge.transcoding.codec import Codec, Decoder, JsonOptions
from edge.transcoding.coded_body import ACCEPTED, is_known
from edge.transcoding.deadline import requested_timeout
from edge.transcoding.endpoint import BodyReader
from edge.transcoding.errors import Code, RpcFailure, Status, failure, failure_of_binding
from edge.transcoding.exchange import Exchange
from edge.transcoding.headers import Header, MetadataPair, RequestHeaders, ResponseHeaders
from edge.transcoding.options import Limits, MethodOptions
from edge.transcoding.routes import Route
from edge.transcoding.streaming import StreamCall
from edge.transcoding.violations import BindingError, Violation
from edge.transcoding.web_frames import frame, message_of, trailer_frame, unbase64

_CONNECT_JSON, _CONNECT_PROTO = b"application/json", b"application/proto"
_WEB, _WEB_TEXT = b"application/grpc-web", b"application/grpc-web-text"


class ConnectStyle:
    """Connect's error body: `{"code": "not_found", "message", "details": [{"type", "value"}]}`."""

    event = "error"

    def body(self, status: Status, http_status: int, request_id: str) -> tuple[str, bytes]:  # noqa: ARG002 - the protocol's
        """Return the error."""
        return "application/json", orjson.dumps(self._value(status))

    def record(self, status: Status, http_status: int, request_id: str) -> bytes:  # noqa: ARG002 - the protocol's
        """Return the error under the name `error`."""
        return orjson.dumps({"error": self._value(status)})

    @staticmethod
    def _value(status: Status) -> dict[str, Any]:
        # Connect spells one code in the American way.
        code = "canceled" if status.code == Code.CANCELLED else status.name.lower()
        value: dict[str, Any] = {"code": code, "message": status.message}
        if status.details:
            value["details"] = [_connect_detail(detail) for detail in status.details]
        return value


class MethodPathEndpoint:
    """Serves `POST /package.Service/Method`; streamed requests are for other routes, which browsers cannot send."""

    def __init__(
        self,
        route: Route,
        caller: Caller,
        encode: ReplyEncoder,
        codec: Codec,
        limits: Limits,
        request_headers: RequestHeaders,
        response_headers: ResponseHeaders,
    ) -> None:
        self.route = route
        self.style = ConnectStyle()
        self._caller = caller
        self._encode = encode
        self._options: MethodOptions = route.options
        self._reader = BodyReader(route.options.max_body_bytes, limits.body_timeout, codings=True)
        self._request_headers = request_headers
        self._response_headers = response_headers
        input_ = route.method.input_type
        self._make: Callable[[], Message] = GetMessageClass(input_)
        self._name = input_.full_name
        self._decode: Decoder = codec.decoder(input_, JsonOptions(ignore_unknown=True))

    async def serve(self, exchange: Exchange, captures: Sequence[str]) -> None:  # noqa: ARG002 - the path has none
        """See `Endpoint`."""
        head = exchange.head
        content_type = (head.content_type or b"").partition(b";")[0].strip().lower()
        self._request_headers.add_plain(exchange.scope["headers"], head.metadata)
        if content_type.startswith(_WEB):
            await self._serve_web(exchange, content_type, text=content_type.startswith(_WEB_TEXT))
        elif content_type in (_CONNECT_JSON, _CONNECT_PROTO) and not self.route.method.server_streaming:
            await self._serve_connect(exchange, content_type)
        else:
            raise failure(
                Code.INVALID_ARGUMENT,
                "header Content-Type: this path takes application/grpc-web, application/grpc-web-text and, for unary "
                "methods, Connect's application/json and application/proto",
                http_status=415,
            )

    async def _serve_connect(self, exchange: Exchange, content_type: bytes) -> None:
        coding = exchange.head.content_encoding
        if coding is not None and not is_known(coding):
            # Elsewhere it is 415; Connect has a code for it.
            raise failure(
                Code.UNIMPLEMENTED,
                f"header Content-Encoding: one of {ACCEPTED.decode()}, or none at all, is taken",
                headers=((b"accept-encoding", ACCEPTED),),
            )
        body = await self._reader.read(exchange)
        message = self._make()
        if content_type == _CONNECT_JSON:
            self._decode(body, message)
            request = message.SerializeToString()
        else:
            request = self._checked(body)
        exchange.timeout = self._connect_timeout(exchange)
        reply, initial, trailing = await self._caller.unary_metadata(exchange, request)
        headers: list[Header] = [(b"content-type", content_type), *self._response_headers.plain(initial)]
        headers += [(b"trailer-" + name, value) for name, value in self._response_headers.plain(trailing)]
        await exchange.reply(200, headers, self._encode(reply) if content_type == _CONNECT_JSON else reply)

    async def _serve_web(self, exchange: Exchange, content_type: bytes, *, text: bool) -> None:
        """Answer in gRPC-Web, errors included: their HTTP status is 200, as a gRPC-Web client expects."""
        code: Callable[[bytes], bytes] = base64.b64encode if text else bytes
        try:
            body = await self._reader.read(exchange)
            framed = unbase64(body) if text else body
            limit = self._options.max_body_bytes
            request = self._checked(await message_of(framed, exchange.scope["headers"], limit))
            exchange.timeout = self._timeout(exchange)
            await self._stream_web(exchange, content_type, request, code)
        except BindingError as error:
            failed = failure_of_binding(error)
        except RpcFailure as error:
            failed = error
        else:
            return
        if exchange.started:
            await exchange.end(code(trailer_frame(failed.status)))
        else:
            headers: list[Header] = [(b"content-type", content_type), *failed.headers]
            await exchange.reply(200, headers, code(trailer_frame(failed.status)))

    async def _stream_web(
        self, exchange: Exchange, content_type: bytes, request: bytes, code: Callable[[bytes], bytes]
    ) -> None:
        if not self.route.method.server_streaming:
            reply, initial, trailing = await self._caller.unary_metadata(exchange, request)
            headers = [(b"content-type", content_type), *self._response_headers.plain(initial)]
            end = trailer_frame(None, self._response_headers.plain(trailing))
            await exchange.reply(200, headers, code(frame(reply)) + code(end))
            return
        call = StreamCall(self._caller, exchange, request, idle_timeout=self._options.idle_timeout)
        try:
            async for message in call.messages:
                call.pulse.felt()
                if not exchange.started:
                    await self._start_web(exchange, content_type, call)
                await exchange.write(code(frame(message)))
            if not exchange.started:
                await self._start_web(exchange, content_type, call)
            trailing = await call.messages.trailing_metadata()
            await exchange.end(code(trailer_frame(None, self._response_headers.plain(trailing))))
        except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
            raise call.failure(error) from None
        finally:
            await call.close()

    async def _start_web(self, exchange: Exchange, content_type: bytes, call: StreamCall) -> None:
        initial: Sequence[MetadataPair] = await call.messages.initial_metadata()
        await exchange.start(200, [(b"content-type", content_type), *self._response_headers.plain(initial)])

    def _checked(self, request: bytes) -> bytes:
        """Return a serialised message that is known to be one; raises `BindingError`."""
        try:
            self._make().ParseFromString(request)
        except DecodeError:
            raise BindingError([Violation("", f"the body is no {self._name} in protobuf's binary form")]) from None
        return request

    def _timeout(self, exchange: Exchange) -> float:
        asked = requested_timeout(exchange.head.grpc_timeout, exchange.head.request_timeout)
        return self._options.default_timeout if asked is None else min(asked, self._options.max_timeout)

    def _connect_timeout(self, exchange: Exchange) -> float:
        given = next((value for name, value in exchange.scope["headers"] if name == b"connect-timeout-ms"), None)
        if given is None:
            return self._timeout(exchange)
        if not (given.isdigit() and len(given) <= 10 and int(given)):
            raise failure(
                Code.INVALID_ARGUMENT, "header Connect-Timeout-Ms: 1 to 10 digits are expected, and more than 0"
            )
        return min(int(given) / 1000, self._options.max_timeout)


def _connect_detail(detail: AnyMessage) -> dict[str, str]:
    return {"type": detail.TypeName(), "value": base64.b64encode(detail.value).decode().rstrip("=")}
