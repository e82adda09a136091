"""Visitors of a server: clients of the gRPC library, of Gaia's own, and such as keep to no rule."""

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc

from edge.transcoding.transport.channel import CallEndedError, Channel
from edge.transcoding.transport.grpc_aio import GrpcAioChannel
from edge.transcoding.transport.http2.channel import ChannelOptions, Http2Channel
from edge.transcoding.transport.http2.target import parse_target
from shared.http2 import frames
from shared.http2.codes import ErrorCode
from tests.support.echo_server import SERVICE
from tests.support.http2_peer import KINDS
from tests.support.http2_server import message, to
from tests.support.raw_http2 import data, headers

LOST = "lost:"
"""Begins the names of calls that ended as they should not."""

SECONDS = 20.0
"""In which any call must have ended, one way or the other."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where the server is, and the client's side of its TLS."""

    plain: str
    tls: str
    credentials: grpc.ChannelCredentials
    context: ssl.SSLContext


class Visits:
    """Visits by chance, of which `counts` tells how calls ended, by method and status."""

    def __init__(self, server: Server, chance: random.Random) -> None:
        self._server = server
        self._chance = chance
        self.counts: dict[str, int] = {}

    async def any(self) -> None:
        """Come as one kind of visitor."""
        kinds: tuple[Callable[[], Awaitable[None]], ...] = (self.grpc, self.own, self.raw, self.raw)
        await self._chance.choice(kinds)()

    async def grpc(self) -> None:
        """Come as a client of the gRPC library, with a connection of its own."""
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", 16 << 20)]
        if self._chance.random() < 0.3:
            made = grpc.aio.secure_channel(self._server.tls, self._server.credentials, options)
        else:
            made = grpc.aio.insecure_channel(self._server.plain, options)
        try:
            await self._calls(GrpcAioChannel(made))
        finally:
            await made.close()

    async def own(self) -> None:
        """Come as the edge does."""
        tls = self._chance.random() < 0.3
        target = parse_target(self._server.tls if tls else self._server.plain)
        assert target is not None
        context = self._server.context
        async with Http2Channel(
            target, ChannelOptions(max_message_bytes=16 << 20), tls=(lambda: context) if tls else None
        ) as channel:
            await self._calls(channel)

    async def raw(self) -> None:
        """Send what there may be and what may not, and leave in the middle of it."""
        chance = self._chance
        host, _, port = chance.choice((self._server.plain, self._server.plain, self._server.tls)).rpartition(":")
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(host, int(port))
            try:
                if chance.random() < 0.9:
                    writer.write(
                        frames.PREFACE + frames.settings({frames.INITIAL_WINDOW_SIZE: chance.choice((0, 65535))})
                    )
                for _ in range(chance.randrange(12)):
                    writer.write(self._piece(2 * chance.randrange(6) + 1))
                    if chance.random() < 0.5:
                        await asyncio.sleep(chance.random() / 50)
                with suppress(TimeoutError):
                    async with asyncio.timeout(chance.random() / 10):
                        while await reader.read(65536):
                            pass
            finally:
                if chance.random() < 0.5:
                    writer.transport.abort()
                writer.close()
        self._count("raw", "")

    def _piece(self, stream: int) -> bytes:
        chance = self._chance
        whole = (
            lambda: headers(stream, to(chance.choice(("Say", "Hang", "Join", "Chat", "Nothing")))),
            lambda: headers(stream, to("Count")) + data(stream, message(b"20 1000"), last=True),
            lambda: data(stream, message(chance.randbytes(chance.randrange(16_000))), last=chance.random() < 0.5),
            lambda: headers(stream, to("Hang")) + data(stream, b"\0\0\x20\0\0" + bytes(10_000)),
            lambda: frames.rst_stream(stream, ErrorCode.CANCEL),
            lambda: frames.window_update(chance.choice((0, stream)), 1 << chance.randrange(20)),
            lambda: frames.frame(frames.PING, 0, 0, bytes(8)) * chance.randrange(100),
            lambda: frames.settings({frames.INITIAL_WINDOW_SIZE: chance.randrange(1 << 16)}),
            lambda: frames.goaway(ErrorCode.NO_ERROR),
            lambda: headers(stream, to("Say"), flags=0),
            lambda: chance.randbytes(30),
        )
        piece = chance.choice(whole)()
        return piece if chance.random() < 0.9 else piece[: chance.randrange(len(piece) + 1)]

    async def _calls(self, channel: Channel) -> None:
        chance = self._chance
        calls = [asyncio.ensure_future(self._call(channel)) for _ in range(chance.randrange(1, 12))]
        if chance.random() < 0.2:
            # The channel is closed under them.
            await asyncio.wait(calls, timeout=chance.random() / 20)
            for call in calls:
                call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        for call in calls:
            if not call.cancelled() and (error := call.exception()) is not None:
                raise error

    async def _call(self, channel: Channel) -> None:
        chance = self._chance
        name, request = chance.choice(
            (
                ("Say", chance.randbytes(10)),
                ("Say", bytes(chance.randrange(200_000))),
                ("Say", bytes(chance.choice((300_000, 2_000_000)))),
                ("Fail", b"5 not here"),
                ("Hang", b""),
                ("Count", b"30 1000"),
                ("Count", b"20 30000"),
                ("Count", b"3 10 hang"),
                ("Join", None),
                ("Chat", None),
                ("Nothing", b""),
            )
        )
        client, server = KINDS.get(name, (False, False))
        method = channel.method(f"/{SERVICE}/{name}", client_streaming=client, server_streaming=server)
        timeout = chance.choice((SECONDS, SECONDS, 0.05)) if name != "Hang" and request != b"3 10 hang" else 0.1
        call = method(request, timeout=timeout, metadata=(("x-visit", "1"),))
        try:
            async with asyncio.timeout(SECONDS + 5):
                await self._use(call, streams=server, writes=client)
        except grpc.aio.AioRpcError as error:
            code = error.code()
            late = code is grpc.StatusCode.DEADLINE_EXCEEDED and timeout != SECONDS
            expected = late or code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED)
            self._count(name if expected else f"{LOST} {name}", code.name)
        except (CallEndedError, asyncio.CancelledError) as error:
            self._count(name, type(error).__name__)
            if isinstance(error, asyncio.CancelledError) and not call.cancel():
                raise
        else:
            self._count(name, "OK")

    async def _use(self, call: Any, *, streams: bool, writes: bool) -> None:
        chance = self._chance
        leaves = chance.random() < 0.2
        if writes:
            for _ in range(chance.randrange(10)):
                await call.write(bytes(chance.randrange(40_000)))
            if leaves:
                call.cancel()
                return
            await call.done_writing()
        if not streams:
            if leaves:
                asyncio.get_running_loop().call_later(chance.random() / 50, call.cancel)
            with suppress(asyncio.CancelledError):
                await call
            return
        with suppress(asyncio.CancelledError):
            async for _ in call:
                if leaves and chance.random() < 0.2:
                    call.cancel()
                    return

    def _count(self, name: str, status: str) -> None:
        key = f"{name} {status}".strip()
        self.counts[key] = self.counts.get(key, 0) + 1
