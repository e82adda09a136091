"""`gaia up` as a process, with a home and ports of its own."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import psutil

from deploy.local.home import Home
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
PROCESSES = ["postgres", "auth", "asset", "chat", "edge"]


class Gaia:
    """The command line, with a home and ports of its own."""

    def __init__(self, home: Path) -> None:
        self.home = Home(home)
        names = ("EDGE", "AUTH", "ASSET", "CHAT")
        self.ports = {name: free_port() for name in names}
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GAIA_", "DATABASE_", "PG"))}
        self.environment = {
            **kept,
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos' / 'stubs'}",
            "GAIA_HOME": str(home),
            "GAIA_URL": f"http://127.0.0.1:{self.ports['EDGE']}",
            "COLUMNS": "200",
            **{f"GAIA_{name}_PORT": str(port) for name, port in self.ports.items()},
        }

    async def start(self, *arguments: str, **environment: str) -> asyncio.subprocess.Process:
        """Starts a command; `environment` is added to its own."""
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "deploy.cli.main",
            *arguments,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    async def run(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """Runs a command to its end; returns its exit code and what it said."""
        process = await self.start(*arguments, **environment)
        async with asyncio.timeout(60):
            said, _ = await process.communicate()
        return await process.wait(), said.decode()

    def pids(self) -> dict[str, int]:
        """Returns the running processes, by name."""
        state = json.loads(self.home.state.read_text())
        return {process["name"]: process["pid"] for process in state["processes"]}


async def lines_until(process: asyncio.subprocess.Process, text: str) -> str:
    """Reads what a process says until a line holds the text; returns all of it."""
    said = ""
    assert process.stdout is not None
    async with asyncio.timeout(60):
        while text not in said:
            line = (await process.stdout.readline()).decode()
            assert line, f"ended before {text!r}:\n{said}"
            said += line
    return said


async def ended(pids: Iterable[int]) -> None:
    """Returns when none of the processes runs any more."""
    processes = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            processes.append(psutil.Process(pid))
    _, alive = await asyncio.to_thread(psutil.wait_procs, processes, 20)
    # Where nobody reaps orphans, the dead stay listed.
    assert [one for one in alive if one.status() != psutil.STATUS_ZOMBIE] == []
