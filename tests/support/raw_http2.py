"""An HTTP/2 server that sends what a test has it send, right or wrong."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import hpack

from shared.http2 import frames

OK = ((":status", "200"), ("content-type", "application/grpc"))
DONE = (("grpc-status", "0"),)
REPLY = b"\0\0\0\0\2ok"


class RawConnection:
    """One connection, its client's preface and settings read and its own settings sent; `got` was not asked for yet."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = frames.FrameReader(1 << 20)
        self.got: list[frames.Frame] = []

    async def greet(self, settings: bytes) -> None:
        """Read the preface, and send settings."""
        await self._reader.readexactly(len(frames.PREFACE))
        self.send(settings)

    def send(self, *data: bytes) -> None:
        """Send bytes."""
        self._writer.write(b"".join(data))

    async def flood(self, data: bytes) -> None:
        """Send the same bytes until the client closes the connection."""
        while not self._writer.is_closing():
            self._writer.write(data)
            await self._writer.drain()
            await asyncio.sleep(0)

    async def next(self, kind: int) -> frames.Frame:
        """Return the next frame of a type; those of others are passed over. Raises EOFError."""
        while True:
            while self.got:
                frame = self.got.pop(0)
                if frame[0] == kind:
                    return frame
            data = await self._reader.read(65536)
            if not data:
                raise EOFError
            self.got.extend(self._frames.feed(data))

    async def next_call(self) -> int:
        """Return the stream of the next call."""
        return (await self.next(frames.HEADERS))[2]

    def answer(self, stream: int, reply: bytes = REPLY) -> None:
        """Answer a unary call."""
        self.send(headers(stream, OK), data(stream, reply), headers(stream, DONE, last=True))

    async def until_closed(self) -> None:
        """Read until the client has closed the connection."""
        with suppress(EOFError, ConnectionError):
            await self.next(-1)

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()


Behaviour = Callable[[RawConnection], Awaitable[None]]


@asynccontextmanager
async def running_raw_http2(
    behaviour: Behaviour, settings: bytes = frames.settings({}), host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[str]:
    """Serve connections by a function; yields the address."""
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        connection = RawConnection(reader, writer)
        try:
            with suppress(EOFError, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await connection.greet(settings)
                await behaviour(connection)
        finally:
            serving.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, host, port)
    try:
        yield f"{host}:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)
        await server.wait_closed()


def headers(
    stream: int, fields: tuple[tuple[str, str], ...], *, last: bool = False, flags: int = frames.END_HEADERS
) -> bytes:
    """Return a HEADERS frame."""
    return frames.frame(frames.HEADERS, flags | (frames.END_STREAM if last else 0), stream, block(fields))


def block(fields: tuple[tuple[str, str], ...]) -> bytes:
    """Return a header block."""
    encoder = hpack.Encoder()
    encoder.header_table_size = 0
    encoded: bytes = encoder.encode(fields)
    return encoded


def data(stream: int, payload: bytes, *, last: bool = False) -> bytes:
    """Return a DATA frame."""
    return frames.frame(frames.DATA, frames.END_STREAM if last else 0, stream, payload)
