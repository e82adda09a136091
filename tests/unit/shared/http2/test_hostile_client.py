"""Gaia's own gRPC server against clients that break the rules, or ask for more than their share."""

import asyncio
import itertools
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
import hpack
import pytest

from shared.http2 import frames
from shared.http2.codes import ErrorCode
from shared.http2.server import connection as limits
from tests.support.http2_server import (
    REQUEST,
    OwnEchoServer,
    message,
    raw_client,
    request,
    running_own_server,
    to,
)
from tests.support.raw_http2 import block, data, headers
from tests.support.transports import channel_to

END = frames.END_HEADERS
STATUS = {status.name: str(status.value[0]) for status in grpc.StatusCode}


def number(value: int) -> bytes:
    return struct.pack(">L", value)


BREAKS: dict[str, tuple[bytes, ErrorCode]] = {
    "a frame larger than allowed": (frames.frame(frames.DATA, 0, 1, bytes(70_000)), ErrorCode.FRAME_SIZE_ERROR),
    "data of no stream": (data(0, b"x"), ErrorCode.PROTOCOL_ERROR),
    "data of a stream that was never begun": (data(9, b"x"), ErrorCode.PROTOCOL_ERROR),
    "a request on a stream of the server's": (headers(2, REQUEST), ErrorCode.PROTOCOL_ERROR),
    "a push": (frames.frame(frames.PUSH_PROMISE, END, 1, number(2) + block(REQUEST)), ErrorCode.PROTOCOL_ERROR),
    "a block that is none": (frames.frame(frames.HEADERS, END, 1, b"\xff" * 9), ErrorCode.COMPRESSION_ERROR),
    "an index that is not there": (frames.frame(frames.HEADERS, END, 1, b"\xfe"), ErrorCode.COMPRESSION_ERROR),
    "a string that is cut": (frames.frame(frames.HEADERS, END, 1, b"\x04\x0a/"), ErrorCode.COMPRESSION_ERROR),
    "a continuation of nothing": (frames.frame(frames.CONTINUATION, END, 1, b""), ErrorCode.PROTOCOL_ERROR),
    "a frame inside of a block": (headers(1, REQUEST, flags=0) + data(1, b"x"), ErrorCode.PROTOCOL_ERROR),
    "more padding than payload": (
        headers(1, REQUEST) + frames.frame(frames.DATA, frames.PADDED, 1, b"\xffxx"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "settings of a stream": (frames.frame(frames.SETTINGS, 0, 1, b""), ErrorCode.PROTOCOL_ERROR),
    "settings that are cut": (frames.frame(frames.SETTINGS, 0, 0, b"\0\1\0"), ErrorCode.FRAME_SIZE_ERROR),
    "settings in an answer to settings": (
        frames.frame(frames.SETTINGS, frames.ACK, 0, bytes(6)),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "a frame size that is too small": (frames.settings({frames.MAX_FRAME_SIZE: 100}), ErrorCode.PROTOCOL_ERROR),
    "a window that is too large": (
        frames.settings({frames.INITIAL_WINDOW_SIZE: 1 << 31}),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "a ping of 3 bytes": (frames.frame(frames.PING, 0, 0, b"abc"), ErrorCode.FRAME_SIZE_ERROR),
    "a ping of a stream": (frames.frame(frames.PING, 0, 1, bytes(8)), ErrorCode.PROTOCOL_ERROR),
    "a goaway that is cut": (frames.frame(frames.GOAWAY, 0, 0, b"\0\0"), ErrorCode.FRAME_SIZE_ERROR),
    "a reset that is cut": (frames.frame(frames.RST_STREAM, 0, 1, b"\0"), ErrorCode.FRAME_SIZE_ERROR),
    "a reset of what was never begun": (frames.rst_stream(9, ErrorCode.CANCEL), ErrorCode.PROTOCOL_ERROR),
    "a window that grows by nothing": (frames.window_update(0, 0), ErrorCode.PROTOCOL_ERROR),
    "a window beyond what there is": (frames.window_update(0, frames.MAX_WINDOW), ErrorCode.FLOW_CONTROL_ERROR),
    "a window that is cut": (frames.frame(frames.WINDOW_UPDATE, 0, 0, b"\0"), ErrorCode.FRAME_SIZE_ERROR),
    "a window of what was never begun": (frames.window_update(9, 1), ErrorCode.PROTOCOL_ERROR),
    "a window of a stream of the server's": (frames.window_update(2, 1), ErrorCode.PROTOCOL_ERROR),
    "a request of no stream": (headers(0, REQUEST), ErrorCode.PROTOCOL_ERROR),
    "a request on an earlier stream": (headers(5, to("Hang")) + headers(3, REQUEST), ErrorCode.PROTOCOL_ERROR),
    "a second request on a stream that has ended": (
        headers(1, REQUEST[:4], last=True) + headers(1, REQUEST),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a priority of no stream": (frames.frame(frames.PRIORITY, 0, 0, bytes(5)), ErrorCode.PROTOCOL_ERROR),
    "padding without its length": (
        frames.frame(frames.HEADERS, END | frames.PADDED, 1, b""),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "priority that is cut": (
        frames.frame(frames.HEADERS, END | frames.HAS_PRIORITY, 1, b"\0\0"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a continuation of another stream": (
        headers(1, REQUEST, flags=0) + frames.frame(frames.CONTINUATION, END, 3, b""),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a second request inside of a block": (
        headers(1, REQUEST, flags=0) + headers(3, REQUEST),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "what is unknown inside of a block": (
        headers(1, REQUEST, flags=0) + frames.frame(0x77, 0, 1, b"x"),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a frame size that is too large": (frames.settings({frames.MAX_FRAME_SIZE: 1 << 24}), ErrorCode.PROTOCOL_ERROR),
    "pushes that are neither on nor off": (frames.settings({frames.ENABLE_PUSH: 2}), ErrorCode.PROTOCOL_ERROR),
    "a table larger than allowed": (
        frames.frame(frames.HEADERS, END, 1, b"\x3f\xe2\x1f" + block(REQUEST)),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "a table's size in the middle of a block": (
        frames.frame(frames.HEADERS, END, 1, block(REQUEST)[1:] + b"\x20"),
        ErrorCode.COMPRESSION_ERROR,
    ),
    "an index of nothing": (frames.frame(frames.HEADERS, END, 1, b"\x80"), ErrorCode.COMPRESSION_ERROR),
    "a block that a table makes large": (
        frames.frame(frames.HEADERS, END, 1, b"\x40\x01a\x7f\xa1\x1e" + bytes(4000) + b"\xbe" * 1000),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
}
"""What ends the connection, and with which code."""

RESETS: dict[str, tuple[bytes, ErrorCode]] = {
    "no path": (headers(1, REQUEST[:2] + REQUEST[3:]), ErrorCode.PROTOCOL_ERROR),
    "two paths": (headers(1, (*REQUEST[:3], *REQUEST[2:])), ErrorCode.PROTOCOL_ERROR),
    "a name in capitals": (headers(1, request(("X-Loud", "1"))), ErrorCode.PROTOCOL_ERROR),
    "a header of HTTP/1": (headers(1, request(("connection", "close"))), ErrorCode.PROTOCOL_ERROR),
    "a line break in a value": (headers(1, request(("x-a", "b\r\nc: d"))), ErrorCode.PROTOCOL_ERROR),
    "an empty path": (headers(1, request(path="")), ErrorCode.PROTOCOL_ERROR),
    "no scheme": (headers(1, REQUEST[:1] + REQUEST[2:]), ErrorCode.PROTOCOL_ERROR),
    "no method": (headers(1, REQUEST[1:]), ErrorCode.PROTOCOL_ERROR),
    "a pseudo-header of answers": (headers(1, ((":status", "200"), *REQUEST)), ErrorCode.PROTOCOL_ERROR),
    "a pseudo-header that is unknown": (headers(1, ((":x", "1"), *REQUEST)), ErrorCode.PROTOCOL_ERROR),
    "a pseudo-header behind the others": (headers(1, (*REQUEST[1:], REQUEST[0])), ErrorCode.PROTOCOL_ERROR),
    "a pseudo-header behind metadata": (headers(1, (("x-a", "1"), *REQUEST)), ErrorCode.PROTOCOL_ERROR),
    "transfer codings": (headers(1, (*REQUEST[:5], ("te", "trailers, gzip"))), ErrorCode.PROTOCOL_ERROR),
    "trailers that are a request": (
        headers(1, to("Hang")) + headers(1, REQUEST, last=True),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a request twice": (headers(1, to("Hang"), last=True) + headers(1, REQUEST, last=True), ErrorCode.STREAM_CLOSED),
    "thousands of values in one header": (
        headers(1, request(("x-a-bin", "," * 20_000))),
        ErrorCode.ENHANCE_YOUR_CALM,
    ),
    "a priority of 4 bytes": (
        headers(1, to("Hang")) + frames.frame(frames.PRIORITY, 0, 1, bytes(4)),
        ErrorCode.FRAME_SIZE_ERROR,
    ),
    "data beyond the window": (
        headers(1, to("Deaf")) + data(1, bytes(16_000)) * 20,
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
    "data after the end": (headers(1, to("Hang")) + data(1, message(b""), last=True) * 2, ErrorCode.STREAM_CLOSED),
    "trailers that do not end it": (headers(1, to("Hang")) + headers(1, (("x-a", "b"),)), ErrorCode.PROTOCOL_ERROR),
    "a window of the stream that grows by nothing": (
        headers(1, to("Hang")) + frames.window_update(1, 0),
        ErrorCode.PROTOCOL_ERROR,
    ),
    "a window of the stream beyond what there is": (
        headers(1, to("Hang")) + frames.window_update(1, frames.MAX_WINDOW),
        ErrorCode.FLOW_CONTROL_ERROR,
    ),
}
"""What ends the stream alone, and with which code."""

REFUSED: dict[str, tuple[bytes, str]] = {
    "no message": (headers(1, REQUEST, last=True), "UNIMPLEMENTED"),
    "two messages": (headers(1, REQUEST) + data(1, message(b"a") * 2, last=True), "UNIMPLEMENTED"),
    "a message that is cut": (headers(1, REQUEST) + data(1, message(b"abc")[:-1], last=True), "INTERNAL"),
    "a flag that is unknown": (headers(1, REQUEST) + data(1, b"\7\0\0\0\0", last=True), "INTERNAL"),
    "compressed without a coding": (headers(1, REQUEST) + data(1, b"\1\0\0\0\1x", last=True), "INTERNAL"),
    "a coding that is unknown": (headers(1, request(("grpc-encoding", "br"))), "UNIMPLEMENTED"),
    "what does not decompress": (
        headers(1, request(("grpc-encoding", "gzip"))) + data(1, b"\1\0\0\0\1x", last=True),
        "INTERNAL",
    ),
    "a message of 4 GiB": (headers(1, REQUEST) + data(1, b"\0\xff\xff\xff\xff"), "RESOURCE_EXHAUSTED"),
    "metadata beyond the limit": (
        headers(1, request(*((f"x-{n}", "0" * 1000) for n in range(40)))),
        "RESOURCE_EXHAUSTED",
    ),
    "a deadline that is none": (headers(1, request(("grpc-timeout", "soon"))), "INTERNAL"),
    "a deadline of 9 digits": (headers(1, request(("grpc-timeout", "123456789S"))), "INTERNAL"),
    "a deadline that has passed": (headers(1, to("Hang", ("grpc-timeout", "1n"))), "DEADLINE_EXCEEDED"),
    "a method that is not there": (headers(1, to("Nothing"), last=True), "UNIMPLEMENTED"),
    "a path that is none": (headers(1, request(path="*"), last=True), "UNIMPLEMENTED"),
}
"""What ends the call with a status."""

FLOODS: dict[str, tuple[bytes, bytes]] = {
    "settings": (b"", frames.settings({})),
    "pings": (b"", frames.frame(frames.PING, 0, 0, bytes(8))),
    "answers to pings": (b"", frames.frame(frames.PING, frames.ACK, 0, bytes(8))),
    "priorities": (b"", frames.frame(frames.PRIORITY, 0, 1, bytes(5))),
    "frames that are unknown": (b"", frames.frame(0x77, 0, 0, b"x")),
    "empty data": (headers(1, to("Join")), data(1, b"")),
    "continuations": (headers(1, REQUEST, flags=0), frames.frame(frames.CONTINUATION, 0, 1, b"\x00\x01a\x01b" * 100)),
    "empty continuations": (headers(1, REQUEST, flags=0), frames.frame(frames.CONTINUATION, 0, 1, b"")),
    "goaways": (b"", frames.goaway(ErrorCode.NO_ERROR)),
}


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[OwnEchoServer]:
    async with running_own_server() as running:
        yield running


@pytest.mark.parametrize(("attack", "code"), BREAKS.values(), ids=BREAKS)
async def test_what_breaks_the_rules_ends_the_connection(server: OwnEchoServer, attack: bytes, code: ErrorCode) -> None:
    async with raw_client(server) as client:
        client.send(attack)
        assert (await client.farewell())[1] == code
        await client.until_closed()


@pytest.mark.parametrize(
    "greeting", [b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", frames.PREFACE + data(1, b""), b"PRI * HTTP/3"]
)
async def test_who_does_not_speak_the_language_is_sent_away(server: OwnEchoServer, greeting: bytes) -> None:
    async with raw_client(server, greets=False) as client:
        client.send(greeting)
        await client.until_closed()


@pytest.mark.parametrize(("attack", "code"), RESETS.values(), ids=RESETS)
async def test_what_is_no_request_ends_the_stream_alone(server: OwnEchoServer, attack: bytes, code: ErrorCode) -> None:
    async with raw_client(server) as client:
        client.send(attack)
        kind, _, stream, payload = await client.next(frames.RST_STREAM, frames.GOAWAY)
        assert (kind, stream, frames.read_number(payload, "")) == (frames.RST_STREAM, 1, code)
        client.ask(3)
        assert (await client.answer(3))[1] == {"grpc-status": "0"}


@pytest.mark.parametrize(("attack", "status"), REFUSED.values(), ids=REFUSED)
async def test_what_cannot_be_carried_out_is_answered(server: OwnEchoServer, attack: bytes, status: str) -> None:
    async with raw_client(server) as client:
        client.send(attack)
        _, fields = await client.answer(1)
        assert fields[":status"] == "200"
        assert fields["grpc-status"] == STATUS[status]
        assert fields["grpc-message"]
        client.ask(3)
        assert (await client.answer(3))[1] == {"grpc-status": "0"}


async def test_what_is_not_grpc_is_told_so_in_http(server: OwnEchoServer) -> None:
    async with raw_client(server) as client:
        fields = [(name, "text/html" if name == "content-type" else value) for name, value in REQUEST]
        client.send(headers(1, tuple(fields), last=True), headers(3, request(method="GET"), last=True))
        assert (await client.next_fields(1))[":status"] == "415"
        assert (await client.next_fields(3))[":status"] == "405"
        client.ask(5, [*REQUEST[:4], ("content-type", "application/grpc+proto"), *REQUEST[5:]])
        assert (await client.answer(5))[1]["grpc-status"] == "0"


@pytest.mark.parametrize("flood", FLOODS)
async def test_a_flood_ends_the_connection(server: OwnEchoServer, flood: str) -> None:
    before, drop = FLOODS[flood]
    async with raw_client(server) as client:
        client.send(before, drop * 1_100)
        with suppress(ConnectionError):
            assert (await client.farewell())[1] == ErrorCode.ENHANCE_YOUR_CALM
        await client.until_closed()


async def test_requests_that_are_taken_back_at_once_end_the_connection() -> None:
    async with running_own_server(max_concurrent_calls=100) as server, raw_client(server) as client:
        for stream in range(1, 2400, 2):
            client.send(headers(stream, to("Hang")), frames.rst_stream(stream, ErrorCode.CANCEL))
        with suppress(ConnectionError):
            assert (await client.farewell())[1] == ErrorCode.ENHANCE_YOUR_CALM
        await client.until_closed()


async def test_what_was_taken_back_runs_no_longer(server: OwnEchoServer) -> None:
    server.started.clear()
    server.cancelled.clear()
    async with raw_client(server) as client:
        client.ask(1, to("Hang"))
        async with asyncio.timeout(5):
            await server.started.wait()
            client.send(frames.rst_stream(1, ErrorCode.CANCEL))
            await server.cancelled.wait()


async def test_more_streams_than_allowed_are_refused() -> None:
    async with running_own_server(max_concurrent_calls=1) as server, raw_client(server) as client:
        most = dict(frames.read_settings((await client.next(frames.SETTINGS))[3]))[frames.MAX_CONCURRENT_STREAMS]
        assert most == 100
        # Calls beyond the limit of calls are answered at once, and are no open streams.
        hanging = block(to("Hang"))
        for stream in range(1, 601, 2):
            client.send(frames.frame(frames.HEADERS, END, stream, hanging))
        assert (await client.answer(599))[1]["grpc-status"] == STATUS["RESOURCE_EXHAUSTED"]
        server.server.max_streams = 1
        client.send(frames.frame(frames.HEADERS, END, 601, hanging))
        refused = await client.next(frames.RST_STREAM, stream=601)
        assert frames.read_number(refused[3], "") == ErrorCode.REFUSED_STREAM


async def test_a_client_that_takes_no_data_stops_the_handler() -> None:
    sent = 0

    async def endless(_request: bytes, _context: Any) -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            yield bytes(1000)
            sent += 1

    further: dict[str, Any] = {"Count": grpc.unary_stream_rpc_method_handler(endless)}
    async with running_own_server(further=further) as server, raw_client(server) as client:
        client.ask(1, to("Count"))
        for _ in range(4):
            await client.next(frames.DATA)
        await client.settle()
        stopped = sent
        assert stopped <= 66
        await client.settle()
        assert sent == stopped
        client.send(frames.window_update(1, 10_000), frames.window_update(0, 10_000))
        await client.next(frames.DATA)
        await client.settle()
        assert stopped < sent <= stopped + 11


async def test_who_asks_without_reading_is_read_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNREAD_SECONDS", 0.3)
    async with running_own_server() as server:
        _reader, writer = await asyncio.open_connection(*server.address.split(":"), limit=1 << 10)
        writer.write(frames.PREFACE + frames.settings({}))
        ended = asyncio.Event()

        unknown = block(to("x" * 1000))

        async def flood() -> None:
            with suppress(ConnectionError):
                for start in itertools.count(1, 200):
                    for stream in range(start, start + 200, 2):
                        writer.write(frames.frame(frames.HEADERS, END | frames.END_STREAM, stream, unknown))
                    await writer.drain()
            ended.set()

        flooding = asyncio.create_task(flood())
        async with asyncio.timeout(20):
            await ended.wait()
        await flooding
        writer.close()
        async with channel_to(server.address) as channel:
            say = channel.method("/test.v1.Echo/Say", client_streaming=False, server_streaming=False)
            assert await say(b"x", timeout=5, metadata=()) == b"x"


async def test_a_connection_that_says_nothing_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "GREETING_SECONDS", 0.1)
    async with running_own_server() as server:
        for said in (b"", frames.PREFACE[:5], frames.PREFACE):
            async with raw_client(server, greets=False) as client:
                client.send(said)
                await client.until_closed()
        async with raw_client(server) as client:
            await client.settle()
            await asyncio.sleep(0.15)
            client.ask(1)
            assert (await client.answer(1))[1]["grpc-status"] == "0"


async def test_padding_priority_and_what_is_unknown_change_nothing(server: OwnEchoServer) -> None:
    async with raw_client(server) as client:
        trailers = block((("x-late", "1"),))
        client.send(
            frames.frame(frames.PRIORITY, 0, 1, bytes(5)),
            frames.frame(0x77, 0xFF, 1, b"?"),
            frames.frame(
                frames.HEADERS,
                END | frames.PADDED | frames.HAS_PRIORITY,
                1,
                b"\3" + bytes(5) + block(request(("x-a", "b"))) + bytes(3),
            ),
            frames.frame(frames.DATA, frames.PADDED, 1, b"\5" + message(b"padded")[:6] + bytes(5)),
            data(1, message(b"padded")[6:]),
            frames.frame(frames.HEADERS, frames.END_STREAM, 1, trailers[:3]),
            frames.frame(frames.CONTINUATION, END, 1, trailers[3:]),
        )
        assert (await client.next_fields(1))["x-a"] == "b"
        got, fields = await client.answer(1)
        assert (got, fields) == (message(b"padded"), {"x-a": "b", "grpc-status": "0"})


async def test_a_request_that_comes_byte_by_byte_is_a_request(server: OwnEchoServer) -> None:
    async with raw_client(server, greets=False) as client:
        whole = frames.PREFACE + frames.settings({}) + headers(1, REQUEST) + data(1, message(b"slow"), last=True)
        for byte in whole:
            client.send(bytes([byte]))
            await asyncio.sleep(0)
        assert await client.answer(1) == (message(b"slow"), {"grpc-status": "0"})


async def test_large_metadata_come_and_go_in_several_frames(server: OwnEchoServer) -> None:
    async with raw_client(server) as client:
        long = block(request(("x-long", "0123456789" * 2_000), ("x-other", "y" * 5_000)))
        client.send(
            frames.frame(frames.HEADERS, 0, 1, long[:10_000]),
            frames.frame(frames.CONTINUATION, END, 1, long[10_000:]),
            data(1, message(b""), last=True),
        )
        kinds: list[tuple[int, bool]] = []
        while len(kinds) < 4:
            kind, flags, *_ = await client.next(frames.HEADERS, frames.CONTINUATION, frames.DATA)
            kinds.append((kind, bool(flags & END)))
        assert kinds == [
            (frames.HEADERS, False),
            (frames.CONTINUATION, True),
            (frames.DATA, False),
            (frames.HEADERS, False),
        ]


async def test_an_encoder_with_a_table_is_understood(server: OwnEchoServer) -> None:
    encoder = hpack.Encoder()
    async with raw_client(server) as client:
        for stream in range(1, 9, 2):
            fields = request(("x-a", "always the same"), ("x-data-bin", "AAE,Ag=="))
            client.send(frames.frame(frames.HEADERS, END, stream, encoder.encode(fields)))
            client.send(data(stream, message(b""), last=True))
            _, got = await client.answer(stream)
            assert got["x-a"] == "always the same"
            if stream == 3:
                # As one does that has heard of the server's settings.
                encoder.header_table_size = 0


async def test_a_drain_is_told_in_two_steps_and_loses_nothing() -> None:
    async with running_own_server() as server, raw_client(server) as client:
        client.ask(1, to("Hang"))
        await server.started.wait()
        stopping = asyncio.create_task(server.stop(10))
        assert await client.farewell() == (frames.MAX_WINDOW, ErrorCode.NO_ERROR)
        ping = await client.next(frames.PING)
        # What was sent before the first step was heard of is answered.
        client.ask(3)
        assert (await client.answer(3))[1]["grpc-status"] == "0"
        client.send(frames.frame(frames.PING, frames.ACK, 0, ping[3]))
        assert await client.farewell() == (3, ErrorCode.NO_ERROR)
        client.ask(5)
        await client.settle()
        server.release.set()
        assert (await client.answer(1))[1]["grpc-status"] == "0"
        await client.until_closed()
        await stopping
        assert server.calls == 1


async def test_a_client_that_does_not_answer_the_first_step_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "FAREWELL_SECONDS", 0.1)
    async with running_own_server() as server, raw_client(server) as client:
        client.ask(1)
        await client.answer(1)
        await asyncio.wait_for(server.stop(10), 2)
        assert (await client.farewell())[0] == frames.MAX_WINDOW
        assert (await client.farewell())[0] == 1
        await client.until_closed()
