"""Serves an ASGI application over real HTTP, as the edge does."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any

import uvicorn


@asynccontextmanager
async def running_asgi(app: Any, **options: Any) -> AsyncIterator[str]:
    """Serve the application on a free port of the loopback address, and give its URL; options are uvicorn's."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="critical", lifespan="off", access_log=False, **options)
        server = _Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await server.listening.wait()
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]  # the caller only enters it
        """Leave the test runner's handlers alone."""
        return nullcontext()
