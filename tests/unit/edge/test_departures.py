"""Behaviour of edge/departures.py: clients that leave while a backend holds them back, over real sockets and gRPC."""

import asyncio
import fcntl
import json
import socket
import struct
import termios
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.client import connect

from tests.support.transcoder import Edge, running_whole_edge
from tests.support.transports import TRANSPORTS
from tests.support.waiting import eventually

SOON = 0.5
"""Seconds; on a quiet machine it takes a few milliseconds, and a shared one is not always quiet."""
UPLOAD = b"POST /v1/shelves/1:collect HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
HANG = b'{"title":"hang"}'
BOOK = b'{"title":"%b"}' % (b"x" * 60_000)
SMALL_BOOK = b'{"title":"%b"}' % (b"x" * 20_000)


@pytest.fixture(scope="module", params=TRANSPORTS)
async def edge(request: pytest.FixtureRequest) -> AsyncIterator[Edge]:
    async with running_whole_edge(request.param) as running:
        yield running


async def connected(edge: Edge) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    edge.backend.hanging.clear()
    edge.backend.cancelled.clear()
    parts = urlsplit(edge.url)
    return await asyncio.open_connection(parts.hostname, parts.port)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def send_until_held_back(writer: asyncio.StreamWriter) -> int:
    """Send books until nobody takes one for a while; return how many were sent."""
    sent = 0
    with suppress(TimeoutError):
        while sent < 1000:
            writer.write(chunk(BOOK))
            await asyncio.wait_for(writer.drain(), 0.3)
            sent += 1
    return sent


async def all_sent(writer: asyncio.StreamWriter) -> None:
    """Return when the other end's kernel has all that was written."""
    number = writer.get_extra_info("socket").fileno()

    async def is_empty() -> bool:
        waiting = struct.unpack("i", fcntl.ioctl(number, termios.TIOCOUTQ, bytes(4)))[0]
        return writer.transport.get_write_buffer_size() == waiting == 0

    await eventually(is_empty)


async def assert_cancelled_soon(edge: Edge) -> None:
    left = time.monotonic()
    await asyncio.wait_for(edge.backend.cancelled.wait(), 5)
    assert time.monotonic() - left < SOON


def reset_on_close(writer: asyncio.StreamWriter) -> None:
    """Have the connection reset when it closes: an orderly end would wait behind what the edge does not read."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)


async def test_a_client_that_resets_its_stalled_upload_cancels_the_call(edge: Edge) -> None:
    _, writer = await connected(edge)
    reset_on_close(writer)
    writer.write(UPLOAD + chunk(HANG))
    await asyncio.wait_for(edge.backend.hanging.wait(), 5)
    assert await send_until_held_back(writer) < 1000
    assert not edge.backend.cancelled.is_set()
    writer.transport.abort()
    await assert_cancelled_soon(edge)


@pytest.mark.parametrize("leave", [asyncio.StreamWriter.close, asyncio.StreamWriter.write_eof])
async def test_a_client_that_closes_its_stalled_upload_cancels_the_call(
    edge: Edge, leave: Callable[[asyncio.StreamWriter], None]
) -> None:
    _, writer = await connected(edge)
    writer.write(UPLOAD + chunk(HANG))
    await asyncio.wait_for(edge.backend.hanging.wait(), 5)
    # More than the edge takes in, and no more than the kernel takes for it, so that the end follows it at once: one by
    # one, since the edge might take in a heap of them.
    for _ in range(10):
        writer.write(chunk(SMALL_BOOK))
        await all_sent(writer)
        await asyncio.sleep(0.005)
    leave(writer)
    await assert_cancelled_soon(edge)
    writer.transport.abort()


async def test_a_client_that_leaves_before_the_edge_stops_reading_cancels_the_call(edge: Edge) -> None:
    _, writer = await connected(edge)
    # Some of it waits for the backend, and none of it for the edge.
    writer.write(UPLOAD + chunk(HANG))
    await asyncio.wait_for(edge.backend.hanging.wait(), 5)
    for _ in range(3):
        writer.write(chunk(BOOK))
    await writer.drain()
    writer.close()
    await assert_cancelled_soon(edge)


async def test_a_client_that_leaves_with_a_request_behind_the_one_under_way_cancels_that(edge: Edge) -> None:
    _, writer = await connected(edge)
    writer.write(b"GET /v1/hang HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.wait_for(edge.backend.hanging.wait(), 5)
    writer.write(b"GET /v1/shelves/1/books/2 HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
    await writer.drain()
    writer.close()
    await assert_cancelled_soon(edge)


async def test_an_upload_that_was_held_back_ends_well_and_the_connection_serves_others(edge: Edge) -> None:
    reader, writer = await connected(edge)
    for _ in range(2):
        writer.write(UPLOAD)
        for _ in range(40):
            writer.write(chunk(BOOK))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        assert await asyncio.wait_for(reader.readline(), 5) == b"HTTP/1.1 200 OK\r\n"
        head = await reader.readuntil(b"\r\n\r\n")
        size = next(int(line[15:]) for line in head.splitlines() if line.lower().startswith(b"content-length:"))
        assert len(json.loads(await reader.readexactly(size))["books"]) == 40
    writer.close()


async def test_a_client_that_leaves_its_stalled_socket_cancels_the_call(edge: Edge) -> None:
    edge.backend.hanging.clear()
    edge.backend.cancelled.clear()
    async with connect(edge.url.replace("http", "ws") + "/v1/shelves/1:collect", ping_interval=None) as client:
        await client.send(HANG.decode())
        await asyncio.wait_for(edge.backend.hanging.wait(), 5)
        with suppress(TimeoutError):
            for _ in range(1000):
                await asyncio.wait_for(client.send(BOOK.decode()), 0.3)
        assert not edge.backend.cancelled.is_set()
        linger = struct.pack("ii", 1, 0)
        client.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        client.transport.abort()
        await assert_cancelled_soon(edge)
