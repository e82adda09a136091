"""An edge of several processes on one port, as whoever runs it sees it."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.ports import free_port
from tests.support.process import Process
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[3]


class Edge:
    """A running edge with two workers; `url` is where it serves."""

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def workers(self) -> set[int]:
        """Ids of the processes that listen on the port."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        return {child.pid for child in children if _listens(child, self.port)}

    async def has_workers(self, count: int) -> set[int]:
        """Waits until so many processes listen, and returns their ids."""

        async def found() -> set[int]:
            self.process.check()
            workers = self.workers()
            return workers if len(workers) == count else set()

        return await eventually(found, 20)

    async def alive(self) -> int:
        """The status of /livez on a connection of its own."""
        async with httpx.AsyncClient(trust_env=False) as http:
            return (await http.get(f"{self.url}/livez")).status_code


def _listens(process: psutil.Process, port: int) -> bool:
    try:
        connections = process.net_connections("tcp")
    except psutil.NoSuchProcess:
        return False
    return any(c.status == psutil.CONN_LISTEN and c.laddr.port == port for c in connections)


@asynccontextmanager
async def running_edge(folder: Path, port: int, **settings: str) -> AsyncIterator[Edge]:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos' / 'stubs'}",
        "GAIA_EDGE_PORT": str(port),
        "GAIA_EDGE_WORKERS": "2",
        "GAIA_DRAIN_SECONDS": "5",
        "GAIA_AUTH_TARGET": "dns:///127.0.0.1:1",
        **settings,
    }
    process = Process("edge", [sys.executable, "-m", "edge"], environment, folder / "edge.log")
    process.start()
    try:
        yield Edge(process, port)
    finally:
        if process.is_running:
            await process.end()


async def test_workers_share_a_port_are_replaced_when_they_die_and_end_after_their_requests(tmp_path: Path) -> None:
    metrics = free_port()
    async with running_edge(tmp_path, free_port(), GAIA_METRICS_LISTEN=f"127.0.0.1:{metrics}") as edge:
        workers = await edge.has_workers(2)
        assert edge.process.pid not in workers
        await both_serve(edge)
        async with httpx.AsyncClient(trust_env=False) as http:
            for port in (metrics, metrics + 1):
                assert "gaia_identity_cached" in (await http.get(f"http://127.0.0.1:{port}/metrics")).text
        killed, other = sorted(workers)
        os.kill(killed, signal.SIGKILL)
        await eventually(replaced(edge, killed), 20)
        assert other in edge.workers()
        assert "and is started again in 0.5 s" in edge.process.text()
        reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        head = b"POST /api/v1/auth/validate HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        writer.write(head)
        assert b"100 Continue" in await reader.readline()  # the request is under way
        ending = asyncio.create_task(edge.process.end())
        await eventually(lambda: refuses(edge.port), 5)
        assert not ending.done()
        writer.write(b"{}")
        assert b"HTTP/1.1 503" in await reader.read()  # auth is away, and its answer was waited for
        writer.close()
        assert await ending == 0
        assert not any(psutil.pid_exists(pid) for pid in workers)


def replaced(edge: Edge, killed: int) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        assert await edge.alive() == 200  # the other one serves meanwhile
        workers = edge.workers()
        return len(workers) == 2 and killed not in workers

    return ask


async def both_serve(edge: Edge) -> None:
    """Connects until each worker has had a connection."""
    served: set[int] = set()

    async def connected() -> bool:
        _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
        own = writer.get_extra_info("sockname")[1]

        async def holder() -> int:
            for pid in edge.workers():
                for connection in psutil.Process(pid).net_connections("tcp"):
                    if connection.raddr and connection.raddr.port == own:
                        return pid
            return 0

        served.add(await eventually(holder, 5))
        writer.close()
        return len(served) == 2

    await eventually(connected, 20)


async def refuses(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return True
    writer.close()
    return False


async def test_a_port_that_is_taken_is_told_in_one_line_even_where_it_could_be_shared(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        async with running_edge(tmp_path, taken) as edge:
            with pytest.raises(RuntimeError, match="ended with code 2"):
                await eventually(asked(edge.process), 20)
            said = f"edge: GAIA_EDGE_HOST, GAIA_EDGE_PORT: cannot listen on 127.0.0.1:{taken}: Address already in use"
            assert edge.process.text().strip() == said


def asked(process: Process) -> Callable[[], Awaitable[bool]]:
    async def ask() -> bool:
        process.check()
        return False

    return ask
