"""One route, compiled: reads the request, binds it, and hands it to what calls the method."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from google.protobuf.message import Message

from edge.transcoding.call import Responder
from edge.transcoding.coded_body import decoded
from edge.transcoding.deadline import requested_timeout
from edge.transcoding.errors import Code, ErrorStyle, RpcFailure, failure
from edge.transcoding.exchange import Exchange
from edge.transcoding.media import BodyFormat, MediaCache, body_format
from edge.transcoding.options import MethodOptions
from edge.transcoding.profile import Profile
from edge.transcoding.raw_body import Body
from edge.transcoding.routes import Route

T = TypeVar("T")

Bind = Callable[[Sequence[str], bytes, bytes, bytes | None], Message]
"""Makes a request message of path captures, raw query, body and content type."""

MessageSource = Callable[[Body, Sequence[str], bytes, bytes | None], AsyncIterator[bytes]]
"""Makes the messages of a streamed request of its body, path captures, raw query and content type."""

# Whatever the client goes on sending is not waited for.
_CLOSE = ((b"connection", b"close"),)


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A method that a route may call: what calls it, its options and its error style."""

    responder: Responder
    options: MethodOptions
    style: ErrorStyle


class BodyReader:
    """Reads whole request bodies within a route's bounds; coded ones where `codings` says so."""

    def __init__(self, limit: int, timeout: float, *, codings: bool) -> None:
        self._limit = limit
        self._timeout = timeout
        self._codings = codings

    async def read(self, exchange: Exchange) -> bytes:
        """Return the body; raises failures of HTTP status 413, 415 and 408, and `ClientGoneError`."""
        head = exchange.head
        body: Body = exchange
        if head.content_encoding is not None:
            body = decoded(exchange, head.content_encoding, codings=self._codings)
        if head.content_length is None:
            # HTTP/1 says by its headers whether there is a body; later versions may leave the length out.
            if head.transfer_encoding is None and exchange.scope["http_version"] in ("1.1", "1.0"):
                return b""
        elif head.content_length == b"0":
            return b""
        elif not head.content_length.isdigit() or int(head.content_length) > self._limit:
            # Who asks first is told before the body is sent.
            raise await self._too_large(body, drain=head.expect is None)
        try:
            async with asyncio.timeout(self._timeout):
                data, more = await body.receive()
                if more:
                    data = await self._rest(body, data)
        except TimeoutError:
            raise failure(
                Code.DEADLINE_EXCEEDED,
                f"the request body did not arrive within {self._timeout:g} seconds",
                http_status=408,
                headers=_CLOSE,
            ) from None
        if len(data) > self._limit:
            raise await self._too_large(body, drain=False)
        return data

    async def _rest(self, body: Body, first: bytes) -> bytes:
        data, more = bytearray(first), True
        while more:
            if len(data) > self._limit:
                raise await self._too_large(body, drain=True)
            piece, more = await body.receive()
            data += piece
        return bytes(data)

    async def _too_large(self, body: Body, *, drain: bool) -> RpcFailure:
        """Return the failure, after taking in what the client still sends where it is sending."""
        ended = await body.drain() if drain else False
        return failure(
            Code.INVALID_ARGUMENT,
            f"the request body is larger than this route's limit of {self._limit} bytes",
            http_status=413,
            headers=() if ended else _CLOSE,
        )


class Formats(Generic[T]):
    """Chooses by Content-Type; the first of the formats is that of a body without a type.

    An unknown type takes the first one too, unless types are `checked`; then it is refused.
    """

    def __init__(self, formats: Mapping[BodyFormat, T], *, checked: bool) -> None:
        self._formats = formats
        self._default = next(iter(formats.values()))
        self._checked = checked
        self._format = MediaCache(body_format)

    def choose(self, content_type: bytes | None) -> T:
        """Return what takes a body of this type; raises a failure of HTTP status 415."""
        if content_type is None:
            return self._default
        chosen = self._formats.get(self._format(content_type))
        if chosen is not None:
            return chosen
        if not self._checked:
            return self._default
        accepted = ", ".join(form.value for form in self._formats)
        raise failure(
            Code.INVALID_ARGUMENT, f"header Content-Type: this route takes {accepted}, in UTF-8", http_status=415
        )


class Endpoint(Protocol):
    """One compiled route."""

    @property
    def route(self) -> Route:
        """The route."""
        ...

    @property
    def style(self) -> ErrorStyle:
        """How its errors are written."""
        ...

    async def serve(self, exchange: Exchange, captures: Sequence[str]) -> None:
        """Answer one request; raises `RpcFailure`, `BindingError` and what `Exchange` raises."""
        ...


class MessageEndpoint:
    """Serves a method that takes one message.

    `formats` are the binders by body format, the first one for a body without a type. `alternative` is the bool field
    of the request that chooses a sibling, and the sibling.
    """

    def __init__(
        self,
        route: Route,
        target: Target,
        *,
        formats: Formats[Bind],
        profile: Profile,
        body_timeout: float,
        alternative: tuple[str, Target] | None = None,
    ) -> None:
        self.route = route
        self.style = target.style
        self._target = target
        self._alternative = alternative
        self._formats = formats
        self._drains_body = not route.body and not profile.reject_unexpected_body
        self._reader = BodyReader(route.options.max_body_bytes, body_timeout, codings=profile.codings)

    async def serve(self, exchange: Exchange, captures: Sequence[str]) -> None:
        """See `Endpoint`."""
        content_type = exchange.head.content_type
        bind = self._formats.choose(content_type)
        body = b"" if self._drains_body else await self._reader.read(exchange)
        message = bind(captures, exchange.scope["query_string"], body, content_type)
        target = self._target
        if self._alternative is not None and getattr(message, self._alternative[0]):
            target = self._alternative[1]
            exchange.style = target.style
        set_timeout(exchange, target.options)
        await target.responder.respond(exchange, message.SerializeToString())


class StreamEndpoint:
    """Serves a method that takes a stream of messages; each piece of the body goes on as soon as it is there."""

    def __init__(self, route: Route, target: Target, *, formats: Formats[MessageSource], codings: bool) -> None:
        self.route = route
        self.style = target.style
        self._target = target
        self._formats = formats
        self._codings = codings

    async def serve(self, exchange: Exchange, captures: Sequence[str]) -> None:
        """See `Endpoint`."""
        body = decoded(exchange, exchange.head.content_encoding, codings=self._codings)
        source = self._formats.choose(exchange.head.content_type)
        set_timeout(exchange, self._target.options)
        messages = source(body, captures, exchange.scope["query_string"], exchange.head.content_type)
        await self._target.responder.respond(exchange, messages)


def set_timeout(exchange: Exchange, options: MethodOptions) -> None:
    """Settle how long a request's call may take; raises INVALID_ARGUMENT for a malformed timeout header."""
    exchange.timeout = options.default_timeout
    head = exchange.head
    if head.grpc_timeout is not None or head.request_timeout is not None:
        asked = requested_timeout(head.grpc_timeout, head.request_timeout)
        if asked is not None:
            exchange.timeout = min(asked, options.max_timeout)
