"""Streaming calls that a server refuses while messages are on their way, on uvloop; prints how often each status came.

Run as a program, since one process should use gRPC on one event loop.
"""

import asyncio
from collections import Counter
from typing import Any

import grpc
import uvloop

from edge.transcoding.transport.channel import CallEndedError
from edge.transcoding.transport.grpc_aio import GrpcAioChannel

CALLS = 200
# How many turns of the loop pass before a message goes out; which of them meets the refusal depends on the machine.
TURNS = 5


async def main() -> None:
    """Make the calls, and print."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    codes: Counter[str] = Counter()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        method = GrpcAioChannel(channel).method("/a.B/C", client_streaming=True, server_streaming=True)
        for number in range(CALLS):
            call = method(timeout=None, metadata=())
            feeding = asyncio.create_task(_feed(call, number % TURNS))
            try:
                await anext(aiter(call))
            except grpc.aio.AioRpcError as error:
                codes[error.code().name] += 1
            await feeding
    await server.stop(None)
    for code, count in codes.items():
        print(code, count)


async def _feed(call: Any, turns: int) -> None:
    try:
        while True:
            await call.write(b"x" * 1000)
            for _ in range(turns):
                await asyncio.sleep(0)
    except CallEndedError:
        return


if __name__ == "__main__":
    uvloop.run(main())
