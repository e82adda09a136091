"""Gaia's own gRPC server while its client changes what it allows: windows, frames, tables."""

import asyncio
import struct

import hpack
import pytest

from shared.http2 import frames
from shared.http2.codes import ErrorCode
from tests.support.http2_server import RawClient, message, raw_client, running_own_server, to


def windows(*values: int) -> bytes:
    """Return a SETTINGS frame that names the window of streams again and again."""
    pairs = b"".join(struct.pack(">HL", frames.INITIAL_WINDOW_SIZE, value) for value in values)
    return frames.frame(frames.SETTINGS, 0, 0, pairs)


async def taken(client: RawClient, stream: int, size: int) -> bytes:
    """Return so many bytes of a stream's data."""
    got = b""
    while len(got) < size:
        got += (await client.next(frames.DATA, stream=stream))[3]
    return got


async def test_a_window_that_shrinks_below_nothing_is_paid_back_before_more_is_sent() -> None:
    async with running_own_server() as server, raw_client(server, greets=False) as client:
        client.greet(windows(1000))
        client.ask(1, to("Count"), b"10 500")
        assert len(await taken(client, 1, 1000)) == 1000
        # 1000 were used, so that there are 1000 less than none.
        client.send(windows(0))
        client.send(frames.window_update(1, 1000))
        await client.settle()
        client.send(frames.window_update(1, 10))
        assert len((await client.next(frames.DATA, stream=1))[3]) == 10
        client.send(windows(5000))
        await taken(client, 1, 10 * 505 - 1010)
        assert (await client.next_fields(1))["grpc-status"] == "0"


async def test_no_window_at_all_lets_out_headers_and_what_is_empty() -> None:
    async with running_own_server() as server, raw_client(server, greets=False) as client:
        client.greet(windows(0))
        client.ask(1, to("Fail"), b"5 not here")
        assert (await client.next_fields(1))["grpc-message"] == "not here"
        client.ask(3)
        assert (await client.next_fields(3))[":status"] == "200"
        client.send(frames.window_update(3, 3))
        assert (await client.next(frames.DATA, stream=3))[3] == message(b"hi")[:3]
        client.send(frames.window_update(3, 100))
        assert (await client.answer(3))[1]["grpc-status"] == "0"


async def test_several_windows_in_one_frame_are_the_last_one() -> None:
    async with running_own_server() as server, raw_client(server, greets=False) as client:
        client.greet(windows(7, 1 << 20, 9))
        client.ask(1, to("Count"), b"1 100")
        assert len((await client.next(frames.DATA, stream=1))[3]) == 9


async def test_one_window_too_large_among_others_ends_the_connection() -> None:
    async with running_own_server() as server, raw_client(server) as client:
        client.send(windows(7, 1 << 31, 9))
        assert (await client.farewell())[1] == ErrorCode.FLOW_CONTROL_ERROR


async def test_frames_are_as_large_as_the_client_takes_from_then_on() -> None:
    async with running_own_server() as server, raw_client(server, greets=False) as client:
        client.greet(frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 20, frames.MAX_FRAME_SIZE: 20_000}))
        client.send(frames.window_update(0, 1 << 20))
        client.ask(1, to("Count"), b"1 50000")
        assert len((await client.next(frames.DATA, stream=1))[3]) == 20_000
        client.send(frames.settings({frames.MAX_FRAME_SIZE: 16_384}))
        await client.settle()
        client.ask(3, to("Count"), b"1 50000")
        assert len((await client.next(frames.DATA, stream=3))[3]) == 16_384


@pytest.mark.parametrize(
    ("begins_with", "drops"),
    [
        (0, windows(*([0, 4] * 5400))),
        (0, frames.window_update(0, 1) * 5000),
        (1 << 20, frames.window_update(0, 1) * 5000),
    ],
    ids=["windows in one frame", "the connection's, where the streams' are closed", "the connection's"],
)
async def test_a_client_that_opens_its_windows_by_drops_holds_up_nobody(begins_with: int, drops: bytes) -> None:
    """Each drop once had all calls looked at that waited: 60 KB stopped the server for 2 to 8 seconds."""
    async with running_own_server() as server, raw_client(server, greets=False) as client:
        client.greet(windows(begins_with))
        for stream in range(1, 2600, 2):
            client.ask(stream, to("Count"), b"1 1000")
        await client.settle()
        client.send(drops)
        async with asyncio.timeout(1.0), raw_client(server) as other:
            # The server has begun to read the drops before it hears of these.
            await other.settle()
            other.ask(1)
            await other.answer(1)
            await client.settle()


async def test_windows_that_change_all_the_time_for_many_calls_end_the_connection() -> None:
    async with running_own_server() as server, raw_client(server, greets=False) as client:
        client.greet(windows(0))
        for stream in range(1, 2600, 2):
            client.ask(stream, to("Count"), b"1 1000")
        await client.settle()
        client.send(*(windows(number % 2) for number in range(100)))
        assert (await client.farewell())[1] == ErrorCode.ENHANCE_YOUR_CALM


@pytest.mark.parametrize(
    ("fields", "status"), [(to("Say"), "200"), (to("Nothing"), "200"), (to("Fail"), "200"), (to("Say")[:4], "415")]
)
async def test_a_client_that_allows_no_table_is_told_that_none_is_used(
    fields: tuple[tuple[str, str], ...], status: str
) -> None:
    """RFC 7541, section 4.2: without it, decoders that keep to the letter end the connection."""
    strict = hpack.Decoder()
    strict.max_allowed_table_size = 0
    async with running_own_server() as server, raw_client(server, greets=False) as client:
        client.greet(frames.settings({frames.HEADER_TABLE_SIZE: 0}))
        client.ask(1, fields, b"5 x")
        first = (await client.next(frames.HEADERS, stream=1))[3]
        assert {str(name): str(value) for name, value in strict.decode(first)}[":status"] == status
