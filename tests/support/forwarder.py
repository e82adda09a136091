"""A TCP load balancer of the simplest kind: each new connection goes to the server of the day."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

PIECE_BYTES = 1 << 16


class Forwarder:
    """Forwards connections to `target`, a port of the loopback address; those that are open stay where they are."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.forwarded: list[int] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection until both sides have ended it."""
        target = self.target
        self.forwarded.append(target)
        # A server that has gone ends the connection, as it would without anything in between.
        with suppress(OSError):
            there, away = await asyncio.open_connection("127.0.0.1", target)
            await asyncio.gather(_copy(reader, away), _copy(there, writer))
        writer.close()


@asynccontextmanager
async def forwarding(target: int) -> AsyncIterator[Forwarder]:
    """Forward from a free port while the block runs."""
    forwarder = Forwarder(target)
    server = await asyncio.start_server(forwarder.serve, "127.0.0.1", 0)
    forwarder.port = server.sockets[0].getsockname()[1]
    try:
        yield forwarder
    finally:
        server.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    try:
        while piece := await source.read(PIECE_BYTES):
            sink.write(piece)
            await sink.drain()
    finally:
        sink.close()
