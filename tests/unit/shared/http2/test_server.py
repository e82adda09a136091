"""What Gaia's own gRPC server does, as clients of both kinds see it."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import uvloop

from edge.transcoding.transport.channel import Call, Channel, Metadata
from tests.support.echo_server import SERVICE
from tests.support.http2_server import OwnEchoServer, running_own_server
from tests.support.transports import TRANSPORTS, channel_to

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


@pytest.fixture(params=TRANSPORTS)
async def peer(request: pytest.FixtureRequest) -> AsyncIterator[Peer]:
    async with running(request.param) as found:
        yield found


async def error_of(call: Call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def all_of(call: Call) -> list[bytes]:
    return [message async for message in call]


def unary(behaviour: Any) -> Any:
    return grpc.unary_unary_rpc_method_handler(behaviour)


# Calls of all kinds.


async def test_a_unary_call_carries_its_message_and_metadata_both_ways(peer: Peer) -> None:
    metadata: Metadata = [("x-one", "1"), ("x-data-bin", b"\x00\xff\x10"), ("x-one", "2"), ("x-empty", "")]
    call = peer.call("Say", b"\x00hello", metadata=metadata)
    assert await call == b"\x00hello"
    assert sorted(await call.initial_metadata(), key=repr) == sorted(metadata, key=repr)
    assert sorted(await call.trailing_metadata(), key=repr) == sorted(metadata, key=repr)


async def test_an_empty_message_is_a_message(peer: Peer) -> None:
    assert await peer.call("Say", b"") == b""


async def test_a_stream_of_replies_comes_whole_and_in_its_order(peer: Peer) -> None:
    got = await all_of(peer.call("Count", b"500 10"))
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


async def test_handlers_may_read_and_write_by_their_context() -> None:
    async def read(_requests: Any, context: Any) -> None:
        while (request := await context.read()) is not grpc.aio.EOF:
            await context.write(request * 2)

    async def written(request: bytes, context: Any) -> None:
        for _ in range(3):
            await context.write(request)

    further: dict[str, Any] = {
        "Read": grpc.stream_stream_rpc_method_handler(read),
        "Written": grpc.unary_stream_rpc_method_handler(written),
    }
    async with running(further=further) as peer:
        call = peer.call("Read")
        await call.write(b"a")
        await call.write(b"b")
        await call.done_writing()
        assert await all_of(call) == [b"aa", b"bb"]
        assert await all_of(peer.call("Written", b"w")) == [b"w"] * 3


@pytest.mark.parametrize("size", [16_379, 16_384, 65_535, 70_000, 3_000_000])
async def test_large_messages_pass(peer: Peer, size: int) -> None:
    data = (bytes(range(256)) * (size // 256 + 1))[:size]
    assert await peer.call("Say", data) == data
    call = peer.call("Chat")
    await call.write(data)
    await call.done_writing()
    assert await all_of(call) == [data]


async def test_large_messages_pass_side_by_side(peer: Peer) -> None:
    data = [bytes([number]) * 1_000_000 for number in range(12)]
    assert await asyncio.gather(*(_await(peer.call("Say", one)) for one in data)) == data


async def test_hundreds_of_calls_go_side_by_side(peer: Peer) -> None:
    async def one(number: int) -> None:
        data = b"%d" % number
        assert await peer.call("Say", data) == data
        assert len(await all_of(peer.call("Count", b"5 10"))) == 5

    await asyncio.gather(*(one(number) for number in range(300)))


def test_the_faster_event_loop_serves_as_well() -> None:
    async def main() -> None:
        for transport in TRANSPORTS:
            async with running(transport) as peer:
                assert await peer.call("Say", bytes(2_000_000)) == bytes(2_000_000)
                assert len(await all_of(peer.call("Count", b"2000 1000"))) == 2000
                assert (await error_of(peer.call("Fail", b"5 no"))).code() is STATUS.NOT_FOUND

    uvloop.run(main())


# How calls end.


@pytest.mark.parametrize("code", [1, 2, 3, 5, 8, 13, 14, 16])
async def test_a_status_comes_with_its_words_and_details(peer: Peer, code: int) -> None:
    error = await error_of(peer.call("Fail", b"%d 100%% of it: \xc3\xa4 \xe2\x98\x83\n" % code))
    assert error.code().value[0] == code
    assert error.details() == "100% of it: ä ☃\n"
    trailing = dict(error.trailing_metadata() or ())
    assert trailing["x-why-bin"] == b"\x00\xff"
    assert trailing["grpc-status-details-bin"] == b"rich"


async def test_a_status_may_be_set_without_raising() -> None:
    async def tell(_request: bytes, context: Any) -> bytes:
        context.set_code(STATUS.ALREADY_EXISTS)
        context.set_details("there is one")
        context.set_trailing_metadata((("x-which", "1"),))
        return b"dropped"

    async with running(further={"Tell": unary(tell)}) as peer:
        error = await error_of(peer.call("Tell", b""))
    assert (error.code(), error.details()) == (STATUS.ALREADY_EXISTS, "there is one")
    assert dict(error.trailing_metadata() or ()) == {"x-which": "1"}


async def test_words_of_a_status_that_no_client_would_take_are_cut(peer: Peer) -> None:
    error = await error_of(peer.call("Fail", b"5 " + b"\xc3\xa4" * 50_000))
    assert error.code() is STATUS.NOT_FOUND
    assert 600 < len(error.details() or "") < 5000


async def test_an_unknown_method_is_unimplemented(peer: Peer) -> None:
    assert (await error_of(peer.call("Nothing", b""))).code() is STATUS.UNIMPLEMENTED


async def test_what_a_handler_raises_is_logged_and_not_told(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_request: bytes, _context: Any) -> bytes:
        raise ValueError("a secret")

    async with running(further={"Broken": unary(fail)}) as peer:
        with caplog.at_level(logging.ERROR):
            error = await error_of(peer.call("Broken", b""))
    assert (error.code(), "secret" in (error.details() or "")) == (STATUS.UNKNOWN, False)
    assert "a secret" in caplog.text


async def test_a_request_that_does_not_parse_is_internal_and_an_answer_that_does_not_serialise_too() -> None:
    def refuse(_data: Any) -> Any:
        raise ValueError("no")

    async def say(request: Any, _context: Any) -> Any:
        return request

    further = {
        "In": grpc.unary_unary_rpc_method_handler(say, request_deserializer=refuse),
        "Out": grpc.unary_unary_rpc_method_handler(say, response_serializer=refuse),
    }
    async with running(further=further) as peer:
        assert (await error_of(peer.call("In", b""))).code() is STATUS.INTERNAL
        assert (await error_of(peer.call("Out", b""))).code() is STATUS.UNKNOWN


async def test_a_stream_that_fails_gives_what_came_before(peer: Peer) -> None:
    messages = aiter(peer.call("Count", b"3 1 fail"))
    assert [await anext(messages) for _ in range(3)] == [b"0", b"1", b"2"]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await anext(messages)
    assert (caught.value.code(), caught.value.details()) == (STATUS.DATA_LOSS, "lost")


async def test_a_deadline_ends_a_call_here_and_there(peer: Peer) -> None:
    began = time.monotonic()
    assert (await error_of(peer.call("Hang", b"", seconds=0.1))).code() is STATUS.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 2
    await _within(2, peer.server.cancelled.wait())


async def test_the_handler_knows_the_deadline(peer: Peer) -> None:
    # gRPC's clients round up, by up to a hundredth.
    assert 80 < float(await peer.call("Left", b"", seconds=100)) <= 101.1
    assert 0.5 < float(await peer.call("Left", b"", seconds=3)) <= 3.1
    assert await peer.call("Left", b"", seconds=None) == b"None"


async def test_cancelling_ends_the_handler_soon(peer: Peer) -> None:
    call = peer.call("Hang", b"")
    reading = asyncio.ensure_future(call)
    await peer.server.started.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await _within(1, peer.server.cancelled.wait())


async def test_a_lost_connection_ends_the_handler_soon() -> None:
    async with running_own_server() as server:
        async with channel_to(server.address) as channel:
            hanging = asyncio.ensure_future(Peer(server, channel).call("Hang", b""))
            await server.started.wait()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        await _within(1, server.cancelled.wait())


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_generator_that_waits_for_its_reader_is_closed_when_the_reader_leaves(transport: str) -> None:
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def endless(_request: bytes, _context: Any) -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(100_000)
        finally:
            ended.set_result("ended")

    async with running(transport, further={"Count": grpc.unary_stream_rpc_method_handler(endless)}) as peer:
        call = peer.call("Count", b"")
        await anext(aiter(call))
        call.cancel()
        assert await _within(2, ended) == "ended"


async def test_who_waits_for_the_end_of_a_call_hears_of_it() -> None:
    heard: list[tuple[bool, bool]] = []

    async def say(request: bytes, context: Any) -> bytes:
        context.add_done_callback(lambda ended: heard.append((ended.done(), ended.cancelled())))
        return request

    async with running(further={"Told": unary(say)}) as peer:
        assert await peer.call("Told", b"x") == b"x"
        await peer.server.stop(1)
    assert heard == [(True, False)]


# Limits.


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


# What else a client may ask for.


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_requests_are_read_and_bounded(compression: grpc.Compression) -> None:
    async with (
        running_own_server() as server,
        grpc.aio.insecure_channel(server.address, compression=compression) as channel,
    ):
        say: Any = channel.unary_unary(f"/{SERVICE}/Say")
        assert await say(b"a" * 100_000) == b"a" * 100_000
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await say(bytes(5 << 20))
        assert caught.value.code() is STATUS.RESOURCE_EXHAUSTED


def test_a_client_of_threads_is_served() -> None:
    async def main() -> None:
        async with running_own_server() as server:
            await asyncio.to_thread(ask, server.address)

    def ask(address: str) -> None:
        with grpc.insecure_channel(address) as channel:
            stub: Any = channel.unary_unary(f"/{SERVICE}/Say")
            assert [stub(b"%d" % number, timeout=5) for number in range(20)] == [b"%d" % n for n in range(20)]
            count: Any = channel.unary_stream(f"/{SERVICE}/Count")
            assert len(list(count(b"50 10", timeout=5))) == 50

    asyncio.run(main())


async def test_interceptors_run_in_their_order_and_may_answer_themselves() -> None:
    order: list[str] = []

    class Noting(grpc.aio.ServerInterceptor):
        def __init__(self, name: str) -> None:
            self._name = name

        async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
            order.append(f"{self._name} {handler_call_details.method.rpartition('/')[2]}")
            metadata = dict(handler_call_details.invocation_metadata)
            return None if metadata.get("x-hide") == self._name else await continuation(handler_call_details)

    async with running(interceptors=[Noting("first"), Noting("second")]) as peer:
        assert await peer.call("Say", b"x") == b"x"
        assert order == ["first Say", "second Say"]
        hidden = peer.call("Say", b"x", metadata=[("x-hide", "first")])
        assert (await error_of(hidden)).code() is STATUS.UNIMPLEMENTED
        assert order[2:] == ["first Say"]


# Where it listens, and how it ends.


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
        await _within(5, stopping)


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
            await _until(lambda: first.calls >= 200)
            await first.stop(5)
            async with running_own_server(first.address):
                again.set()
                await asyncio.gather(*callers)


async def _until(done: Callable[[], bool]) -> None:
    while not done():  # noqa: ASYNC110 - what counts is no event
        await asyncio.sleep(0.01)


async def _within(seconds: float, waited: Any) -> Any:
    async with asyncio.timeout(seconds):
        return await waited


async def _await(call: Call) -> bytes:
    return await call
