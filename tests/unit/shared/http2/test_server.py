"""What Gaia's own gRPC server does with calls, as clients of both kinds see it."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import uvloop

from edge.transcoding.transport.channel import Metadata
from tests.support.echo_server import SERVICE
from tests.support.http2_peer import STATUS, Peer, all_of, error_of, replied, running, unary, within
from tests.support.http2_server import running_own_server
from tests.support.transports import TRANSPORTS, channel_to


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
    assert await asyncio.gather(*(replied(peer.call("Say", one)) for one in data)) == data


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
    await within(2, peer.server.cancelled.wait())


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
    await within(1, peer.server.cancelled.wait())


async def test_a_lost_connection_ends_the_handler_soon() -> None:
    async with running_own_server() as server:
        async with channel_to(server.address) as channel:
            hanging = asyncio.ensure_future(Peer(server, channel).call("Hang", b""))
            await server.started.wait()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        await within(1, server.cancelled.wait())


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
        assert await within(2, ended) == "ended"


async def test_who_waits_for_the_end_of_a_call_hears_of_it() -> None:
    heard: list[tuple[bool, bool]] = []

    async def say(request: bytes, context: Any) -> bytes:
        context.add_done_callback(lambda ended: heard.append((ended.done(), ended.cancelled())))
        return request

    async with running(further={"Told": unary(say)}) as peer:
        assert await peer.call("Told", b"x") == b"x"
        await peer.server.stop(1)
    assert heard == [(True, False)]


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
