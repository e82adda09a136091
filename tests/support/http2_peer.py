"""A running server of Gaia's own and a channel to it, by either client, and what tests ask of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from edge.transcoding.transport.channel import Call, Channel, Metadata
from tests.support.echo_server import SERVICE
from tests.support.http2_server import OwnEchoServer, running_own_server
from tests.support.transports import channel_to

KINDS = {
    "Count": (False, True),
    "Written": (False, True),
    "Join": (True, False),
    "Deaf": (True, False),
    "Chat": (True, True),
    "Read": (True, True),
    "Half": (True, True),
}
STATUS = grpc.StatusCode


class Peer:
    """A server and a channel to it."""

    def __init__(self, server: OwnEchoServer, channel: Channel) -> None:
        self.server = server
        self.channel = channel

    def call(
        self, name: str, request: bytes | None = None, *, seconds: float | None = 20, metadata: Metadata = ()
    ) -> Call:
        client, server = KINDS.get(name, (False, False))
        method = self.channel.method(f"/{SERVICE}/{name}", client_streaming=client, server_streaming=server)
        return method(request, timeout=seconds, metadata=metadata)


@asynccontextmanager
async def running(transport: str = "grpc", **options: Any) -> AsyncIterator[Peer]:
    async with running_own_server(**options) as server, channel_to(server.address, transport) as channel:
        yield Peer(server, channel)


async def error_of(call: Call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def all_of(call: Call) -> list[bytes]:
    return [message async for message in call]


def unary(behaviour: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(behaviour)


async def until(done: Callable[[], bool]) -> None:
    while not done():  # noqa: ASYNC110 - what counts is no event
        await asyncio.sleep(0.01)


async def within(seconds: float, waited: Any) -> Any:
    async with asyncio.timeout(seconds):
        return await waited


async def replied(call: Call) -> bytes:
    return await call


async def held_back(peer: Any) -> None:
    """Writes to a handler that does not read, until it is released: the writer stands still, and nobody else does."""
    call = peer.call("Deaf")
    written = 0

    async def write() -> None:
        nonlocal written
        while written < 2000:
            await call.write(bytes(10_000))
            written += 1
        await call.done_writing()

    writing = asyncio.create_task(write())
    await peer.server.started.wait()
    last = -1
    async with asyncio.timeout(10):
        while last != written:
            last = written
            await asyncio.sleep(0.1)  # until the writer stands still
    assert last < 2000
    assert await peer.call("Say", b"x") == b"x"
    peer.server.release.set()
    await writing
    assert await call == b"2000"
