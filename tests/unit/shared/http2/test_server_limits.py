"""What Gaia's own gRPC server lets its clients do, and how it holds them back."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from tests.support.echo_server import SERVICE
from tests.support.http2_peer import STATUS, Peer, all_of, error_of, held_back, running, unary
from tests.support.http2_server import running_own_server
from tests.support.transports import TRANSPORTS


async def test_messages_beyond_the_limit_are_refused_both_ways(peer: Peer) -> None:
    error = await error_of(peer.call("Say", bytes(5 << 20)))
    assert error.code() is STATUS.RESOURCE_EXHAUSTED
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await all_of(peer.call("Count", b"1 5000000"))
    assert caught.value.code() is STATUS.RESOURCE_EXHAUSTED
    assert await peer.call("Say", b"x") == b"x"


async def test_metadata_beyond_the_limit_are_refused() -> None:
    async with running(max_metadata_bytes=8 << 10) as peer:
        error = await error_of(peer.call("Say", b"", metadata=[("x-long", "x" * 9000)]))
        assert error.code() is STATUS.RESOURCE_EXHAUSTED
        assert await peer.call("Say", b"x", metadata=[("x-long", "x" * 5000)]) == b"x"


async def test_metadata_far_beyond_the_limit_end_their_call_and_no_other() -> None:
    options = [("grpc.max_metadata_size", 1 << 20)]
    async with running_own_server() as server, grpc.aio.insecure_channel(server.address, options) as channel:
        hang: Any = channel.unary_unary(f"/{SERVICE}/Hang")
        say: Any = channel.unary_unary(f"/{SERVICE}/Say")
        hanging = hang(b"h")
        await server.started.wait()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await say(b"", metadata=(("x-long", "x" * 10_000_000),))
        assert caught.value.code() is STATUS.RESOURCE_EXHAUSTED
        assert await say(b"x") == b"x"
        server.release.set()
        assert await hanging == b"h"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_more_calls_at_once_than_allowed_are_refused(transport: str) -> None:
    async with running(transport, max_concurrent_calls=2) as peer:
        hanging = [asyncio.ensure_future(peer.call("Hang", b"h")) for _ in range(2)]
        await peer.server.started.wait()
        error = await error_of(peer.call("Say", b"x"))
        assert (error.code(), "limit" in (error.details() or "")) == (STATUS.RESOURCE_EXHAUSTED, True)
        peer.server.release.set()
        assert await asyncio.gather(*hanging) == [b"h", b"h"]
        assert await peer.call("Say", b"x") == b"x"


async def test_a_handler_that_goes_on_after_its_client_left_counts_until_it_ends() -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def stubborn(request: bytes, _context: Any) -> bytes:
        try:
            entered.set()
            await asyncio.Event().wait()
        finally:
            await release.wait()
        return request

    async with running(further={"Stubborn": unary(stubborn)}, max_concurrent_calls=1) as peer:
        call = peer.call("Stubborn", b"")
        reading = asyncio.ensure_future(call)
        await entered.wait()
        call.cancel()
        await asyncio.wait([reading])
        assert (await error_of(peer.call("Say", b"x"))).code() is STATUS.RESOURCE_EXHAUSTED
        release.set()
        async with asyncio.timeout(5):
            while True:
                try:
                    assert await peer.call("Say", b"x") == b"x"
                    break
                except grpc.aio.AioRpcError:
                    await asyncio.sleep(0)


async def test_a_slow_reader_holds_the_handler_back_and_nobody_else(peer: Peer) -> None:
    call = peer.call("Count", b"100000 1000")
    messages = aiter(call)
    await anext(messages)
    last = -1
    async with asyncio.timeout(10):
        while last != peer.server.sent:
            last = peer.server.sent
            await asyncio.sleep(0.1)  # until the handler stands still
    assert last < 10_000
    assert await peer.call("Say", b"x") == b"x"
    assert [await anext(messages) for _ in range(2000)][-1].startswith(b"2000.")
    call.cancel()


async def test_a_handler_that_has_all_at_hand_lets_others_have_their_turn() -> None:
    turns = 0

    async def at_hand(_request: bytes, _context: Any) -> AsyncIterator[bytes]:
        before = turns
        for _ in range(200):
            yield b"x"
        yield b"%d" % (turns - before)

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    further: dict[str, Any] = {"Count": grpc.unary_stream_rpc_method_handler(at_hand)}
    async with running(further=further) as peer:
        counting = asyncio.create_task(others())
        got = await all_of(peer.call("Count", b""))
        counting.cancel()
    assert int(got[-1]) >= 5


async def test_a_handler_that_does_not_read_holds_the_writer_back(peer: Peer) -> None:
    await held_back(peer)
