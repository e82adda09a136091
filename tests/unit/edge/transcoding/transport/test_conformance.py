"""What every transport does, against gRPC's own server."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from edge.transcoding.transport.channel import Call, CallEndedError, Channel, Metadata
from tests.support.echo_server import SERVICE, EchoServer, running_echo_server
from tests.support.http2_peer import held_back
from tests.support.ports import free_port
from tests.support.transports import TRANSPORTS, channel_to

KINDS = {"Count": (False, True), "Join": (True, False), "Chat": (True, True), "Deaf": (True, False)}


class Peer:
    """A server and a channel to it by one transport."""

    def __init__(self, server: EchoServer, channel: Channel) -> None:
        self.server = server
        self.channel = channel

    def call(
        self, name: str, request: bytes | None = None, *, seconds: float | None = 20, metadata: Metadata = ()
    ) -> Call:
        client, server = KINDS.get(name, (False, False))
        method = self.channel.method(f"/{SERVICE}/{name}", client_streaming=client, server_streaming=server)
        return method(request, timeout=seconds, metadata=metadata)


@asynccontextmanager
async def running(transport: str, **options: Any) -> AsyncIterator[Peer]:
    async with running_echo_server(**options) as server, channel_to(server.address, transport) as channel:
        yield Peer(server, channel)


@pytest.fixture(params=TRANSPORTS)
async def peer(request: pytest.FixtureRequest) -> AsyncIterator[Peer]:
    async with running(request.param) as found:
        yield found


async def error_of(call: Call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_a_unary_call_carries_its_message_and_metadata_both_ways(peer: Peer) -> None:
    metadata: Metadata = [("x-one", "1"), ("x-data-bin", b"\x00\xff\x10"), ("x-one", "2"), ("x-empty", "")]
    call = peer.call("Say", b"\x00hello", metadata=metadata)
    assert await call == b"\x00hello"
    assert sorted(await call.initial_metadata(), key=repr) == sorted(metadata, key=repr)
    assert sorted(await call.trailing_metadata(), key=repr) == sorted(metadata, key=repr)
    assert not call.cancel()


async def test_an_empty_message_is_a_message(peer: Peer) -> None:
    assert await peer.call("Say", b"") == b""


async def test_a_stream_of_replies_comes_whole_and_in_its_order(peer: Peer) -> None:
    got = [message async for message in peer.call("Count", b"500 10")]
    assert got == [str(number).encode().ljust(10, b".") for number in range(500)]


async def test_a_stream_of_requests_comes_whole_and_in_its_order(peer: Peer) -> None:
    call = peer.call("Join")
    for number in range(100):
        await call.write(b"%d" % number)
    await call.done_writing()
    assert await call == b",".join(b"%d" % number for number in range(100))


async def test_messages_go_both_ways_at_once(peer: Peer) -> None:
    call = peer.call("Chat")
    replies = aiter(call)
    for number in range(20):
        await call.write(b"%d" % number)
        assert await anext(replies) == b"%d" % number
    await call.done_writing()
    with pytest.raises(StopAsyncIteration):
        await anext(replies)
    assert list(await call.trailing_metadata()) == []


@pytest.mark.parametrize("code", [1, 2, 3, 5, 8, 13, 14, 16])
async def test_a_status_comes_with_its_words_and_details(peer: Peer, code: int) -> None:
    error = await error_of(peer.call("Fail", b"%d 100%% of it: \xc3\xa4 \xe2\x98\x83\n" % code))
    assert error.code().value[0] == code
    assert error.details() == "100% of it: ä ☃\n"
    trailing = dict(error.trailing_metadata() or ())
    assert trailing["x-why-bin"] == b"\x00\xff"
    assert trailing["grpc-status-details-bin"] == b"rich"


async def test_an_unknown_method_is_unimplemented(peer: Peer) -> None:
    assert (await error_of(peer.call("Nothing", b""))).code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_stream_that_fails_gives_what_came_before(peer: Peer) -> None:
    messages = aiter(peer.call("Count", b"3 1 fail"))
    assert [await anext(messages) for _ in range(3)] == [b"0", b"1", b"2"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(messages)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.DATA_LOSS, "lost")


async def test_a_deadline_ends_a_call_here_and_there(peer: Peer) -> None:
    began = time.monotonic()
    error = await error_of(peer.call("Hang", b"", seconds=0.1))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 2
    async with asyncio.timeout(5):
        await peer.server.cancelled.wait()


async def test_the_server_knows_the_deadline(peer: Peer) -> None:
    # gRPC rounds up, by up to a hundredth.
    assert 80 < float(await peer.call("Left", b"", seconds=100)) <= 101.1
    assert 0.5 < float(await peer.call("Left", b"", seconds=3)) <= 3.1
    assert float(await peer.call("Left", b"", seconds=86_400 * 30)) > 86_400 * 29


async def test_cancelling_ends_a_call_here_at_once_and_there_soon(peer: Peer) -> None:
    call = peer.call("Hang", b"")
    reading = asyncio.ensure_future(call)
    await peer.server.started.wait()
    assert call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    async with asyncio.timeout(2):
        await peer.server.cancelled.wait()


async def test_who_stops_waiting_cancels_the_call(peer: Peer) -> None:
    call = peer.call("Count", b"1 1 hang")
    messages = aiter(call)
    assert await anext(messages) == b"0"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await anext(messages)
    async with asyncio.timeout(2):
        await peer.server.cancelled.wait()


@pytest.mark.parametrize("size", [16_379, 16_384, 65_535, 70_000, 3_000_000])
async def test_large_messages_pass(peer: Peer, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    assert await peer.call("Say", data[:size]) == data[:size]
    call = peer.call("Chat")
    await call.write(data[:size])
    await call.done_writing()
    assert [message async for message in call] == [data[:size]]


async def test_large_messages_pass_side_by_side(peer: Peer) -> None:
    data = [bytes([number]) * 1_000_000 for number in range(12)]
    assert await asyncio.gather(*(_await(peer.call("Say", one)) for one in data)) == data


async def test_a_message_beyond_the_limit_is_refused(peer: Peer) -> None:
    async def read() -> None:
        async for _ in peer.call("Count", b"1 5000000"):
            raise AssertionError

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await read()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await error_of(peer.call("Say", bytes(5 << 20)))).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_slow_reader_holds_the_server_back_and_nobody_else(peer: Peer) -> None:
    call = peer.call("Count", b"100000 1000")
    messages = aiter(call)
    await anext(messages)
    last = -1
    async with asyncio.timeout(10):
        while last != peer.server.sent:
            last = peer.server.sent
            await asyncio.sleep(0.1)  # until the server stands still
    assert last < 10_000
    assert await peer.call("Say", b"x") == b"x"
    assert [await anext(messages) for _ in range(2000)][-1].startswith(b"2000.")
    call.cancel()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_slow_server_holds_the_writer_back(transport: str) -> None:
    # Without probes the server's window stays as it is, and does not grow with what it could take.
    async with running(transport, **{"http2.bdp_probe": 0}) as peer:
        await held_back(peer)


async def test_a_window_that_grows_lets_a_large_stream_through(peer: Peer) -> None:
    peer.server.release.set()
    call = peer.call("Deaf")
    for _ in range(2000):
        await call.write(bytes(10_000))
    await call.done_writing()
    assert await call == b"2000"


async def test_writing_to_a_call_that_has_ended_says_so(peer: Peer) -> None:
    call = peer.channel.method(f"/{SERVICE}/Nothing", client_streaming=True, server_streaming=False)(
        timeout=20, metadata=()
    )
    assert (await error_of(call)).code() is grpc.StatusCode.UNIMPLEMENTED
    with pytest.raises(CallEndedError):
        await call.write(b"late")


async def test_a_thousand_calls_go_side_by_side(peer: Peer) -> None:
    async def one(number: int) -> None:
        data = b"%d" % number
        assert await peer.call("Say", data) == data
        assert len([message async for message in peer.call("Count", b"5 10")]) == 5

    await asyncio.gather(*(one(number) for number in range(500)))


async def test_calls_wait_for_a_server_that_takes_few_at_once() -> None:
    # grpc.aio begins more calls than that before it has heard of the limit, and may lose them.
    async with running("http2", max_concurrent_streams=3) as peer:
        hanging = [asyncio.ensure_future(peer.call("Hang", b"h")) for _ in range(3)]
        await peer.server.started.wait()
        waiting = [peer.call("Say", b"%d" % number) for number in range(10)]
        late = peer.call("Say", b"late", seconds=0.1)
        assert (await error_of(late)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        peer.server.release.set()
        assert await asyncio.gather(*map(_await, waiting)) == [b"%d" % number for number in range(10)]
        assert await asyncio.gather(*hanging) == [b"h"] * 3


async def test_connections_that_the_server_ends_by_age_fail_no_call() -> None:
    # grpc.aio fails one now and then, when the socket breaks before it has read the server's farewell.
    async with running("http2", max_connection_age_ms=100, max_connection_age_grace_ms=5000) as peer:
        done = 0

        async def caller() -> None:
            nonlocal done
            end = time.monotonic() + 1.0
            while time.monotonic() < end:
                assert await peer.call("Say", b"x") == b"x"
                assert len([message async for message in peer.call("Count", b"20 10")]) == 20
                done += 1

        await asyncio.gather(*(caller() for _ in range(4)))
        assert done > 20


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_server_that_comes_back_is_found(transport: str) -> None:
    port = free_port()
    async with channel_to(f"127.0.0.1:{port}", transport) as channel:
        server = EchoServer()
        peer = Peer(server, channel)
        error = await error_of(peer.call("Say", b"x"))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "failed to connect" in (error.details() or "").lower()
        for _ in range(2):
            await server.start(f"127.0.0.1:{port}")
            await _until_answered(peer)
            hanging = peer.call("Hang", b"")
            waiting = asyncio.create_task(error_of(hanging))
            server.started.clear()
            await server.started.wait()
            await server.stop()
            assert (await waiting).code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


async def test_replies_that_are_compressed_are_read() -> None:
    for transport in TRANSPORTS:
        async with running(transport, default_compression_algorithm=2) as peer:
            assert await peer.call("Say", b"a" * 10_000) == b"a" * 10_000
            got = [message async for message in peer.call("Count", b"70 1000")]
            assert len(got) == 70
            assert got[69] == b"69".ljust(1000, b".")


async def test_a_unix_socket_is_a_target(tmp_path: Any) -> None:
    for transport in TRANSPORTS:
        async with running(transport, address=f"unix:{tmp_path}/{transport}.sock") as peer:
            assert await peer.call("Say", b"x") == b"x"


async def _await(call: Call) -> bytes:
    return await call


async def _until_answered(peer: Peer) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                assert await peer.call("Say", b"x") == b"x"
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - until it is there
                await asyncio.sleep(0.02)
            else:
                return
