"""Replies of type google.api.HttpBody: their bytes go out untouched, under the content type they name."""

import asyncio
from collections.abc import Callable, Sequence

import grpc
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from edge.transcoding.call import Caller, Request
from edge.transcoding.errors import Code, RpcFailure, failure
from edge.transcoding.exchange import Exchange, ResponseCutError
from edge.transcoding.headers import Header
from edge.transcoding.options import MethodOptions
from edge.transcoding.streaming import StreamCall

_BINARY: Header = (b"content-type", b"application/octet-stream")


class HttpBodyReader:
    """Finds the HttpBody in a serialised reply: the reply itself, or the field at the end of a path."""

    def __init__(self, method: MethodDescriptor, path: Sequence[FieldDescriptor]) -> None:
        self._name = method.full_name
        self._fields = [field.name for field in path]
        # HttpBody itself is read by the generated class, whatever pool the contract is from: its fields are fixed.
        self._parse: Callable[[bytes], Message] = (
            GetMessageClass(method.output_type).FromString if path else HttpBody.FromString
        )

    def __call__(self, reply: bytes) -> tuple[str, bytes]:
        """Return content type and bytes; raises INTERNAL where the reply does not parse."""
        try:
            body: object = self._parse(reply)
        except DecodeError as error:
            raise failure(Code.INTERNAL, f"the reply of {self._name} does not parse") from error
        for name in self._fields:
            body = getattr(body, name)
        return body.content_type, body.data  # type: ignore[attr-defined]  # the path's end is an HttpBody


class HttpBodyResponder:
    """Answers with the bytes of a unary HttpBody."""

    def __init__(
        self, caller: Caller, method: MethodDescriptor, path: Sequence[FieldDescriptor], options: MethodOptions
    ) -> None:
        self._caller = caller
        self._read = HttpBodyReader(method, path)
        self._status = options.success_code

    async def respond(self, exchange: Exchange, request: Request) -> None:
        """See `call.Responder`."""
        reply, headers, status = await self._caller.unary(exchange, request)
        content_type, data = self._read(reply)
        headers.append(_content_type(content_type))
        await exchange.reply(self._status if status is None else status, headers, data)


class HttpBodyStreamResponder:
    """Answers with the bytes of a stream of HttpBody; the first one names the content type.

    An error after the first byte cuts the connection, since only the backend knows what the bytes are.
    """

    def __init__(
        self, caller: Caller, method: MethodDescriptor, path: Sequence[FieldDescriptor], options: MethodOptions
    ) -> None:
        self._caller = caller
        self._read = HttpBodyReader(method, path)
        self._status = options.success_code
        self._idle_timeout = options.idle_timeout

    async def respond(self, exchange: Exchange, request: Request) -> None:
        """See `call.Responder`."""
        call = StreamCall(self._caller, exchange, request, idle_timeout=self._idle_timeout)
        try:
            await self._pump(exchange, call)
        except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
            failed = call.failure(error)
            if not exchange.started:
                raise failed from None
            raise ResponseCutError from failed
        except RpcFailure as error:
            if exchange.started:
                raise ResponseCutError from error
            raise
        finally:
            await call.close()

    async def _pump(self, exchange: Exchange, call: StreamCall) -> None:
        async for message in call.messages:
            call.pulse.felt()
            content_type, data = self._read(message)
            if not exchange.started:
                await self._start(exchange, call, content_type)
                if exchange.is_head:
                    break
            if data:
                await exchange.write(data)
        if not exchange.started:
            await self._start(exchange, call, "")
        await exchange.end()

    async def _start(self, exchange: Exchange, call: StreamCall, content_type: str) -> None:
        headers, status = await call.head()
        await exchange.start(self._status if status is None else status, [_content_type(content_type), *headers])


def _content_type(value: str) -> Header:
    """Return the Content-Type that a backend gave if it is fit for a header, else that of plain bytes."""
    if value and value.isascii() and value.isprintable():
        return (b"content-type", value.encode())
    return _BINARY
