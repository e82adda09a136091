"""The HTTP/2 channel against servers that break its rules: calls end clearly and soon, and memory is bounded."""

import asyncio
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import grpc
import pytest

from edge.transcoding.transport.channel import Channel
from shared.http2 import frames
from shared.http2.codes import ErrorCode
from tests.support.raw_http2 import DONE, OK, REPLY, RawConnection, block, data, headers, running_raw_http2
from tests.support.transports import channel_to

STATUS = grpc.StatusCode
END = frames.END_HEADERS


def number(value: int) -> bytes:
    return struct.pack(">L", value)


BREAKS: dict[str, bytes] = {
    "a frame larger than allowed": frames.frame(frames.DATA, 0, 1, bytes(70_000)),
    "no HTTP/2 at all": b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n",
    "data of no stream": data(0, b"x"),
    "data of a stream that was never begun": data(9, b"x"),
    "headers of a stream of its own": headers(2, OK),
    "a push": frames.frame(frames.PUSH_PROMISE, END, 1, number(2) + block(OK)),
    "a header block that is none": frames.frame(frames.HEADERS, END, 1, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
    "an index into a table that is empty": frames.frame(frames.HEADERS, END, 1, b"\xc0"),
    "a table larger than allowed": frames.frame(frames.HEADERS, END, 1, b"\x3f\xe1\x1f\x88"),
    "a continuation of nothing": frames.frame(frames.CONTINUATION, END, 1, block(OK)),
    "a frame inside of a header block": headers(1, OK, flags=0) + data(1, b"x"),
    "a continuation of another stream": headers(1, OK, flags=0) + frames.frame(frames.CONTINUATION, END, 3, b""),
    "more padding than payload": frames.frame(frames.DATA, frames.PADDED, 1, b"\xffxx"),
    "padding without its length": frames.frame(frames.HEADERS, END | frames.PADDED, 1, b""),
    "priority that is cut": frames.frame(frames.HEADERS, END | frames.HAS_PRIORITY, 1, b"\0\0"),
    "settings of a stream": frames.frame(frames.SETTINGS, 0, 1, b""),
    "settings that are cut": frames.frame(frames.SETTINGS, 0, 0, b"\0\1\0"),
    "a frame size that is too small": frames.settings({frames.MAX_FRAME_SIZE: 100}),
    "a window that is too large": frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 31}),
    "a ping of 3 bytes": frames.frame(frames.PING, 0, 0, b"abc"),
    "a ping of a stream": frames.frame(frames.PING, 0, 1, bytes(8)),
    "a goaway that is cut": frames.frame(frames.GOAWAY, 0, 0, b"\0\0"),
    "a reset that is cut": frames.frame(frames.RST_STREAM, 0, 1, b"\0"),
    "a reset of no stream": frames.frame(frames.RST_STREAM, 0, 0, number(8)),
    "a window update that is cut": frames.frame(frames.WINDOW_UPDATE, 0, 1, b"\0"),
    "a window that grows by nothing": frames.window_update(0, 0),
    "a window beyond what there is": frames.window_update(0, frames.MAX_WINDOW),
}
"""What ends the connection, and with it the call with UNAVAILABLE."""

ENDS: dict[str, tuple[bytes, grpc.StatusCode]] = {
    "data before headers": (data(1, REPLY), STATUS.INTERNAL),
    "headers in the middle": (headers(1, OK) * 2, STATUS.INTERNAL),
    "no status": (headers(1, OK) + data(1, REPLY, last=True), STATUS.UNKNOWN),
    "a status that is no number": (headers(1, (*OK, ("grpc-status", "one")), last=True), STATUS.UNKNOWN),
    "a status that is not known": (headers(1, (*OK, ("grpc-status", "99")), last=True), STATUS.UNKNOWN),
    "a status of a thousand digits": (headers(1, (*OK, ("grpc-status", "9" * 1000)), last=True), STATUS.UNKNOWN),
    "no reply": (headers(1, (*OK, *DONE), last=True), STATUS.INTERNAL),
    "two replies": (headers(1, OK) + data(1, REPLY * 2) + headers(1, DONE, last=True), STATUS.INTERNAL),
    "a reply that is cut": (headers(1, OK) + data(1, REPLY[:-1]) + headers(1, DONE, last=True), STATUS.INTERNAL),
    "a flag that is unknown": (headers(1, OK) + data(1, b"\7" + REPLY[1:]), STATUS.INTERNAL),
    "compressed without a coding": (headers(1, OK) + data(1, b"\1" + REPLY[1:]), STATUS.INTERNAL),
    "a coding that is unknown": (headers(1, (*OK, ("grpc-encoding", "br"))), STATUS.INTERNAL),
    "what does not decompress": (
        headers(1, (*OK, ("grpc-encoding", "gzip"))) + data(1, b"\1" + REPLY[1:]),
        STATUS.INTERNAL,
    ),
    "a message of 4 GiB": (headers(1, OK) + data(1, b"\0\xff\xff\xff\xff"), STATUS.RESOURCE_EXHAUSTED),
    "metadata beyond the limit": (
        headers(1, (*OK, *((f"x-{n}", "0" * 1000) for n in range(40)))),
        STATUS.RESOURCE_EXHAUSTED,
    ),
    "a window of the stream that grows by nothing": (frames.window_update(1, 0), STATUS.INTERNAL),
    "a window of the stream beyond what there is": (frames.window_update(1, frames.MAX_WINDOW), STATUS.INTERNAL),
    "an interim answer at the end": (headers(1, ((":status", "103"),), last=True), STATUS.INTERNAL),
    "text": (headers(1, ((":status", "200"), ("content-type", "text/html"))), STATUS.UNKNOWN),
    "reset: cancel": (frames.rst_stream(1, ErrorCode.CANCEL), STATUS.CANCELLED),
    "reset: internal": (frames.rst_stream(1, ErrorCode.INTERNAL_ERROR), STATUS.INTERNAL),
    "reset: calm": (frames.rst_stream(1, ErrorCode.ENHANCE_YOUR_CALM), STATUS.RESOURCE_EXHAUSTED),
    "reset: security": (frames.rst_stream(1, ErrorCode.INADEQUATE_SECURITY), STATUS.PERMISSION_DENIED),
    "reset: unknown": (frames.frame(frames.RST_STREAM, 0, 1, number(0xFFFF)), STATUS.INTERNAL),
    **{
        f"HTTP {status}": (headers(1, ((":status", str(status)), ("content-type", "text/html")), last=True), code)
        for status, code in (
            (400, STATUS.INTERNAL),
            (401, STATUS.UNAUTHENTICATED),
            (403, STATUS.PERMISSION_DENIED),
            (404, STATUS.UNIMPLEMENTED),
            (429, STATUS.UNAVAILABLE),
            (500, STATUS.UNKNOWN),
            (502, STATUS.UNAVAILABLE),
            (503, STATUS.UNAVAILABLE),
            (504, STATUS.UNAVAILABLE),
        )
    },
}
"""What ends the call alone, and with which status."""

FLOODS: dict[str, Callable[[], bytes]] = {
    "settings": lambda: frames.settings({frames.MAX_CONCURRENT_STREAMS: 100}) * 100,
    "pings": lambda: frames.frame(frames.PING, 0, 0, bytes(8)) * 100,
    "priorities": lambda: frames.frame(frames.PRIORITY, 0, 1, bytes(5)) * 100,
    "frames that are unknown": lambda: frames.frame(0x77, 0, 0, b"x") * 100,
    "empty data": lambda: data(1, b"") * 100,
    "continuations": lambda: frames.frame(frames.CONTINUATION, 0, 1, b"\x00\x01a\x01b" * 100),
    "empty continuations": lambda: frames.frame(frames.CONTINUATION, 0, 1, b"") * 100,
    "data beyond the window": lambda: data(1, bytes(16_000)),
}
BEFORE = {"empty data": headers(1, OK), "data beyond the window": headers(1, OK)}
BEFORE |= dict.fromkeys(("continuations", "empty continuations"), headers(1, OK, flags=0))


async def ask(channel: Channel, *, streams: bool = False) -> Any:
    method = channel.method("/test.v1.Echo/Say", client_streaming=False, server_streaming=streams)
    async with asyncio.timeout(10):
        return await method(b"", timeout=8, metadata=())


async def error_of(channel: Channel) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(channel)
    return caught.value


@pytest.mark.parametrize("attack", BREAKS.values(), ids=BREAKS)
async def test_what_breaks_the_rules_ends_the_connection(attack: bytes) -> None:
    closed = asyncio.Event()

    async def behave(connection: RawConnection) -> None:
        await connection.next_call()
        connection.send(attack)
        await connection.until_closed()
        closed.set()

    async with running_raw_http2(behave) as address, channel_to(address) as channel:
        error = await error_of(channel)
        assert error.code() is STATUS.UNAVAILABLE
        assert "the server sent" in (error.details() or "")
        async with asyncio.timeout(5):
            await closed.wait()


@pytest.mark.parametrize(("attack", "status"), ENDS.values(), ids=ENDS)
async def test_what_is_wrong_with_an_answer_ends_the_call(attack: bytes, status: grpc.StatusCode) -> None:
    async def behave(connection: RawConnection) -> None:
        await connection.next_call()
        connection.send(attack)
        if status is not STATUS.UNAVAILABLE:
            connection.answer(await connection.next_call())
        await connection.until_closed()

    async with running_raw_http2(behave) as address, channel_to(address) as channel:
        error = await error_of(channel)
        assert (error.code(), bool(error.details())) == (status, True)
        if status is not STATUS.UNAVAILABLE:
            assert await ask(channel) == b"ok"


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_flood_ends_the_call_and_the_connection(flood: str) -> None:
    sent = 0

    async def behave(connection: RawConnection) -> None:
        nonlocal sent
        await connection.next_call()
        connection.send(BEFORE.get(flood, b""))
        reading = asyncio.ensure_future(connection.until_closed())
        while not reading.done():
            connection.send(FLOODS[flood]())
            sent += 1
            with suppress(ConnectionError):
                await asyncio.wait([reading], timeout=0.001)

    async with running_raw_http2(behave) as address, channel_to(address) as channel:
        method = channel.method("/test.v1.Echo/Say", client_streaming=False, server_streaming=True)
        call = method(b"", timeout=8, metadata=())
        if flood == "data beyond the window":
            # Nobody reads, so that no more may come than the window holds.
            await call.initial_metadata()
            async with asyncio.timeout(5):
                await call.trailing_metadata()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _read_all(call)
        expected = STATUS.INTERNAL if flood == "data beyond the window" else STATUS.UNAVAILABLE
        assert caught.value.code() is expected
    assert sent < 2000


async def test_a_server_that_says_nothing_is_given_up_at_the_deadline() -> None:
    async def behave(connection: RawConnection) -> None:
        await connection.until_closed()

    async with running_raw_http2(behave, settings=b"") as address, channel_to(address) as channel:
        method = channel.method("/test.v1.Echo/Say", client_streaming=False, server_streaming=False)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(b"", timeout=0.1, metadata=())
        assert caught.value.code() is STATUS.DEADLINE_EXCEEDED


async def test_a_server_of_another_kind_is_named_as_one() -> None:
    async def behave(connection: RawConnection) -> None:
        await connection.until_closed()

    hello = b"SSH-2.0-OpenSSH_9.9\r\n"
    async with running_raw_http2(behave, settings=hello) as address, channel_to(address) as channel:
        error = await error_of(channel)
        assert error.code() is STATUS.UNAVAILABLE
        assert "does not speak HTTP/2" in (error.details() or "")


async def test_padding_priority_and_what_is_unknown_change_nothing() -> None:
    async def behave(connection: RawConnection) -> None:
        stream = await connection.next_call()
        connection.send(
            frames.frame(frames.PRIORITY, 0, stream, bytes(5)),
            frames.frame(0x77, 0xFF, stream, b"?"),
            headers(stream, ((":status", "103"), ("link", "</x>"))),
            frames.frame(
                frames.HEADERS,
                END | frames.PADDED | frames.HAS_PRIORITY,
                stream,
                b"\3" + bytes(5) + block((*OK, ("x-a", "b"))) + bytes(3),
            ),
            frames.frame(frames.DATA, frames.PADDED, stream, b"\5" + REPLY[:6] + bytes(5)),
            data(stream, REPLY[6:]),
        )
        trailers = block((*DONE, ("x-c", "d")))
        connection.send(
            frames.frame(frames.HEADERS, frames.END_STREAM, stream, trailers[:3]),
            frames.frame(frames.CONTINUATION, 0, stream, trailers[3:5]),
            frames.frame(frames.CONTINUATION, END, stream, trailers[5:]),
        )
        await connection.until_closed()

    async with running_raw_http2(behave) as address, channel_to(address) as channel:
        method = channel.method("/test.v1.Echo/Say", client_streaming=False, server_streaming=False)
        call = method(b"", timeout=8, metadata=())
        assert await call == b"ok"
        assert list(await call.initial_metadata()) == [("x-a", "b")]
        assert list(await call.trailing_metadata()) == [("x-c", "d")]


async def test_an_answer_that_comes_byte_by_byte_is_an_answer() -> None:
    async def behave(connection: RawConnection) -> None:
        stream = await connection.next_call()
        for byte in headers(stream, OK) + data(stream, REPLY) + headers(stream, DONE, last=True):
            connection.send(bytes([byte]))
            await asyncio.sleep(0)
        await connection.until_closed()

    async with running_raw_http2(behave) as address, channel_to(address) as channel:
        assert await ask(channel) == b"ok"


async def _read_all(call: Any) -> None:
    async with asyncio.timeout(8):
        async for _ in call:
            pass
