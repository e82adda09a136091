"""HTTP/1.1 with nothing made nicer: the target, the headers and the body go out as they are."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

READ_BYTES = 1 << 16
TIMEOUT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; `complete` is False where the connection was closed before its end. Header names are lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    complete: bool
    trailers: tuple[tuple[str, str], ...] = ()

    def header(self, name: str) -> str | None:
        """Return a header's value, several joined by commas; None where there is none."""
        return _value(self.headers, name)

    def trailer(self, name: str) -> str | None:
        """Return a trailer's value, like `header`."""
        return _value(self.trailers, name)


async def send(
    url: str, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes = b""
) -> Response:
    """Send one request on a connection of its own, and return the answer.

    Content-Length is added where there is a body and the headers say nothing of its length. A connection that is
    closed without an answer raises ConnectionError.
    """
    address = urlsplit(url)
    assert address.hostname is not None
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            connection = h11.Connection(h11.CLIENT)
            given = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
            names = {name.lower() for name, _ in given}
            if b"host" not in names:
                given.insert(0, (b"host", address.netloc.encode()))
            if body and not names & {b"content-length", b"transfer-encoding"}:
                given.append((b"content-length", str(len(body)).encode()))
            request = h11.Request(method=method.encode(), target=target.encode("latin-1"), headers=given)
            sent = connection.send(request) or b""
            if body:
                sent += connection.send(h11.Data(data=body)) or b""
            writer.write(sent + (connection.send(h11.EndOfMessage()) or b""))
            await writer.drain()
            return await _response(connection, reader)
    finally:
        writer.close()


async def _response(connection: h11.Connection, reader: asyncio.StreamReader) -> Response:
    head: h11.Response | None = None
    body = bytearray()
    complete = False
    trailers: tuple[tuple[str, str], ...] = ()
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            break
        if event is h11.NEED_DATA:
            try:
                connection.receive_data(await reader.read(READ_BYTES))
            except ConnectionResetError:
                break
        elif isinstance(event, h11.Response):
            head = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            complete = True
            trailers = _text(event.headers)
            break
        elif isinstance(event, h11.ConnectionClosed):
            break
    if head is None:
        raise ConnectionError("the connection was closed without an answer")
    return Response(head.status_code, _text(head.headers), bytes(body), complete, trailers)


def _text(headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    return tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers)


def _value(headers: Iterable[tuple[str, str]], name: str) -> str | None:
    values = [value for key, value in headers if key == name.lower()]
    return ", ".join(values) if values else None
