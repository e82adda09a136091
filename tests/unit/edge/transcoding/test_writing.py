"""Behaviour of edge/transcoding/writing.py."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from edge.transcoding.writing import CallEndedError, write

ROOT = Path(__file__).parents[4]


async def test_messages_arrive_in_their_order() -> None:
    async def collect(requests: Any, context: Any) -> bytes:
        return b",".join([request async for request in requests])

    async with running(collect) as channel:
        call: Any = channel.stream_unary("/a.B/C")()
        for message in (b"1", b"2", b"3"):
            await write(call, message)
        await call.done_writing()
        assert await call == b"1,2,3"


async def test_a_call_that_has_ended_says_so() -> None:
    async def refuse(requests: Any, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")
        return b""

    async with running(refuse) as channel:
        call: Any = channel.stream_unary("/a.B/C")()
        assert await call.code() is grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises((CallEndedError, grpc.aio.AioRpcError)):
            await write(call, b"late")
        assert await call.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_a_refusal_that_overtakes_a_message_keeps_its_status() -> None:
    """On uvloop the server's refusal often arrives while a message is on its way."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.refused_calls"), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out.decode().split() == ["UNIMPLEMENTED", "200"]


@asynccontextmanager
async def running(method: Any) -> AsyncIterator[grpc.aio.Channel]:
    """A server with one streaming method, or none, and a channel to it."""
    server = grpc.aio.server()
    if method is not None:
        handlers: Any = {"C": grpc.stream_unary_rpc_method_handler(method)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)
