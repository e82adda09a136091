"""Gaia's own gRPC server with the echo server's methods, and a client that sends it whatever a test has it send."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import hpack

from shared.http2 import frames
from shared.http2.messages import prefix
from shared.http2.server.server import Http2Server
from tests.support.echo_server import SERVICE, EchoServer
from tests.support.raw_http2 import headers

SECONDS = 10


class OwnEchoServer(EchoServer):
    """The methods, with further ones of a test, served over HTTP/2 of Gaia's own."""

    def __init__(self, further: Mapping[str, Any], interceptors: Sequence[grpc.aio.ServerInterceptor], **limits: int):
        super().__init__()
        chosen = {
            "max_concurrent_calls": 2000,
            "max_message_bytes": 4 << 20,
            "max_metadata_bytes": 32 << 10,
            "max_connections": 1000,
            "max_held_bytes": 512 << 20,
            **limits,
        }
        self.server = Http2Server(interceptors, **chosen)
        self.server.add_registered_method_handlers(SERVICE, {**self.handlers(), **further})

    async def start(self, address: str = "127.0.0.1:0", credentials: Any = None, **_options: int) -> None:
        port = await self.server.start(address, credentials)
        self.address = address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"

    async def stop(self, grace: float | None = None) -> None:
        await self.server.stop(grace)


@asynccontextmanager
async def running_own_server(
    address: str = "127.0.0.1:0",
    further: Mapping[str, Any] = {},
    interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    tls: Any = None,
    **limits: int,
) -> AsyncIterator[OwnEchoServer]:
    """Run a server on a free port."""
    server = OwnEchoServer(further, interceptors, **limits)
    await server.start(address, tls)
    try:
        yield server
    finally:
        await server.stop()


REQUEST = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", f"/{SERVICE}/Say"),
    (":authority", "test"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
)


def request(*more: tuple[str, str], **pseudo: str) -> tuple[tuple[str, str], ...]:
    """Return the headers of a request to `Say`, with others added and pseudo-headers replaced: `path="/x"`."""
    replaced = {f":{name}": value for name, value in pseudo.items()}
    return (*((name, replaced.get(name, value)) for name, value in REQUEST), *more)


def to(method: str, *more: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    """Return the headers of a request to a method."""
    return request(*more, path=f"/{SERVICE}/{method}")


def message(payload: bytes) -> bytes:
    """Return a message as it travels."""
    return prefix(payload) + payload


class RawClient:
    """A connection to a server; `windows` are what it let this client send, by stream, beyond what all begin with."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = frames.FrameReader(1 << 20)
        self._got: list[frames.Frame] = []
        self._decoder = hpack.Decoder()
        self.windows: dict[int, int] = {}

    def send(self, *data: bytes) -> None:
        """Send bytes."""
        self._writer.write(b"".join(data))

    def greet(self, settings: bytes = frames.settings({})) -> None:
        """Send the preface and settings."""
        self.send(frames.PREFACE, settings)

    def ask(self, stream: int, fields: Sequence[tuple[str, str]] = REQUEST, payload: bytes = b"hi") -> None:
        """Send a unary request."""
        body = message(payload)
        self.send(headers(stream, tuple(fields)), frames.frame(frames.DATA, frames.END_STREAM, stream, body))

    async def next(self, *kinds: int, stream: int | None = None) -> frames.Frame:
        """Return the next frame of some types, of a stream if it is told; others are passed over. Raises EOFError."""
        async with asyncio.timeout(SECONDS):
            while True:
                while self._got:
                    frame = self._got.pop(0)
                    if frame[0] == frames.WINDOW_UPDATE:
                        grown = self.windows.get(frame[2], 0) + int.from_bytes(frame[3], "big")
                        self.windows[frame[2]] = grown
                    if frame[0] in kinds and stream in (None, frame[2]):
                        return frame
                data = await self._reader.read(65536)
                if not data:
                    raise EOFError
                self._got.extend(self._frames.feed(data))

    async def next_fields(self, stream: int) -> dict[str, str]:
        """Return the next header block of a stream."""
        block = (await self.next(frames.HEADERS, stream=stream))[3]
        return {str(name): str(value) for name, value in self._decoder.decode(block)}

    async def answer(self, stream: int) -> tuple[bytes, dict[str, str]]:
        """Return all data of a stream, and its last header block."""
        data = b""
        while True:
            kind, flags, _, payload = await self.next(frames.HEADERS, frames.DATA, stream=stream)
            if kind == frames.DATA:
                data += payload
                continue
            fields = {str(name): str(value) for name, value in self._decoder.decode(payload)}
            if flags & frames.END_STREAM:
                return data, fields

    async def farewell(self) -> tuple[int, int]:
        """Return the last stream and the code of the server's GOAWAY."""
        last, code, _ = frames.read_goaway((await self.next(frames.GOAWAY))[3])
        return last, code

    async def settle(self) -> None:
        """Wait until the server has taken in what was sent."""
        self.send(frames.frame(frames.PING, 0, 0, b"settled?"))
        while (await self.next(frames.PING))[3] != b"settled?":
            pass

    async def until_closed(self) -> None:
        """Read until the server has closed the connection."""
        try:
            await self.next(-1)
        except (EOFError, ConnectionError):
            return

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


@asynccontextmanager
async def raw_client(server: EchoServer, *, greets: bool = True) -> AsyncIterator[RawClient]:
    """Connect to a server, and greet it."""
    host, _, port = server.address.rpartition(":")
    client = RawClient(*await asyncio.open_connection(host, int(port)))
    if greets:
        client.greet()
    try:
        yield client
    finally:
        client.close()
