"""Replies of type google.api.HttpBody: their bytes go out untouched, under the content type they name."""

import asyncio
import re
from collections.abc import Callable, Sequence

import grpc
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from edge.transcoding.call import Caller, ReplyHead, Request
from edge.transcoding.errors import Code, RpcFailure, failure
from edge.transcoding.exchange import Exchange, ResponseCutError
from edge.transcoding.headers import CONDITION, Header
from edge.transcoding.options import MethodOptions
from edge.transcoding.outlet import Outlet
from edge.transcoding.profile import Profile
from edge.transcoding.ranges import ACCEPT_RANGES, range_headers, range_of_request, requested_offset
from edge.transcoding.representation import Representation, send_if_known
from edge.transcoding.streaming import StreamCall

# What gRPC can carry of an If-Range: printable ASCII.
_IF_RANGE = re.compile(rb"[\x20-\x7e]{1,200}\Z")
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
    """Answers with the bytes of a unary HttpBody, or the part of them that a Range asks for."""

    def __init__(
        self,
        caller: Caller,
        method: MethodDescriptor,
        path: Sequence[FieldDescriptor],
        options: MethodOptions,
        profile: Profile,
    ) -> None:
        self._caller = caller
        self._read = HttpBodyReader(method, path)
        self._status = options.success_code
        self._ranges = profile.ranges
        self._representation = Representation(etags=profile.etags, codings=profile.codings)

    async def respond(self, exchange: Exchange, request: Request) -> None:
        """See `call.Responder`."""
        reply, head = await self._caller.unary(exchange, request)
        content_type, data = self._read(reply)
        headers = head.headers
        headers.append(_content_type(content_type))
        status = self._status if head.status is None else head.status
        if self._ranges and _may_be_cut(exchange, status):
            part = range_of_request(exchange.head, headers, len(data))
            if part is not None:
                headers += range_headers(part, len(data))
                await exchange.reply(206, headers, data[part.first : part.last + 1])
                return
            headers.append(ACCEPT_RANGES)
        await self._representation.send(exchange, status, headers, data)


class HttpBodyStreamResponder:
    """Answers with the bytes of a stream of HttpBody, or a part of them; the first message names the content type.

    Where the backend tells the body's length, the response has a Content-Length, and Range is heeded: the backend is
    told where to begin, what it sends before the range all the same is passed over, and the call is cancelled behind
    it. Where it gives an ETag that If-None-Match names, the
    answer is 304. An error after the first byte, or another length than was told, cuts the connection, since only the
    backend knows what the bytes are.
    """

    def __init__(
        self,
        caller: Caller,
        method: MethodDescriptor,
        path: Sequence[FieldDescriptor],
        options: MethodOptions,
        profile: Profile,
        offset_name: str,
    ) -> None:
        self._caller = caller
        self._read = HttpBodyReader(method, path)
        self._status = options.success_code
        self._idle_timeout = options.idle_timeout
        self._ranges = profile.ranges
        self._offset_name = offset_name if profile.ranges else ""
        self._etags = profile.etags

    async def respond(self, exchange: Exchange, request: Request) -> None:
        """See `call.Responder`."""
        if self._offset_name and exchange.head.range is not None and _may_be_cut(exchange, self._status):
            self._ask_for_offset(exchange)
        call = StreamCall(self._caller, exchange, request, idle_timeout=self._idle_timeout)
        outlet = Outlet(exchange)
        try:
            await self._pump(exchange, call, outlet)
        except (grpc.aio.AioRpcError, asyncio.CancelledError) as error:
            failed = call.failure(error)
            if not exchange.started:
                raise failed from None
            await outlet.drain()
            raise ResponseCutError from failed
        except RpcFailure as error:
            if exchange.started:
                raise ResponseCutError from error
            raise
        finally:
            outlet.abandon()
            await call.close()

    async def _pump(self, exchange: Exchange, call: StreamCall, outlet: Outlet) -> None:
        skip, left = 0, None
        async for message in call.messages:
            call.pulse.felt()
            content_type, data = self._read(message)
            if not exchange.started:
                head = await call.head()
                if await self._is_known(exchange, head):
                    return
                skip, left = await self._start(exchange, head, content_type)
                if exchange.is_head:
                    left = 0
                    break
            if skip:
                data, skip = data[skip:], max(0, skip - len(data))
            if left is not None:
                data = data[:left]
                left -= len(data)
            if data:
                await outlet.put(data)
            if left == 0:
                break
        else:
            call.ended = True
        if not exchange.started:
            skip, left = await self._start(exchange, await call.head(), "")
        await outlet.drain()
        if left:
            raise ResponseCutError
        await exchange.end(b"", await call.trailers())

    def _ask_for_offset(self, exchange: Exchange) -> None:
        head = exchange.head
        offset = requested_offset(head)
        if not offset:
            return
        if head.if_range is not None:
            if not _IF_RANGE.match(head.if_range):
                return
            head.metadata.append((self._offset_name + CONDITION, head.if_range.decode("ascii")))
        head.metadata.append((self._offset_name, str(offset)))

    async def _is_known(self, exchange: Exchange, head: ReplyHead) -> bool:
        """Answer 304 where the client has what the backend's own tag names; the call is cancelled then."""
        if not self._etags or head.status not in (None, 200) or not _may_be_cut(exchange, self._status):
            return False
        tag = next((value for name, value in head.headers if name == b"etag"), None)
        return tag is not None and await send_if_known(exchange, head.headers, tag)

    async def _start(self, exchange: Exchange, head: ReplyHead, content_type: str) -> tuple[int, int | None]:
        """Begin the response; returns how many bytes to pass over, and how many to send, None for all."""
        status = self._status if head.status is None else head.status
        headers = [_content_type(content_type), *head.headers]
        length = head.body_length
        skip = 0
        sent_from = head.body_offset
        if length is not None:
            left = length
            if self._ranges and _may_be_cut(exchange, status):
                part = range_of_request(exchange.head, headers, length)
                if part is None:
                    headers.append(ACCEPT_RANGES)
                else:
                    status, skip, left = 206, part.first, part.last + 1 - part.first
                    headers += range_headers(part, length)
            length = left
            headers.append((b"content-length", b"%d" % left))
        if sent_from > skip:
            raise failure(
                Code.INTERNAL, f"{self._caller.name} sends its bytes from {sent_from} on, and {skip} was asked for"
            )
        await exchange.start(status, headers)
        return skip - sent_from, length


def _may_be_cut(exchange: Exchange, status: int) -> bool:
    # A backend that answers 206 has cut the body itself.
    return status == 200 and exchange.scope["method"] in ("GET", "HEAD")


def _content_type(value: str) -> Header:
    """Return the Content-Type that a backend gave if it is fit for a header, else that of plain bytes."""
    if value and value.isascii() and value.isprintable():
        return (b"content-type", value.encode())
    return _BINARY
