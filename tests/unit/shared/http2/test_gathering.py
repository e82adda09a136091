"""Behaviour of shared/http2/gathering.py, over real sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from shared.http2.gathering import MAX_GATHERED_BYTES, GatheringTransport


class Watched(asyncio.Protocol):
    """Notes when it is told to write no more."""

    paused = False

    def pause_writing(self) -> None:
        self.paused = True


@pytest.fixture
async def ends() -> AsyncIterator[tuple[GatheringTransport, Watched, socket.socket]]:
    """A gathering transport, its protocol, and the socket at its other end, which nobody reads but the test."""
    here, there = socket.socketpair()
    there.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_connection(Watched, sock=here)
    yield GatheringTransport(transport, loop), protocol, there
    transport.abort()
    there.close()


def received(there: socket.socket) -> bytes:
    try:
        return there.recv(1 << 20)
    except BlockingIOError:
        return b""


async def test_what_is_written_in_one_turn_leaves_at_its_end_and_in_order(
    ends: tuple[GatheringTransport, Watched, socket.socket],
) -> None:
    transport, _, there = ends
    for part in (b"one ", b"two ", b"three"):
        transport.write(part)
    assert received(there) == b""
    assert transport.get_write_buffer_size() == 13
    await asyncio.sleep(0)
    assert received(there) == b"one two three"
    assert transport.get_write_buffer_size() == 0


async def test_a_writer_that_gives_nobody_a_turn_is_told_when_the_socket_is_full(
    ends: tuple[GatheringTransport, Watched, socket.socket],
) -> None:
    transport, protocol, _ = ends
    written = 0
    while not protocol.paused:
        transport.write(b"x" * 1000)
        written += 1000
        assert written < 4 << 20
    assert transport.get_write_buffer_size() < written
    assert written > MAX_GATHERED_BYTES


async def test_closing_loses_nothing_and_aborting_sends_nothing(
    ends: tuple[GatheringTransport, Watched, socket.socket],
) -> None:
    transport, _, there = ends
    transport.write(b"last words")
    transport.close()
    assert transport.is_closing()
    transport.write(b"too late")
    await asyncio.sleep(0.01)
    assert received(there) == b"last words"


async def test_what_waits_when_the_connection_is_aborted_is_dropped(
    ends: tuple[GatheringTransport, Watched, socket.socket],
) -> None:
    transport, _, there = ends
    transport.write(b"nobody hears this")
    transport.abort()
    await asyncio.sleep(0.01)
    assert received(there) == b""
