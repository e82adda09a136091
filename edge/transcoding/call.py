"""Calls to the backend: bytes in and out, and the unary reply."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import grpc
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass

from edge.transcoding.codec import Codec, Encoder, JsonOptions
from edge.transcoding.errors import Code, RpcFailure, Status, failure, failure_of_call
from edge.transcoding.exchange import ClientGoneError, Exchange
from edge.transcoding.headers import Header, MetadataPair, ResponseHeaders, accepts_trailers
from edge.transcoding.media import NO_WISHES, JsonWishes, MediaCache, ReplyFormat, reply_format
from edge.transcoding.options import MethodOptions
from edge.transcoding.profile import Profile
from edge.transcoding.representation import Representation
from edge.transcoding.transport.channel import Call, Channel
from edge.transcoding.violations import EncodingError

_LOG = logging.getLogger(__name__)

_UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
_NO_BODY = frozenset((204, 205))
_JSON: Header = (b"content-type", b"application/json")
_PROTOBUF: Header = (b"content-type", b"application/x-protobuf")


Request = bytes | AsyncIterator[bytes]
"""A serialised request message, or the messages of a streamed request."""


class Responder(Protocol):
    """Calls one gRPC method and answers the request with what comes back."""

    async def respond(self, exchange: Exchange, request: Request) -> None:
        """Call and answer; raises `RpcFailure` before the response began."""
        ...


@dataclass(slots=True)
class ReplyHead:
    """Response headers, the status that the backend chose for this call, and what it tells of a streamed body.

    That is its length as a whole, and where in it the bytes begin that are sent.
    """

    headers: list[Header]
    status: int | None = None
    body_length: int | None = None
    body_offset: int = 0


class Slots:
    """Bounds how many streams run at once."""

    def __init__(self, limit: int) -> None:
        self._free = limit

    def take(self) -> None:
        """Take a place; raises UNAVAILABLE where none is free."""
        if self._free <= 0:
            raise failure(Code.UNAVAILABLE, "too many streams are open; try again", headers=((b"retry-after", b"1"),))
        self._free -= 1

    def give(self) -> None:
        """Give a place back."""
        self._free += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all methods of a transcoder share."""

    codec: Codec
    profile: Profile
    response_headers: ResponseHeaders
    body_offset: str
    heartbeat: float
    streams: Slots
    http_status: Callable[[Status], int | None]


class Caller:
    """Calls one method of a backend; what calls it is made once."""

    def __init__(self, method: MethodDescriptor, channel: Channel, around: Surroundings) -> None:
        self.name = method.full_name
        self.streams = around.streams
        self._headers = around.response_headers
        self._profile = around.profile
        self._http_status = around.http_status
        self._streams_request = method.client_streaming
        self._call = channel.method(
            f"/{method.containing_service.full_name}/{method.name}",
            client_streaming=method.client_streaming,
            server_streaming=method.server_streaming,
        )

    async def unary(self, exchange: Exchange, request: Request) -> tuple[bytes, ReplyHead]:
        """Return the reply's bytes and its head.

        Raises `RpcFailure` and `ClientGoneError`. The call is cancelled when the client leaves.
        """
        call, reply = await self._finished(exchange, request)
        head = await self.head_of(call)
        if accepts_trailers(exchange.head.te):
            head.headers += self._headers.of_trailers(await call.trailing_metadata(), asked=True)
        return reply, head

    async def unary_metadata(
        self, exchange: Exchange, request: Request
    ) -> tuple[bytes, Sequence[MetadataPair], Sequence[MetadataPair]]:
        """Return the reply's bytes, its initial and its trailing metadata; otherwise like `unary`."""
        call, reply = await self._finished(exchange, request)
        return reply, await call.initial_metadata(), await call.trailing_metadata()

    async def _finished(self, exchange: Exchange, request: Request) -> tuple[Call, bytes]:
        call = self.start(exchange, request)
        try:
            return call, await call
        except grpc.aio.AioRpcError as error:
            raise self.failure(error, exchange) from None
        except asyncio.CancelledError as error:
            raise self.cause_of_cancellation(exchange) or error from None
        finally:
            exchange.unwatch()

    def start(self, exchange: Exchange, request: Request) -> Call:
        """Start the call and return it; its deadline and metadata are the exchange's, which watches it from now on."""
        if self._streams_request:
            assert not isinstance(request, bytes)
            call = self._call(timeout=exchange.timeout, metadata=exchange.head.metadata)
            exchange.feed(call, request)
        else:
            assert isinstance(request, bytes)
            call = self._call(request, timeout=exchange.timeout, metadata=exchange.head.metadata)
            exchange.watch(call)
        return call

    @staticmethod
    def cause_of_cancellation(exchange: Exchange) -> ClientGoneError | RpcFailure | None:
        """Return why the exchange cancelled its call; None if it was not the exchange."""
        return ClientGoneError() if exchange.gone else exchange.fault

    async def head_of(self, call: Call) -> ReplyHead:
        """Return what a call's initial metadata say."""
        metadata: Sequence[MetadataPair] = await call.initial_metadata()
        if not metadata:
            return ReplyHead([])
        headers = self._headers
        return ReplyHead(
            headers.of_metadata(metadata),
            headers.status_code(metadata),
            headers.body_length(metadata),
            headers.body_offset(metadata),
        )

    async def trailers_of(self, call: Call) -> list[Header]:
        """Return the trailers of a call that has ended."""
        return self._headers.of_end(await call.trailing_metadata() or ())

    def failure(self, error: grpc.aio.AioRpcError, exchange: Exchange) -> RpcFailure:
        """Return what a failed call tells the client; what it must not be told goes to the log."""
        profile = self._profile
        found = failure_of_call(error, hide_unknown=profile.hide_unknown_errors, retry_after=profile.retry_after)
        if found.status.code in (Code.UNKNOWN, Code.UNAVAILABLE, Code.INTERNAL, Code.DATA_LOSS):
            # The backend's own message may quote its input, so only what the transport says is logged with it.
            shown = error.details() if found.status.message != error.details() and error.code() is _UNAVAILABLE else ""
            _LOG.warning("%s failed: %s %s (request %s)", self.name, error.code().name, shown, exchange.request_id)
        metadata = [*(error.initial_metadata() or ()), *(error.trailing_metadata() or ())]
        returned = self._headers.of_trailers(metadata, asked=False)
        named = {name for name, _ in returned}
        headers = [*(header for header in found.headers if header[0] not in named), *returned]
        return RpcFailure(found.status, http_status=self._http_status(found.status), headers=headers)


class ReplyEncoder:
    """Writes replies of one type as JSON: the route's form at once, what a request wishes compiled when first asked."""

    def __init__(
        self, method: MethodDescriptor, path: Sequence[FieldDescriptor], codec: Codec, options: JsonOptions
    ) -> None:
        self._method = method
        self._path = tuple(path)
        self._codec = codec
        self._options = options
        self._parse: Callable[[bytes], Message] = GetMessageClass(method.output_type).FromString
        self._encode = self._compile(options)
        # At most one for each of the 27 combinations of wishes.
        self._wished: dict[JsonWishes, Encoder] = {}

    def __call__(self, reply: bytes, wishes: JsonWishes = NO_WISHES) -> bytes:
        """Return a serialised reply as JSON; raises INTERNAL where it cannot be, which is the backend's fault."""
        encode = self._encode if wishes is NO_WISHES else self._for(wishes)
        try:
            return encode(self._parse(reply))
        except (DecodeError, EncodingError) as error:
            reason = str(error) if isinstance(error, EncodingError) else "it does not parse"
            raise failure(Code.INTERNAL, f"the reply of {self._method.full_name} has no JSON form: {reason}") from error

    def _for(self, wishes: JsonWishes) -> Encoder:
        encode = self._wished.get(wishes)
        if encode is None:
            encode = self._wished[wishes] = self._compile(_wished_options(self._options, wishes))
        return encode

    def _compile(self, options: JsonOptions) -> Encoder:
        if self._path:
            return self._codec.field_encoder(self._path, options)
        return self._codec.encoder(self._method.output_type, options)


class UnaryResponder:
    """Answers with the reply of a unary method as JSON, or as protobuf where the client asks for it."""

    def __init__(
        self,
        caller: Caller,
        encode: ReplyEncoder,
        options: MethodOptions,
        profile: Profile,
        *,
        offers: Sequence[ReplyFormat] = tuple(ReplyFormat),
    ) -> None:
        self._caller = caller
        self._encode = encode
        self._status = options.success_code
        self._check_accept = profile.check_media_types
        self._representation = Representation(etags=profile.etags, codings=profile.codings)
        self._offers = offers
        self._format = MediaCache(partial(reply_format, offers=offers))

    async def respond(self, exchange: Exchange, request: Request) -> None:
        """See `Responder`."""
        wishes = NO_WISHES
        form = ReplyFormat.JSON
        accept = exchange.head.accept
        if accept is not None and self._check_accept:
            chosen = self._format(accept)
            if chosen is None:
                raise not_acceptable([offer.value for offer in self._offers])
            form, wishes = chosen
        reply, head = await self._caller.unary(exchange, request)
        status = self._status if head.status is None else head.status
        if status in _NO_BODY:
            await exchange.reply(status, head.headers, b"")
        elif form is ReplyFormat.JSON:
            head.headers.append(_JSON)
            await self._representation.send(exchange, status, head.headers, self._encode(reply, wishes))
        else:
            head.headers.append(_PROTOBUF)
            await self._representation.send(exchange, status, head.headers, reply)


def not_acceptable(offers: Sequence[str]) -> RpcFailure:
    """Return the failure of an Accept header that nothing satisfies."""
    return failure(
        Code.INVALID_ARGUMENT, f"header Accept: this route answers with {' or '.join(offers)}", http_status=406
    )


def _wished_options(options: JsonOptions, wishes: JsonWishes) -> JsonOptions:
    changes: Mapping[str, bool | None] = {
        "emit_defaults": wishes.emit_defaults,
        "enum_numbers": wishes.enum_numbers,
        "proto_names": wishes.proto_names,
    }
    return replace(options, **{name: value for name, value in changes.items() if value is not None})
