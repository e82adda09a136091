"""`python -m tests.soak [SECONDS]`: visitors come and go; afterwards the server must hold what it held before."""

import asyncio
import gc
import json
import random
import ssl
import sys
import tempfile
from pathlib import Path
from typing import Any

import grpc

from tests.soak.visiting import LOST, Server, Visits

AT_ONCE = 24
"""Visitors at once."""
ROUNDS = 4
"""The run's parts; after each, what is held is told. The first one is for what is made once and kept."""
RSS_GROWTH = 12 << 20
"""By which memory may differ after the first part: pages that the allocator keeps."""


class Process:
    """The server's process, asked by lines."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls) -> "Process":
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.soak.serving",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        )

    async def line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        found: dict[str, Any] = json.loads(await asyncio.wait_for(self._process.stdout.readline(), 30))
        return found

    async def held(self) -> dict[str, int]:
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        return await self.line()

    async def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        await asyncio.wait_for(self._process.wait(), 30)


def _server(told: dict[str, str]) -> Server:
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for name in ("ca", "certificate", "key"):
            files[name] = Path(folder, name)
            files[name].write_text(told[name])
        context = ssl.create_default_context(cafile=str(files["ca"]))
        context.load_cert_chain(files["certificate"], files["key"])
    context.set_alpn_protocols(["h2"])
    credentials = grpc.ssl_channel_credentials(told["ca"].encode(), told["key"].encode(), told["certificate"].encode())
    return Server(told["plain"], told["tls"], credentials, context)


async def _visit(visits: Visits, until: float) -> None:
    while asyncio.get_running_loop().time() < until:
        await visits.any()


async def _settled(process: Process) -> dict[str, int]:
    """Return what the server holds when the last visitor's farewell is over."""
    found = await process.held()
    for _ in range(40):
        # The gRPC library keeps connections for calls that nobody has any more.
        gc.collect()
        await asyncio.sleep(0.5)
        before, found = found, await process.held()
        if found["open"] == found["running"] == found["calls"] == 0 and found["fds"] == before["fds"]:
            break
    return found


async def soak(seconds: float) -> int:
    """Return how much was not as before, in kinds."""
    process = await Process.start()
    visits = Visits(_server(await process.line()), random.Random(7))
    loop = asyncio.get_running_loop()
    tasks = len(asyncio.all_tasks())
    rounds: list[dict[str, int]] = []
    for number in range(ROUNDS):
        until = loop.time() + seconds / ROUNDS
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(_visit(visits, until))
        rounds.append({**await _settled(process), "client_tasks": len(asyncio.all_tasks()) - tasks})
        print(f"part {number + 1}: {sum(visits.counts.values())} visits and calls, then {rounds[-1]}", flush=True)
    print(json.dumps(dict(sorted(visits.counts.items())), indent=1))
    await process.stop()
    first, last = rounds[0], rounds[-1]
    worse = [name for name in last if name != "rss" and last[name] > first[name]]
    if last["rss"] - first["rss"] > RSS_GROWTH:
        worse.append("rss")
    worse += [name for name in ("calls", "open", "running", "held_bytes", "client_tasks") if last[name]]
    worse += [name for name in visits.counts if name.startswith(LOST)]
    print("as before" if not worse else f"more than before: {', '.join(worse)}")
    return len(worse)


if __name__ == "__main__":
    sys.exit(min(1, asyncio.run(soak(float(sys.argv[1]) if len(sys.argv) > 1 else 120))))
