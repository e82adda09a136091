"""Load from wrk, and what it costs the processes that serve it."""

import contextlib
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass(frozen=True, slots=True)
class Load:
    """What one run gave. Latencies in milliseconds; `cpu_us` is CPU of the watched processes per request."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    failed: int
    cpu_us: float


def run_load(
    url: str,
    headers: Mapping[str, str],
    *,
    connections: int,
    seconds: int,
    pids: Sequence[int],
    body: str | None = None,
) -> Load:
    """Loads a URL on one thread, GET or, with a body, POST. Raises RuntimeError where wrk is missing or fails."""
    if shutil.which("wrk") is None:
        raise RuntimeError("the benchmarks need wrk; install the package of that name")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "load.lua"
        script.write_text(_script(headers, body))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}", "-s", str(script), "--latency", url]
        before = cpu_seconds(pids)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        spent = cpu_seconds(pids) - before
    if done.returncode:
        raise RuntimeError(f"wrk failed: {done.stderr.strip()}")
    out = done.stdout
    requests = int(_find(r"(\d+) requests in", out))
    return Load(
        requests=requests,
        per_second=float(_find(r"Requests/sec:\s+([\d.]+)", out)),
        p50_ms=_milliseconds(_find(r"^\s+50%\s+(\S+)$", out)),
        p99_ms=_milliseconds(_find(r"^\s+99%\s+(\S+)$", out)),
        failed=int(_find(r"Non-2xx or 3xx responses: (\d+)", out)),
        cpu_us=spent / max(requests, 1) * 1e6,
    )


def cpu_seconds(pids: Sequence[int]) -> float:
    """CPU time that processes and their children have used, those that have ended since included."""
    total = 0.0
    for process in _families(pids):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def resident_megabytes(pids: Sequence[int]) -> float:
    """Resident memory of processes and their children, in units of 2^20 bytes."""
    total = 0
    for process in _families(pids):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += process.memory_info().rss
    return total / 2**20


def _families(pids: Sequence[int]) -> list[psutil.Process]:
    found: dict[int, psutil.Process] = {}
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            leader = psutil.Process(pid)
            found |= {process.pid: process for process in (leader, *leader.children(recursive=True))}
    return list(found.values())


def _script(headers: Mapping[str, str], body: str | None) -> str:
    lines = [f"wrk.headers[{json.dumps(name)}]={json.dumps(value)}" for name, value in headers.items()]
    if body is not None:
        lines += ['wrk.method="POST"', f"wrk.body={json.dumps(body)}", 'wrk.headers["Content-Type"]="application/json"']
    return "\n".join(lines)


def _find(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1] if found else "0"


def _milliseconds(text: str) -> float:
    found = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    return float(found[1]) * _UNITS[found[2]] if found else 0.0
