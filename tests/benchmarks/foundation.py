"""The figures of the whole mesh: its start, a small authenticated request, a stream's first byte, memory."""

import contextlib
import http.client
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

from tests.benchmarks.figures import Figure
from tests.benchmarks.load import resident_megabytes, run_load
from tests.benchmarks.stack import Stack, home_folder, running_stack
from tests.support.ports import free_port

SECONDS = 6
STREAMS = 40


def measure() -> list[Figure]:
    """Runs the platform twice on one folder and measures it."""
    with home_folder() as home, _upstream() as base_url:
        provider = [{"id": "bench", "name": "bench", "base_url": base_url, "api_key": "none", "models": ["bench"]}]
        environment = {"GAIA_OPENAI_COMPATIBLE": json.dumps(provider)}
        with running_stack(home, environment) as stack:
            first = Figure("gaia up on an empty folder, to ready", stack.start_seconds, "s", 90)
        with running_stack(home, environment) as stack:
            again = Figure("gaia up again, to ready", stack.start_seconds, "s", 6)
            return [first, again, *_providers(stack), *_first_bytes(stack), _memory(stack)]


def _providers(stack: Stack) -> Iterator[Figure]:
    url, headers = f"{stack.url}/api/v0.2/providers", {"X-API-Key": stack.key}
    edge = [stack.pids["edge"]]
    run_load(url, headers, connections=32, seconds=2, pids=edge)  # warm up
    alone = run_load(url, headers, connections=1, seconds=SECONDS, pids=edge)
    many = run_load(url, headers, connections=32, seconds=SECONDS, pids=edge)
    yield Figure("GET /api/v0.2/providers, c=1: p50", alone.p50_ms, "ms", 3)
    yield Figure("GET /api/v0.2/providers, c=32: CPU of the edge a request", many.cpu_us, "µs", 300)
    yield Figure("GET /api/v0.2/providers, c=32: requests a second", many.per_second, "/s")
    yield Figure("failed requests", alone.failed + many.failed, "", 0)


def _first_bytes(stack: Stack) -> Iterator[Figure]:
    delays = [_first_byte_delay(stack) for _ in range(STREAMS)]
    yield Figure("streamed chat, first byte after the provider's: median", statistics.median(delays) * 1e3, "ms", 10)
    yield Figure("streamed chat, first byte after the provider's: worst", max(delays) * 1e3, "ms")


def _first_byte_delay(stack: Stack) -> float:
    address = urlsplit(stack.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=10)
    body = json.dumps({"message": "go", "provider": "bench", "model": "bench"})
    headers = {"X-API-Key": stack.key, "Content-Type": "application/json"}
    connection.request("POST", "/api/v0.2/chat/stream", body, headers)
    response = connection.getresponse()
    while line := response.readline():
        if b'"type":"content"' in line:
            delay = time.monotonic() - float(json.loads(line.removeprefix(b"data: "))["content"].split()[0])
            response.read()
            connection.close()
            return delay
    raise RuntimeError(f"the stream held no content (status {response.status})")


def _memory(stack: Stack) -> Figure:
    return Figure("resident memory of the four processes after the runs", resident_megabytes(stack.services), "MB", 500)


@contextlib.contextmanager
def _upstream() -> Iterator[str]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.benchmarks.upstream", str(port)])
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(5)
