"""What Gaia's own gRPC server keeps for its clients: connections and memory, so many and for so long."""

import asyncio
import gzip
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
import uvloop

from deploy.local.certificates import DevelopmentAuthority
from edge.transcoding.transport.http2.channel import Http2Channel
from edge.transcoding.transport.http2.target import parse_target
from shared.http2 import frames
from shared.http2.codes import ErrorCode
from shared.http2.messages import prefix
from shared.http2.server import connection as limits
from shared.http2.server import door
from shared.http2.server import server as serving
from shared.rpc.tls import Certificates
from shared.settings import TlsFiles
from tests.support.echo_server import SERVICE
from tests.support.http2_peer import STATUS, error_of, running, until, within
from tests.support.http2_server import (
    REQUEST,
    OwnEchoServer,
    RawClient,
    message,
    raw_client,
    request,
    running_own_server,
    to,
)
from tests.support.raw_http2 import data, headers
from tests.support.transports import TRANSPORTS, channel_to

MIB = 1 << 20
EXHAUSTED = str(STATUS.RESOURCE_EXHAUSTED.value[0])
LATE = str(STATUS.DEADLINE_EXCEEDED.value[0])


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the server look at its connections all the time."""
    monkeypatch.setattr(serving, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(limits, "FAREWELL_SECONDS", 0.2)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentAuthority:
    return DevelopmentAuthority(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def tls(authority: DevelopmentAuthority) -> ssl.SSLContext:
    """The server's side."""
    issued = authority.issue("server")
    return Certificates(TlsFiles(issued.certificate, issued.key, authority.certificate_file)).server_context()


@pytest.fixture(scope="module")
def context(authority: DevelopmentAuthority) -> ssl.SSLContext:
    """The client's side."""
    issued = authority.issue("client")
    made = ssl.create_default_context(cafile=str(authority.certificate_file))
    made.load_cert_chain(issued.certificate, issued.key)
    made.set_alpn_protocols(["h2"])
    return made


async def answers(client: RawClient, stream: int) -> None:
    client.ask(stream)
    assert (await client.answer(stream))[1]["grpc-status"] == "0"


async def answered(method: Any) -> None:
    """Ask until there is an answer."""
    async with asyncio.timeout(10):
        while True:
            try:
                assert await method(b"x", timeout=5, metadata=()) == b"x"
                return
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.05)


# Connections.


async def test_more_connections_than_allowed_are_told_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "FAREWELL_SECONDS", 0.1)
    async with running_own_server(max_connections=2) as server, AsyncExitStack() as clients:
        first, second = [await clients.enter_async_context(raw_client(server)) for _ in range(2)]
        await first.settle()
        await second.settle()
        for _ in range(5):
            async with raw_client(server) as refused:
                refused.ask(1)
                fields = (await refused.answer(1))[1]
                assert (fields["grpc-status"], fields["grpc-message"]) == (
                    str(STATUS.UNAVAILABLE.value[0]),
                    "2 connections are open already, which is the limit",
                )
                assert await refused.farewell() == (1, ErrorCode.ENHANCE_YOUR_CALM)
                await refused.until_closed()
        await answers(first, 1)
        first.close()
        await until(lambda: len(server.server._door.open) == 1)
        async with raw_client(server) as third:
            await answers(third, 1)
        await answers(second, 1)
    told = [record for record in caplog.records if "refused" in record.message]
    assert [record.levelno for record in told] == [logging.WARNING]


async def test_the_refused_are_few_and_those_beyond_them_are_closed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "MORE", 2)
    monkeypatch.setattr(limits, "FAREWELL_SECONDS", 0.4)
    async with running_own_server(max_connections=1) as server, AsyncExitStack() as clients:
        got = []
        for _ in range(4):
            client = await clients.enter_async_context(raw_client(server, greets=False))
            try:
                await client.next(frames.SETTINGS)
                got.append(True)
            except (EOFError, ConnectionError):
                got.append(False)
        assert got == [True, True, True, False]
        # The refused are gone soon, whatever they do.
        await until(lambda: not server.server._door._refused)
        assert len(server.server._door.open) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_clients_of_grpc_hear_that_there_are_too_many(transport: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FAREWELL_SECONDS", 0.1)
    async with running_own_server(max_connections=1) as server, raw_client(server) as first:
        await first.settle()
        async with channel_to(server.address, transport) as channel:
            say = channel.method(f"/{SERVICE}/Say", client_streaming=False, server_streaming=False)
            error = await error_of(say(b"x", timeout=5, metadata=()))
            assert error.code() is STATUS.UNAVAILABLE
            assert "1 connections are open already" in (error.details() or "")
            first.close()
            await answered(say)


async def test_who_does_not_go_on_with_tls_takes_a_place_and_only_for_a_while(
    tls: ssl.SSLContext, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "MORE", 2)
    monkeypatch.setattr(door, "HANDSHAKE_SECONDS", 0.5)
    async with running_own_server(tls=tls, max_connections=1) as server:
        host, _, port = server.address.rpartition(":")
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(3)]
        await until(lambda: len(server.server._door._entering) == 3)
        reader, writer = await asyncio.open_connection(host, int(port))
        # The fourth is beyond the limit and those that are told of it.
        assert await within(0.4, reader.read()) == b""
        writer.close()
        await until(lambda: not server.server._door._entering)
        target = parse_target(server.address)
        assert target is not None
        async with Http2Channel(target, tls=lambda: context) as channel:
            say = channel.method(f"/{SERVICE}/Say", client_streaming=False, server_streaming=False)
            assert await say(b"x", timeout=5, metadata=()) == b"x"
            # One beyond the limit hears of it, behind TLS, too.
            async with Http2Channel(target, tls=lambda: context) as other:
                refused = other.method(f"/{SERVICE}/Say", client_streaming=False, server_streaming=False)
                error = await error_of(refused(b"x", timeout=5, metadata=()))
                assert "1 connections are open already" in (error.details() or "")
        for _, one in silent:
            one.close()


@pytest.mark.usefixtures("looking")
async def test_a_connection_without_a_call_is_asked_to_leave_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "IDLE_LOOKS", 3)
    async with running_own_server() as server, raw_client(server) as busy, raw_client(server) as idle:
        busy.ask(1, to("Hang"))
        idle.ask(1)
        await idle.answer(1)
        assert await idle.farewell() == (frames.MAX_WINDOW, ErrorCode.NO_ERROR)
        ping = await idle.next(frames.PING)
        # What was sent before it was heard of is answered.
        await answers(idle, 3)
        idle.send(frames.frame(frames.PING, frames.ACK, 0, ping[3]))
        assert await idle.farewell() == (3, ErrorCode.NO_ERROR)
        await idle.until_closed()
        await answers(busy, 3)
        server.release.set()
        assert (await busy.answer(1))[1]["grpc-status"] == "0"


@pytest.mark.usefixtures("looking")
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_no_call_is_lost_by_connections_that_are_asked_to_leave(
    transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(door, "IDLE_LOOKS", 2)
    async with running(transport) as peer:
        for number in range(24):
            assert await peer.call("Say", b"%d" % number) == b"%d" % number
            # Some of them wait until the connection is about to be asked, some until it was.
            await asyncio.sleep(number % 4 / 40)


@pytest.mark.usefixtures("looking")
async def test_where_there_are_many_connections_the_idle_leave_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "CROWDED_IDLE_LOOKS", 2)
    async with running_own_server(max_connections=4) as server, AsyncExitStack() as clients:
        found = [await clients.enter_async_context(raw_client(server)) for _ in range(3)]
        assert (await found[0].farewell())[1] == ErrorCode.NO_ERROR


@pytest.mark.usefixtures("looking")
async def test_headers_whose_end_does_not_come_end_the_connection() -> None:
    async with running_own_server() as server, raw_client(server) as client:
        client.send(headers(1, to("Hang")), headers(3, REQUEST, flags=0))
        assert (await client.farewell())[1] == ErrorCode.ENHANCE_YOUR_CALM
        await client.until_closed()


async def test_a_client_that_has_not_spoken_yet_loses_no_call_when_the_server_stops() -> None:
    async with running_own_server() as server, raw_client(server, greets=False) as client:
        await client.next(frames.SETTINGS)
        stopping = asyncio.create_task(server.stop(5))
        assert await client.farewell() == (frames.MAX_WINDOW, ErrorCode.NO_ERROR)
        client.greet()
        client.ask(1, to("Hang"))
        await server.started.wait()
        client.send(frames.frame(frames.PING, frames.ACK, 0, (await client.next(frames.PING))[3]))
        server.release.set()
        assert (await client.answer(1))[1]["grpc-status"] == "0"
        await client.until_closed()
        await asyncio.wait_for(stopping, 5)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("secure", [False, True])
def test_connections_that_come_while_the_server_stops_leave_nothing_open(
    run: Callable[[Any], None], secure: bool, tls: ssl.SSLContext
) -> None:
    async def stop_after(turns: int) -> None:
        server = OwnEchoServer({}, ())
        await server.start(credentials=tls if secure else None)
        host, _, port = server.address.rpartition(":")
        clients = [socket.socket() for _ in range(10)]
        for client in clients:
            client.setblocking(False)
            client.connect_ex((host, int(port)))
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await server.stop(0.01 if turns % 2 else None)
        for client in clients:
            client.close()
        own = server.server._door
        assert (own.open, own._refused, own._entering) == (set(), set(), {})
        assert len(asyncio.all_tasks()) == 1

    async def stop_again_and_again() -> None:
        for turns in range(8):
            await stop_after(turns)

    run(stop_again_and_again())


# Memory.


@pytest.fixture
async def small() -> AsyncIterator[OwnEchoServer]:
    """A server that holds one message of the largest size, and little more."""
    async with running_own_server(max_message_bytes=4 * MIB, max_held_bytes=5 * MIB) as server:
        yield server


def begun(stream: int, *, arrives: int = 100_000) -> bytes:
    """Return a request whose message of 4 MiB has only begun to arrive."""
    start = prefix(bytes(4 * MIB)) + bytes(arrives)
    return headers(stream, REQUEST) + b"".join(
        data(stream, start[place : place + 16_000]) for place in range(0, len(start), 16_000)
    )


async def held(server: OwnEchoServer, size: int) -> None:
    async with asyncio.timeout(5):
        await until(lambda: server.server.holding.held >= size)


async def free(server: OwnEchoServer) -> None:
    async with asyncio.timeout(5):
        await until(lambda: server.server.holding.held == 0)
    assert not server.server.holding._calls


async def test_large_requests_beyond_what_is_held_in_all_are_refused_and_no_other(
    small: OwnEchoServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with raw_client(small) as slow, raw_client(small) as other:
        slow.send(begun(1))
        await held(small, 4 * MIB)
        for stream in (1, 5, 9):
            other.send(begun(stream))
            _, fields = await other.answer(stream)
            assert fields["grpc-status"] == EXHAUSTED
            assert "the limit is 5242880" in fields["grpc-message"]
            await answers(other, stream + 2)
        slow.send(frames.rst_stream(1, ErrorCode.CANCEL))
        await free(small)
    async with channel_to(small.address) as channel:
        say = channel.method(f"/{SERVICE}/Say", client_streaming=False, server_streaming=False)
        assert len(await say(bytes(4 * MIB - 5), timeout=10, metadata=())) == 4 * MIB - 5
    await free(small)
    assert len([record for record in caplog.records if "refused" in record.message]) == 1


async def test_a_large_request_counts_while_its_handler_runs(small: OwnEchoServer) -> None:
    async with channel_to(small.address) as channel:
        hang = channel.method(f"/{SERVICE}/Hang", client_streaming=False, server_streaming=False)
        first = asyncio.ensure_future(hang(bytes(3 * MIB), timeout=10, metadata=()))
        await small.started.wait()
        assert (await error_of(hang(bytes(3 * MIB), timeout=10, metadata=()))).code() is STATUS.RESOURCE_EXHAUSTED
        small.release.set()
        assert len(await first) == 3 * MIB
        await free(small)
        assert len(await hang(bytes(3 * MIB), timeout=10, metadata=())) == 3 * MIB


async def test_a_stream_holds_one_message_at_a_time(small: OwnEchoServer) -> None:
    async with channel_to(small.address) as channel:
        join = channel.method(f"/{SERVICE}/Deaf", client_streaming=True, server_streaming=False)
        small.release.set()
        call = join(timeout=20, metadata=())
        for _ in range(8):
            await call.write(bytes(2 * MIB))
        await call.done_writing()
        assert await call == b"8"
    await free(small)


async def test_what_a_compressed_message_becomes_counts(small: OwnEchoServer) -> None:
    packed = gzip.compress(bytes(3 * MIB))
    sent = data(1, b"\1" + len(packed).to_bytes(4, "big") + packed, last=True)
    fields = (*to("Hang"), ("grpc-encoding", "gzip"))
    async with raw_client(small) as first, raw_client(small) as second:
        first.send(headers(1, fields), sent)
        await held(small, 3 * MIB)
        second.send(headers(1, fields), sent)
        assert (await second.answer(1))[1]["grpc-status"] == EXHAUSTED
    await free(small)


@pytest.mark.usefixtures("looking")
async def test_who_stops_in_the_middle_of_a_large_message_does_not_keep_its_place(small: OwnEchoServer) -> None:
    async with raw_client(small) as client:
        client.send(begun(1))
        _, fields = await client.answer(1)
        assert (fields["grpc-status"], "stopped sending" in fields["grpc-message"]) == (LATE, True)
        await free(small)
        await answers(client, 3)


@pytest.mark.usefixtures("looking")
async def test_who_waits_for_a_handler_to_read_is_not_taken_for_one_that_stopped(small: OwnEchoServer) -> None:
    async with channel_to(small.address) as channel:
        deaf = channel.method(f"/{SERVICE}/Deaf", client_streaming=True, server_streaming=False)
        call = deaf(timeout=10, metadata=())

        async def write() -> None:
            for _ in range(2000):
                await call.write(bytes(1000))
            await call.done_writing()

        writing = asyncio.ensure_future(write())
        await small.started.wait()
        await asyncio.sleep(0.3)
        small.release.set()
        await writing
        assert await call == b"2000"


async def test_a_lost_connection_gives_back_what_its_calls_held(small: OwnEchoServer) -> None:
    async with raw_client(small) as client:
        client.send(begun(1))
        # Taken back before its handler had its first turn.
        client.send(begun(3, arrives=200_000), frames.rst_stream(3, ErrorCode.CANCEL))
        await held(small, 1)
    await free(small)


async def test_a_message_that_is_not_large_is_not_counted(small: OwnEchoServer) -> None:
    async with raw_client(small) as client:
        client.send(headers(1, request()), data(1, message(bytes(10_000))), data(1, b"", last=True))
        await client.answer(1)
        assert not small.server.holding._calls
