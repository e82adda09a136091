"""A real gRPC server whose methods do what the transports' tests need, on bytes and without a contract."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

SERVICE = "test.v1.Echo"


class EchoServer:
    """The methods; `cancelled` tells that one that hangs was cancelled, `sent` and `received` count messages."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.started = asyncio.Event()
        self.release = asyncio.Event()
        self.sent = 0
        self.received = 0
        self.calls = 0
        self.address = ""
        self._server: Any = None

    async def start(self, address: str = "127.0.0.1:0", credentials: Any = None, **options: int) -> None:
        """Listen; options are channel arguments, written with `_` for `.`after `grpc`."""
        self._server = grpc.aio.server(
            options=[("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]
            + [(f"grpc.{name}", value) for name, value in options.items()]
        )
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, self.handlers()),))
        if credentials is None:
            port = self._server.add_insecure_port(address)
        else:
            port = self._server.add_secure_port(address, credentials)
        self.address = address if address.startswith("unix:") else f"{address.rpartition(':')[0]}:{port}"
        await self._server.start()

    def handlers(self) -> dict[str, Any]:
        """Return the methods' handlers by name."""
        return {
            "Say": grpc.unary_unary_rpc_method_handler(self.say),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail),
            "Hang": grpc.unary_unary_rpc_method_handler(self.hang),
            "Left": grpc.unary_unary_rpc_method_handler(self.left),
            "Count": grpc.unary_stream_rpc_method_handler(self.count),
            "Join": grpc.stream_unary_rpc_method_handler(self.join),
            "Chat": grpc.stream_stream_rpc_method_handler(self.chat),
            "Deaf": grpc.stream_unary_rpc_method_handler(self.deaf),
        }

    async def stop(self, grace: float | None = None) -> None:
        """Stop listening; calls under way have `grace` seconds."""
        await self._server.stop(grace)

    async def say(self, request: bytes, context: Any) -> bytes:
        """Return the request, and its metadata whose names begin with x- in both kinds of metadata."""
        self.calls += 1
        own = tuple((key, value) for key, value in context.invocation_metadata() if key.startswith("x-"))
        await context.send_initial_metadata(own)
        context.set_trailing_metadata(own)
        return request

    async def fail(self, request: bytes, context: Any) -> bytes:
        """End with the code and the words of the request, `5 not here`."""
        code, _, details = request.decode().partition(" ")
        trailing = (("x-why-bin", b"\x00\xff"), ("grpc-status-details-bin", b"rich"))
        await context.abort(next(c for c in grpc.StatusCode if c.value[0] == int(code)), details, trailing)
        return b""

    async def left(self, request: bytes, context: Any) -> bytes:
        """Return the seconds until the deadline."""
        return str(context.time_remaining()).encode()

    async def hang(self, request: bytes, context: Any) -> bytes:
        """Answer when told to."""
        self.started.set()
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return request

    async def count(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """Send as many messages of such a size as the request says, `3 100`, then hang, fail or end as it says."""
        count, size, *end = request.decode().split()
        try:
            for number in range(int(count)):
                yield str(number).encode().ljust(int(size), b".")
                self.sent += 1
            if end == ["hang"]:
                await self.release.wait()
            if end == ["fail"]:
                await context.abort(grpc.StatusCode.DATA_LOSS, "lost")
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def join(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        """Return the requests as one."""
        return b",".join([request async for request in requests])

    async def chat(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """Return each request at once."""
        async for request in requests:
            yield request

    async def deaf(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        """Read one request, and the others when told to."""
        async for _ in requests:
            self.received += 1
            self.started.set()
            await self.release.wait()
        return str(self.received).encode()


@asynccontextmanager
async def running_echo_server(address: str = "127.0.0.1:0", **options: Any) -> AsyncIterator[EchoServer]:
    """Run a server on a free port."""
    server = EchoServer()
    await server.start(address, **options)
    try:
        yield server
    finally:
        await server.stop()
