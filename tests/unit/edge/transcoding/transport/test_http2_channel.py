"""Behaviour of edge/transcoding/transport/http2/channel.py: connections, what is tried again, TLS."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from deploy.local.certificates import DevelopmentAuthority
from edge.transcoding.transport.channel import Call, Channel
from edge.transcoding.transport.http2.channel import ChannelOptions, Http2Channel
from edge.transcoding.transport.http2.keepalive import Keepalive
from edge.transcoding.transport.http2.subchannel import Backoff
from edge.transcoding.transport.http2.target import parse_target
from shared.http2 import frames
from shared.http2.codes import ErrorCode
from tests.support.echo_server import SERVICE, EchoServer, running_echo_server
from tests.support.raw_http2 import RawConnection, running_raw_http2
from tests.support.transports import channel_to

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def say(channel: Channel, request: bytes = b"x", name: str = "Say", seconds: float = 10) -> Call:
    return channel.method(f"/{SERVICE}/{name}", client_streaming=False, server_streaming=False)(
        request, timeout=seconds, metadata=()
    )


async def error_of(call: Call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_calls_go_to_all_addresses_in_turn() -> None:
    async with running_echo_server() as one, running_echo_server() as two:
        target = f"ipv4:{one.address},{two.address}"
        async with channel_to(target, round_robin=True) as channel:
            await _until(lambda: one.calls > 0 and two.calls > 0, channel)
            one.calls = two.calls = 0
            for _ in range(20):
                await say(channel)
            assert (one.calls, two.calls) == (10, 10)
            await one.stop()
            for _ in range(20):
                await say(channel)
            assert two.calls == 30


async def test_without_turns_the_first_address_that_answers_has_all_calls() -> None:
    async with (
        running_echo_server() as one,
        running_echo_server() as two,
        channel_to(f"ipv4:127.0.0.1:1,{one.address},{two.address}") as channel,
    ):
        for _ in range(5):
            await say(channel)
        assert (one.calls, two.calls) == (5, 0)
        await one.stop()
        await say(channel)
        assert two.calls == 1


async def test_a_name_is_looked_up_again_when_its_server_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_echo_server() as old, running_echo_server() as new:
        current = [old.address]

        async def getaddrinfo(name: str, port: int, **options: Any) -> list[Any]:
            if not current:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            host, _, number = current[0].rpartition(":")
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, int(number)))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        target = parse_target("dns:///moving.example:1")
        assert target is not None
        monkeypatch.setattr("edge.transcoding.transport.http2.channel.RESOLVE_SECONDS", 0.01)
        async with Http2Channel(target, ChannelOptions(round_robin=True, backoff=Backoff(0.01, 0.01))) as channel:
            known = current.pop()
            error = await error_of(say(channel))
            assert (error.code(), "dns resolution failed" in (error.details() or "")) == (UNAVAILABLE, True)
            current.append(known)
            await _until(lambda: old.calls > 0, channel)
            current[:] = [new.address]
            await old.stop()
            await _until(lambda: new.calls > 0, channel)


async def test_what_a_server_refused_is_sent_again() -> None:
    async def behave(connection: RawConnection) -> None:
        for _ in range(3):
            connection.send(frames.rst_stream(await connection.next_call(), ErrorCode.REFUSED_STREAM))
        connection.answer(await connection.next_call())
        await connection.until_closed()

    async with running_raw_http2(behave) as address, channel_to(address) as channel:
        assert await say(channel) == b"ok"


async def test_what_is_refused_again_and_again_ends() -> None:
    async def behave(connection: RawConnection) -> None:
        while True:
            connection.send(frames.rst_stream(await connection.next_call(), ErrorCode.REFUSED_STREAM))

    async with running_raw_http2(behave) as address, channel_to(address) as channel:
        assert (await error_of(say(channel))).code() is UNAVAILABLE


async def test_a_goaway_lets_finish_what_was_taken_and_sends_the_rest_again() -> None:
    connections = 0

    async def behave(connection: RawConnection) -> None:
        nonlocal connections
        connections += 1
        if connections > 1:
            while True:
                connection.answer(await connection.next_call(), b"\0\0\0\0\3new")
        first = await connection.next_call()
        await connection.next_call()
        connection.send(frames.frame(frames.GOAWAY, 0, 0, first.to_bytes(4, "big") + bytes(4)))
        connection.answer(first, b"\0\0\0\0\3old")
        await connection.until_closed()

    async with running_raw_http2(behave) as address, channel_to(address) as channel:
        assert await asyncio.gather(*map(_await, (say(channel), say(channel)))) == [b"old", b"new"]
        assert connections == 2


async def test_what_a_connection_took_with_it_is_not_sent_again() -> None:
    calls = 0

    async def behave(connection: RawConnection) -> None:
        nonlocal calls
        while True:
            await connection.next_call()
            calls += 1
            connection.close()

    async with running_raw_http2(behave) as address, channel_to(address) as channel:
        assert (await error_of(say(channel))).code() is UNAVAILABLE
    assert calls == 1


async def test_a_client_stream_that_was_refused_is_sent_again_from_its_beginning() -> None:
    async def behave(connection: RawConnection) -> None:
        stream = await connection.next_call()
        await connection.next(frames.DATA)
        connection.send(frames.rst_stream(stream, ErrorCode.REFUSED_STREAM))
        got = b""
        stream = await connection.next_call()
        while True:
            _, flags, _, payload = await connection.next(frames.DATA)
            got += payload
            if flags & frames.END_STREAM:
                break
        connection.answer(stream, len(got).to_bytes(5, "big") + got)
        await connection.until_closed()

    async with running_raw_http2(behave) as address, channel_to(address) as channel:
        call = channel.method(f"/{SERVICE}/Join", client_streaming=True, server_streaming=False)(
            timeout=10, metadata=()
        )
        await call.write(b"first")
        await asyncio.sleep(0.02)  # until it was refused
        await call.write(b"second")
        await call.done_writing()
        assert await call == b"\0\0\0\0\5first\0\0\0\0\6second"


async def test_a_larger_window_is_used_when_it_was_acknowledged_and_not_before() -> None:
    async def behave(connection: RawConnection) -> None:
        stream = await connection.next_call()
        assert (await connection.next(frames.DATA))[3] == b"\0\0\0\0\x1412345"
        connection.send(frames.settings({frames.INITIAL_WINDOW_SIZE: 12}))
        # Other frames that came before the one that is asked for are passed over.
        assert (await connection.next(frames.SETTINGS))[1] == frames.ACK
        assert (await connection.next(frames.DATA))[3] == b"67"
        connection.send(frames.window_update(stream, 4))
        assert (await connection.next(frames.DATA))[3] == b"890a"
        connection.send(frames.settings({frames.INITIAL_WINDOW_SIZE: 0}), frames.window_update(stream, 12))
        connection.send(frames.window_update(stream, 1000))
        assert (await connection.next(frames.DATA))[3] == b"bcdefghij"
        connection.answer(stream)
        await connection.until_closed()

    small = frames.settings({frames.INITIAL_WINDOW_SIZE: 10})
    async with running_raw_http2(behave, small) as address, channel_to(address) as channel:
        assert await say(channel, b"1234567890abcdefghij") == b"ok"


async def test_too_many_calls_do_not_wait_for_one_server() -> None:
    async def behave(connection: RawConnection) -> None:
        await connection.until_closed()

    none = frames.settings({frames.MAX_CONCURRENT_STREAMS: 0})
    async with running_raw_http2(behave, none) as address, channel_to(address, max_waiting=5) as channel:
        waiting = [say(channel) for _ in range(5)]
        error = await error_of(say(channel))
        assert (error.code(), "wait" in (error.details() or "")) == (UNAVAILABLE, True)
        for call in waiting:
            call.cancel()
        later = say(channel, seconds=0.05)
        assert (await error_of(later)).code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_server_that_went_silent_is_noticed() -> None:
    async def behave(connection: RawConnection) -> None:
        await connection.next(frames.PING)
        await connection.until_closed()

    async with (
        running_raw_http2(behave) as address,
        channel_to(address, keepalive=Keepalive(time=0.05, timeout=0.05)) as channel,
    ):
        error = await error_of(say(channel, seconds=5))
        assert (error.code(), error.details()) == (UNAVAILABLE, "keepalive: the server does not answer")


async def test_a_server_that_answers_pings_is_kept() -> None:
    async def behave(connection: RawConnection) -> None:
        stream = await connection.next_call()
        for _ in range(2):
            *_, payload = await connection.next(frames.PING)
            connection.send(frames.frame(frames.PING, frames.ACK, 0, payload))
        connection.answer(stream)
        await connection.until_closed()

    async with (
        running_raw_http2(behave) as address,
        channel_to(address, keepalive=Keepalive(time=0.02, timeout=3)) as channel,
    ):
        assert await say(channel, seconds=5) == b"ok"


async def test_closing_the_channel_ends_its_calls() -> None:
    async with running_echo_server() as server:
        async with channel_to(server.address) as channel:
            call = say(channel, name="Hang")
            await server.started.wait()
        with pytest.raises(asyncio.CancelledError):
            await call
        with pytest.raises(asyncio.CancelledError):
            await say(channel)
        async with asyncio.timeout(5):
            await server.cancelled.wait()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentAuthority:
    return DevelopmentAuthority(tmp_path_factory.mktemp("certs"))


def client_context(authority: DevelopmentAuthority, *, shows: bool = True) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(authority.certificate_file))
    if shows:
        issued = authority.issue("client")
        context.load_cert_chain(issued.certificate, issued.key)
    context.set_alpn_protocols(["h2"])
    return context


@asynccontextmanager
async def running_tls(authority: DevelopmentAuthority, host: str = "127.0.0.1") -> AsyncIterator[EchoServer]:
    leaf = authority.issue("server")  # for 127.0.0.1 and other names of this machine
    credentials = grpc.ssl_server_credentials(
        [(leaf.key.read_bytes(), leaf.certificate.read_bytes())],
        authority.certificate_file.read_bytes(),
        require_client_auth=True,
    )
    async with running_echo_server(f"{host}:0", credentials=credentials) as server:
        yield server


def tls_channel(server: EchoServer, tls: Any) -> Http2Channel:
    target = parse_target(server.address)
    assert target is not None
    return Http2Channel(target, tls=tls)


async def test_tls_shows_a_certificate_and_checks_the_servers(authority: DevelopmentAuthority) -> None:
    context = client_context(authority)
    async with running_tls(authority) as server, tls_channel(server, lambda: context) as channel:
        assert await say(channel, bytes(2_000_000)) == bytes(2_000_000)


@pytest.mark.parametrize("fault", ["authority", "name", "none shown"])
async def test_tls_that_does_not_fit_makes_no_connection(
    authority: DevelopmentAuthority, tmp_path: Path, fault: str
) -> None:
    trusted = DevelopmentAuthority(tmp_path) if fault == "authority" else authority
    context = client_context(trusted, shows=fault != "none shown")
    async with (
        running_tls(authority, "127.0.0.2" if fault == "name" else "127.0.0.1") as server,
        tls_channel(server, lambda: context) as channel,
    ):
        error = await error_of(say(channel))
        assert error.code() is UNAVAILABLE
        assert "failed to connect" in (error.details() or "")


async def test_a_new_certificate_is_shown_by_a_new_connection_while_calls_go_on(
    authority: DevelopmentAuthority,
) -> None:
    contexts = [client_context(authority)]
    async with running_tls(authority) as server, tls_channel(server, lambda: contexts[-1]) as channel:
        hanging = asyncio.ensure_future(say(channel, b"h", name="Hang"))
        await server.started.wait()
        old = _connection(channel)
        contexts.append(client_context(authority))
        await _until(lambda: _connection(channel) is not old, channel)
        assert await say(channel) == b"x"
        server.release.set()
        assert await hanging == b"h"
        async with asyncio.timeout(5):
            await old.closed


async def test_plain_text_to_a_server_of_tls_makes_no_connection(authority: DevelopmentAuthority) -> None:
    async with running_tls(authority) as server, channel_to(server.address) as channel:
        assert (await error_of(say(channel))).code() is UNAVAILABLE


def _connection(channel: Http2Channel) -> Any:
    return channel._subchannels[0].connection


async def _until(done: Any, channel: Channel) -> None:
    async with asyncio.timeout(10):
        while not done():
            try:
                await say(channel)
            except grpc.aio.AioRpcError as error:
                assert error.code() is UNAVAILABLE  # noqa: PT017 - until it is there
            await asyncio.sleep(0.01)


async def _await(call: Call) -> bytes:
    return await call
