"""Streamed request bodies of JSON: what arrives becomes messages one by one, as fast as the backend takes them."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from google.protobuf.message import Message

from edge.transcoding.errors import failure_of_binding
from edge.transcoding.json_values import JsonValues
from edge.transcoding.raw_body import Body, body_too_large
from edge.transcoding.violations import BindingError, Violation

Bind = Callable[[Sequence[str], bytes, bytes], Message]


class JsonMessages:
    """Makes messages of a body of JSON values: a line each, one after another, or (without `lines`) an array.

    Captures and query parameters are bound into the first message; a body without values is one message of them, or
    no message where there are none.
    """

    def __init__(self, bind: Bind, *, message_limit: int, body_limit: int, lines: bool = False) -> None:
        self._bind = bind
        self._lines = lines
        self._message_limit = message_limit
        self._body_limit = body_limit

    async def of(
        self,
        body: Body,
        captures: Sequence[str],
        query: bytes,
        content_type: bytes | None,  # noqa: ARG002 - the same for every kind of body
    ) -> AsyncIterator[bytes]:
        """Yield the serialised messages; raises `RpcFailure`."""
        values = JsonValues(self._message_limit, lines=self._lines)
        count = received = 0
        more = True
        while more:
            data, more = await body.receive()
            received += len(data)
            if received > self._body_limit:
                raise await body_too_large(body, self._body_limit, more=more)
            for value in values.feed(data) if more else _last(values, data):
                count += 1
                yield self._message(count, captures, query, value)
                captures, query = (), b""
        if count == 0 and (captures or query):
            yield self._message(1, captures, query, b"")

    def _message(self, number: int, captures: Sequence[str], query: bytes, value: bytes) -> bytes:
        try:
            return self._bind(captures, query, value).SerializeToString()
        except BindingError as error:
            raise failure_of_binding(
                BindingError(Violation(_within(number, v.field), v.description) for v in error.violations)
            ) from None


def _last(values: JsonValues, data: bytes) -> Iterable[bytes]:
    yield from values.feed(data)
    yield from values.finish()


def _within(number: int, path: str) -> str:
    place = f"[{number - 1}]"
    return f"{place}.{path}" if path and not path.startswith("[") else place + path
