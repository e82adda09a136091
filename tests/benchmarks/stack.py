"""The whole platform as `gaia up` starts it, in a folder of its own."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.ports import free_port

START_SECONDS = 120
STOP_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Stack:
    """A running platform: the edge's URL, a key, the pids of its processes and the ports of its services by name, and
    how long the start took.
    """

    url: str
    key: str
    pids: Mapping[str, int]
    ports: Mapping[str, int]
    start_seconds: float

    @property
    def services(self) -> list[int]:
        """Pids of the four processes, Postgres left out."""
        return [pid for name, pid in self.pids.items() if name != "postgres"]


@contextlib.contextmanager
def home_folder() -> Iterator[Path]:
    """A folder for `GAIA_HOME` that is removed at the end."""
    # Not below a private folder: under root the embedded Postgres runs as another user and must get through.
    folder = Path(tempfile.mkdtemp(prefix="gaia-bench-"))
    try:
        yield folder / "home"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running_stack(home: Path, environment: Mapping[str, str]) -> Iterator[Stack]:
    """Runs `gaia up` on free ports. Raises RuntimeError with its output when it does not come up."""
    port = free_port()
    ports = {name: free_port() for name in ("auth", "chat", "asset")}
    settings = {
        "GAIA_HOME": str(home),
        "GAIA_EDGE_PORT": str(port),
        **{f"GAIA_{name.upper()}_PORT": str(number) for name, number in ports.items()},
        **environment,
    }
    log = home.parent / "up.log"
    began = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "deploy.cli.main", "up"],
            env={**os.environ, **settings},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, process, log)
        took = time.monotonic() - began
        state = json.loads((home / "state.json").read_text())
        pids = {one["name"]: one["pid"] for one in state["processes"]}
        yield Stack(url, (home / "dev-api-key").read_text().strip(), pids, ports, took)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Returns when a process listens on a port. Raises RuntimeError when it ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise RuntimeError(f"{process.args!r} does not listen on port {port}")


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError, urllib.error.URLError, ValueError):
            report = json.loads(urllib.request.urlopen(f"{url}/health", timeout=2).read())
            if report["status"] == "healthy":
                return
        time.sleep(0.05)
    raise RuntimeError(f"gaia up did not get ready:\n{log.read_text(errors='replace')[-4000:]}")
