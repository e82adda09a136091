"""Where Gaia's own gRPC server listens, and how it ends."""

import asyncio
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.support.echo_server import SERVICE
from tests.support.http2_peer import STATUS, Peer, error_of, running, unary, until, within
from tests.support.http2_server import running_own_server
from tests.support.transports import TRANSPORTS, channel_to


async def test_peers_are_named_as_grpc_names_them(tmp_path: Path) -> None:
    async def who(_request: bytes, context: Any) -> bytes:
        return str(context.peer()).encode()

    further = {"Who": unary(who)}
    async with running(further=further) as peer:
        assert (await peer.call("Who", b"")).startswith(b"ipv4:127.0.0.1:")
    async with running(further=further, address="[::1]:0") as peer:
        assert (await peer.call("Who", b"")).startswith(b"ipv6:%5B::1%5D:")
    async with running(further=further, address="0.0.0.0:0") as peer:
        port = peer.server.address.rpartition(":")[2]
        for host, named in (("127.0.0.1", b"ipv4:127.0.0.1:"), ("[::1]", b"ipv6:%5B::1%5D:")):
            async with channel_to(f"{host}:{port}") as channel:
                assert (await Peer(peer.server, channel).call("Who", b"")).startswith(named)
    path = tmp_path / "a.sock"
    async with running(further=further, address=f"unix:{path}") as peer:
        assert (await peer.call("Who", b"")).startswith(b"unix:")
    assert not path.exists()


async def test_an_address_that_is_taken_is_an_error_of_the_system(tmp_path: Path) -> None:
    for address in ("127.0.0.1:0", f"unix:{tmp_path}/b.sock"):
        async with running(address=address) as peer:
            with pytest.raises(OSError, match="in use"):
                async with running_own_server(peer.server.address):
                    raise AssertionError
            assert await peer.call("Say", b"x") == b"x"


async def test_a_socket_that_was_left_behind_is_taken_over(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/c.sock"
    async with running_own_server(address):
        (tmp_path / "c.sock").rename(tmp_path / "left.sock")
    async with running(address=f"unix:{tmp_path}/left.sock") as peer:
        assert await peer.call("Say", b"x") == b"x"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_calls_under_way_are_answered_before_the_server_stops(transport: str) -> None:
    async with running(transport) as peer:
        hanging = asyncio.ensure_future(peer.call("Hang", b"h"))
        stream = aiter(peer.call("Count", b"1 1 hang"))
        assert await anext(stream) == b"0"
        await peer.server.started.wait()
        stopping = asyncio.create_task(peer.server.stop(10))
        await asyncio.sleep(0.05)
        assert not stopping.done()
        peer.server.release.set()
        assert await hanging == b"h"
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        # Without calls nothing is waited for.
        await within(5, stopping)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_calls_that_take_longer_than_the_server_waits_are_ended_and_told_so(transport: str) -> None:
    async with running(transport) as peer:
        hanging = asyncio.ensure_future(error_of(peer.call("Hang", b"h")))
        await peer.server.started.wait()
        began = time.monotonic()
        await peer.server.stop(0.2)
        assert time.monotonic() - began < 3
        assert (await hanging).code() is STATUS.UNAVAILABLE
        assert peer.server.cancelled.is_set()


async def test_what_a_handler_does_at_its_end_is_not_cut_short_by_the_end_of_the_server() -> None:
    entered, done = asyncio.Event(), asyncio.Event()

    async def careful(request: bytes, _context: Any) -> bytes:
        try:
            entered.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)
            done.set()
        return request

    async with running(further={"Careful": unary(careful)}) as peer:
        calling = asyncio.ensure_future(error_of(peer.call("Careful", b"")))
        await entered.wait()
        await peer.server.stop(0.05)
        assert done.is_set()
        assert (await calling).code() is STATUS.UNAVAILABLE


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_no_call_is_lost_between_a_server_that_ends_and_the_next_one(transport: str) -> None:
    async with running_own_server() as first, channel_to(first.address, transport) as channel:
        say = channel.method(f"/{SERVICE}/Say", client_streaming=False, server_streaming=False)
        again = asyncio.Event()

        async def caller() -> None:
            while True:
                try:
                    assert await say(b"x", timeout=20, metadata=()) == b"x"
                except grpc.aio.AioRpcError as error:
                    # Nobody listens for a moment; what was sent is never in doubt.
                    assert "failed to connect" in (error.details() or "").lower()  # noqa: PT017
                    await asyncio.sleep(0.01)
                else:
                    if again.is_set():
                        return

        callers = [asyncio.create_task(caller()) for _ in range(8)]
        async with asyncio.timeout(15):
            await until(lambda: first.calls >= 200)
            await first.stop(5)
            async with running_own_server(first.address):
                again.set()
                await asyncio.gather(*callers)
