"""Requests whose body goes as it is into a google.api.HttpBody: the request message, or a field of it."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol

from google.protobuf.message import Message

from edge.transcoding.errors import Code, RpcFailure, failure

BindMessage = Callable[[Sequence[str], bytes, None], Message]


class Body(Protocol):
    """Where the pieces of a request body come from."""

    async def receive(self) -> tuple[bytes, bool]:
        """Return the next piece and whether more follow."""
        ...

    async def drain(self) -> bool:
        """Take in and drop the rest within bounds; returns whether the body ended."""
        ...


class RawBinder:
    """Binds whole bodies; `field` is the HttpBody's name, empty where the request message is one."""

    def __init__(self, bind: BindMessage, field: str) -> None:
        self._bind = bind
        self._field = field

    def bind(self, captures: Sequence[str], query: bytes, body: bytes, content_type: bytes | None) -> Message:
        """Return the request message; raises `BindingError`."""
        message = self._bind(captures, query, None)
        holder: Any = getattr(message, self._field) if self._field else message
        holder.data = body
        if content_type is not None:
            holder.content_type = content_type.decode("latin-1")
        return message


class RawMessages:
    """Makes a stream of messages of a body, one of each piece as it arrives.

    The first message has the content type, the captures and the query parameters; an empty body is one message.
    """

    def __init__(self, bind: BindMessage, field: str, *, body_limit: int) -> None:
        self._first = RawBinder(bind, field)
        self._body_limit = body_limit

    async def of(
        self, body: Body, captures: Sequence[str], query: bytes, content_type: bytes | None
    ) -> AsyncIterator[bytes]:
        """Yield the serialised messages; raises `RpcFailure` and `BindingError`."""
        more, received = True, 0
        first = True
        while more:
            data, more = await body.receive()
            received += len(data)
            if received > self._body_limit:
                raise await body_too_large(body, self._body_limit, more=more)
            if data or first:
                yield self._first.bind(captures, query, data, content_type).SerializeToString()
            if first:
                captures, query, content_type, first = (), b"", None, False


async def body_too_large(body: Body, limit: int, *, more: bool) -> RpcFailure:
    """Return the failure of a streamed body beyond its limit, when the client has sent the rest or too much of it.

    `more` says whether anything is to come at all.
    """
    ended = not more or await body.drain()
    return failure(
        Code.INVALID_ARGUMENT,
        f"the request body is larger than this route's limit of {limit} bytes",
        http_status=413,
        headers=() if ended else ((b"connection", b"close"),),
    )
