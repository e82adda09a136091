"""The HTTP/2 channel and servers that change what they allow, leave, and come back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import hpack
import pytest

from edge.transcoding.transport.channel import Call, Channel
from edge.transcoding.transport.http2.channel import ChannelOptions, Http2Channel
from edge.transcoding.transport.http2.target import parse_target
from shared.http2 import frames
from shared.http2.codes import ErrorCode
from tests.support.raw_http2 import Behaviour, RawConnection, running_raw_http2
from tests.support.transports import channel_to


def say(channel: Channel, request: bytes = b"x", seconds: float = 10) -> Call:
    return channel.method("/test.v1.Echo/Say", client_streaming=False, server_streaming=False)(
        request, timeout=seconds, metadata=()
    )


@asynccontextmanager
async def in_turns(behave: Behaviour) -> AsyncIterator[tuple[Http2Channel, Callable[[], int]]]:
    """Give a channel that keeps two connections, and how often it has dialled."""
    dials = 0

    async def counted(connection: RawConnection) -> None:
        nonlocal dials
        dials += 1
        await behave(connection)

    async with running_raw_http2(counted) as first, running_raw_http2(counted) as second:
        target = parse_target(f"ipv4:{first},{second}")
        assert target is not None
        async with Http2Channel(target, ChannelOptions(round_robin=True)) as channel:
            yield channel, lambda: dials


async def closes(connection: RawConnection) -> None:
    await asyncio.sleep(0.001)
    connection.close()


async def leaves(connection: RawConnection) -> None:
    await asyncio.sleep(0.001)
    connection.send(frames.goaway(ErrorCode.NO_ERROR))
    await connection.until_closed()


@pytest.mark.parametrize("behave", [closes, leaves])
async def test_servers_that_keep_no_connection_are_dialled_less_and_less(behave: Behaviour) -> None:
    """They once were dialled some thousand times a second, with no call to be made."""
    async with in_turns(behave) as (channel, dials):
        with pytest.raises(grpc.aio.AioRpcError):
            await say(channel, seconds=0.2)
        await asyncio.sleep(0.5)
        assert 2 <= dials() <= 20


async def test_connections_that_were_of_use_are_replaced_at_once() -> None:
    async def once(connection: RawConnection) -> None:
        connection.answer(await connection.next_call())
        connection.send(frames.goaway(ErrorCode.NO_ERROR))
        await connection.until_closed()

    async with in_turns(once) as (channel, dials):
        async with asyncio.timeout(2):
            for _ in range(50):
                assert await say(channel) == b"ok"
        assert dials() >= 50


async def test_a_storm_of_goaways_loses_no_call_that_was_not_taken() -> None:
    """A server that takes two calls of what comes, and gives the others back."""

    async def two(connection: RawConnection) -> None:
        first, second = await connection.next_call(), await connection.next_call()
        connection.send(*[frames.goaway(ErrorCode.NO_ERROR, "", second)] * 50)
        connection.answer(second)
        connection.answer(first)
        await connection.until_closed()

    async with running_raw_http2(two) as address, channel_to(address) as channel:
        assert await asyncio.gather(*(say(channel) for _ in range(8))) == [b"ok"] * 8


async def test_calls_go_one_by_one_where_the_server_takes_one_and_none_where_it_takes_none() -> None:
    most = frames.MAX_CONCURRENT_STREAMS
    at_once = 0

    async def one(connection: RawConnection) -> None:
        nonlocal at_once
        for number in range(10):
            stream = await connection.next_call()
            connection.send(frames.frame(frames.PING, 0, 0, bytes(8)))
            # All that was sent before the answer to the ping is here; there is no second call among it.
            await connection.next(frames.PING)
            at_once = max(at_once, len([one for one in connection.got if one[0] == frames.HEADERS]) + 1)
            if number == 4:
                connection.send(frames.settings({most: 0}))
            connection.answer(stream)
            if number == 4:
                await asyncio.sleep(0.05)
                assert not [one for one in connection.got if one[0] == frames.HEADERS]
                connection.send(frames.settings({most: 1}))
        await connection.until_closed()

    async with running_raw_http2(one, frames.settings({most: 1})) as address, channel_to(address) as channel:
        assert await asyncio.gather(*(say(channel) for _ in range(10))) == [b"ok"] * 10
    assert at_once == 1


async def test_a_server_that_opens_its_window_by_drops_holds_up_nobody() -> None:
    """Each drop once had all calls looked at that waited."""
    count = 800
    dripping = asyncio.Event()

    async def drip(connection: RawConnection) -> None:
        for _ in range(count):
            await connection.next_call()
        connection.send(frames.window_update(0, 1) * 5000)
        dripping.set()
        await connection.until_closed()

    async def answer(connection: RawConnection) -> None:
        connection.answer(await connection.next_call())
        await connection.until_closed()

    wide = frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 20})
    async with (
        running_raw_http2(drip, wide) as address,
        running_raw_http2(answer) as other,
        channel_to(address) as channel,
        channel_to(other) as fine,
    ):
        calls = [say(channel, bytes(1000)) for _ in range(count)]
        await dripping.wait()
        async with asyncio.timeout(0.7):
            assert await say(fine) == b"ok"
        for call in calls:
            call.cancel()


@pytest.mark.parametrize("later", [False, True])
async def test_a_server_that_allows_no_table_is_told_that_none_is_used(later: bool) -> None:
    """RFC 7541, section 4.2: without it, decoders that keep to the letter end the connection."""
    none = frames.settings({frames.HEADER_TABLE_SIZE: 0})

    async def strict(connection: RawConnection) -> None:
        decoder = hpack.Decoder()
        for number in range(3):
            *_, stream, block = await connection.next(frames.HEADERS)
            if number or not later:
                decoder.max_allowed_table_size = 0
            assert {str(name): str(value) for name, value in decoder.decode(block)}[":path"] == "/test.v1.Echo/Say"
            if later and not number:
                connection.send(none)
            connection.answer(stream)
        await connection.until_closed()

    first = frames.settings({}) if later else none
    async with running_raw_http2(strict, first) as address, channel_to(address) as channel:
        for _ in range(3):
            assert await say(channel, seconds=2) == b"ok"
