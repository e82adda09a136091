"""The transcoder beside Envoy's, in one run and in turns: ratios of CPU and latency, routes, memory, and bulk.

Absolute figures of a shared machine drift; so each round measures all candidates one after the other, and what counts
is the median over the rounds of the ratio within a round.
"""

import contextlib
import http.client
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from tests.benchmarks.figures import Figure
from tests.benchmarks.load import Load, resident_megabytes, run_load
from tests.benchmarks.peers import Peers
from tests.benchmarks.stack import home_folder, running_stack, wait_for
from tests.support.bulk import PIECE, write_descriptors
from tests.support.memory import forget_peak, peak_megabytes
from tests.support.ports import free_port

ROUNDS = 3
ROUTE_ROUNDS = 31
"""More and shorter ones: what is looked for is smaller than what a shared machine adds to one of them."""
SECONDS = 4
SAY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi there"}]})
STREAM = json.dumps({"n": 100})
FEW, MANY = 20, 2_000
BULK_BYTES = 1 << 30
FLAT_REQUESTS, CUT_STREAMS = 200_000, 2_000


@dataclass(frozen=True, slots=True)
class Measured:
    """One candidate in one round: unary at c=32 and c=1, and streams of 100 messages at c=16."""

    many: Load
    alone: Load
    stream: Load


def measure() -> list[Figure]:
    """Runs Envoy and `gaia proxy` in front of the same backend."""
    peers = Peers()
    with peers.backend():
        return [*_beside_envoy(peers), *_routes(peers), *_memory(peers), *_bulk()]


def _beside_envoy(peers: Peers) -> Iterator[Figure]:
    rounds: list[dict[str, Measured]] = []
    with home_folder() as home, running_stack(home, {}) as stack:
        upstream = f"127.0.0.1:{peers.backend_port}"
        options = ["--upstream", upstream, "--descriptors", str(peers.descriptors)]
        auth = f"127.0.0.1:{stack.ports['auth']}"
        with _proxy(options) as plain, _proxy([*options, "--auth", auth]) as guarded:
            for _ in range(ROUNDS):
                one: dict[str, Measured] = {}
                for name, with_authorization in (("envoy", False), ("envoy+ext_authz", True)):
                    with peers.envoy(with_authorization=with_authorization) as pids:
                        one[name] = _measure(peers.envoy_url, peers.key, pids)
                one["proxy"] = _measure(plain.url, stack.key, [plain.pid])
                one["proxy+auth"] = _measure(guarded.url, stack.key, [guarded.pid, stack.pids["auth"]])
                rounds.append(one)
    for name in ("envoy", "envoy+ext_authz", "proxy", "proxy+auth"):
        yield Figure(f"{name}: CPU of a unary call, c=32", _median(rounds, name, _unary), "µs")
        yield Figure(f"{name}: p50 of a unary call, c=1", _median(rounds, name, _latency), "ms")
        yield Figure(f"{name}: CPU of a stream of 100", _median(rounds, name, _stream), "µs")
    yield Figure(
        "proxy --auth / Envoy + ext_authz: CPU, c=32", _ratio(rounds, "proxy+auth", "envoy+ext_authz", _unary), "x", 0.7
    )
    yield Figure(
        "proxy --auth / Envoy + ext_authz: p50, c=1",
        _ratio(rounds, "proxy+auth", "envoy+ext_authz", _latency),
        "x",
        1.0,
    )
    yield Figure("proxy / Envoy: CPU, c=32", _ratio(rounds, "proxy", "envoy", _unary), "x", 1.9)
    yield Figure("proxy / Envoy: CPU of a stream of 100", _ratio(rounds, "proxy", "envoy", _stream), "x", 3.0)


def _measure(url: str, key: str, pids: list[int]) -> Measured:
    headers = {"X-API-Key": key}
    run_load(f"{url}/v1/say", headers, connections=32, seconds=1, pids=pids, body=SAY)
    measured = Measured(
        many=run_load(f"{url}/v1/say", headers, connections=32, seconds=SECONDS, pids=pids, body=SAY),
        alone=run_load(f"{url}/v1/say", headers, connections=1, seconds=SECONDS, pids=pids, body=SAY),
        stream=run_load(f"{url}/v1/stream", headers, connections=16, seconds=SECONDS, pids=pids, body=STREAM),
    )
    if failed := measured.many.failed + measured.alone.failed + measured.stream.failed:
        raise RuntimeError(f"{failed} requests to {url} failed")
    return measured


def _routes(peers: Peers) -> Iterator[Figure]:
    with tempfile.TemporaryDirectory() as folder:
        proxies = {}
        with contextlib.ExitStack() as stack:
            for count in (FEW, MANY):
                file = Path(folder) / f"{count}.pb"
                file.write_bytes(_with_routes(peers.descriptors, count))
                options = ["--upstream", f"127.0.0.1:{peers.backend_port}", "--descriptors", str(file)]
                proxies[count] = stack.enter_context(_proxy(options))
            ratios = []
            for number in range(ROUTE_ROUNDS):
                cost = {}
                # In turns, so that a machine that grows slower or faster favours neither.
                for count in (FEW, MANY) if number % 2 else (MANY, FEW):
                    proxy = proxies[count]
                    url = f"{proxy.url}/r{count - 1}/say"
                    cost[count] = run_load(url, {}, connections=32, seconds=1, pids=[proxy.pid], body=SAY).cpu_us
                ratios.append(cost[MANY] / cost[FEW])
    yield Figure(f"{MANY} routes / {FEW} routes: CPU", statistics.median(ratios), "x", 1.05)
    yield Figure(f"start with {MANY} routes", proxies[MANY].start_seconds, "s", 2.0)


def _memory(peers: Peers) -> Iterator[Figure]:
    options = ["--upstream", f"127.0.0.1:{peers.backend_port}", "--descriptors", str(peers.descriptors)]
    with _proxy(options) as proxy:
        url = f"{proxy.url}/v1/say"
        served = run_load(url, {}, connections=32, seconds=SECONDS, pids=[proxy.pid], body=SAY).requests
        _cut_streams(proxy.url, 50)
        before = resident_megabytes([proxy.pid])
        while served < FLAT_REQUESTS:
            served += run_load(url, {}, connections=32, seconds=10, pids=[proxy.pid], body=SAY).requests
        _cut_streams(proxy.url, CUT_STREAMS)
        after = resident_megabytes([proxy.pid])
    yield Figure(f"growth over {FLAT_REQUESTS:,} requests and {CUT_STREAMS:,} cut streams", after - before, "MB", 10)


def _cut_streams(url: str, count: int) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    for _ in range(count):
        connection = http.client.HTTPConnection(host, int(port), timeout=10)
        connection.request("POST", "/v1/stream", json.dumps({"n": 100_000}), {"Content-Type": "application/json"})
        connection.getresponse().read(64)
        connection.close()


def _bulk() -> Iterator[Figure]:
    """Measures what of a gibibyte the proxy holds, on its way down and on its way up."""
    port = free_port()
    backend = subprocess.Popen([sys.executable, "-m", "tests.support.bulk", str(port)])
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "bulk.pb"
            write_descriptors(file)
            wait_for(port, backend)
            with _proxy(["--upstream", f"127.0.0.1:{port}", "--descriptors", str(file)]) as proxy:
                for name, move in (("download", _download), ("upload", _upload)):
                    move(proxy.url, BULK_BYTES >> 8)  # what is loaded and grown once is no matter of size
                    before = forget_peak(proxy.pid)
                    began = time.monotonic()
                    move(proxy.url, BULK_BYTES)
                    seconds = time.monotonic() - began
                    yield Figure(f"{name} of 1 GiB: extra memory", peak_megabytes(proxy.pid) - before, "MB", 64)
                    yield Figure(f"{name} of 1 GiB", BULK_BYTES / seconds / 1e6, "MB/s")
    finally:
        backend.terminate()
        backend.wait(15)


def _download(url: str, size: int) -> None:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    with contextlib.closing(connection):
        connection.request("GET", f"/v1/blobs/{size}")
        response = connection.getresponse()
        received = 0
        while piece := response.read(len(PIECE)):
            received += len(piece)
    if received != size:
        raise RuntimeError(f"{received} bytes came of {size}")


def _upload(url: str, size: int) -> None:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
    with contextlib.closing(connection):
        pieces = (PIECE for _ in range(size // len(PIECE)))
        connection.request("PUT", "/v1/blobs/x", pieces, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        counted = json.load(connection.getresponse())
    if int(counted["size"]) != size:
        raise RuntimeError(f"{counted['size']} bytes came of {size}")


@dataclass(frozen=True, slots=True)
class _Proxy:
    url: str
    pid: int
    start_seconds: float


@contextlib.contextmanager
def _proxy(options: list[str]) -> Iterator[_Proxy]:
    port = free_port()
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.cli.main", "proxy", *options, "--port", str(port)], stdout=subprocess.DEVNULL
    )
    try:
        wait_for(port, process)
        yield _Proxy(f"http://127.0.0.1:{port}", process.pid, time.monotonic() - began)
    finally:
        process.terminate()
        process.wait(15)


def _with_routes(descriptors: Path, count: int) -> bytes:
    """Returns the backend's descriptor set with `count` routes to its unary method, `/r0/say` to `/rN/say`."""
    files = FileDescriptorSet.FromString(descriptors.read_bytes())
    echo: FileDescriptorProto = next(file for file in files.file if file.package == "bench.v1")
    rule = echo.service[0].method[0].options.Extensions[annotations_pb2.http]
    for number in range(count):
        rule.additional_bindings.add(post=f"/r{number}/say", body="*")
    return files.SerializeToString()


def _unary(measured: Measured) -> float:
    return measured.many.cpu_us


def _latency(measured: Measured) -> float:
    return measured.alone.p50_ms


def _stream(measured: Measured) -> float:
    return measured.stream.cpu_us


def _median(rounds: list[dict[str, Measured]], name: str, what: Callable[[Measured], float]) -> float:
    return statistics.median(what(one[name]) for one in rounds)


def _ratio(rounds: list[dict[str, Measured]], name: str, peer: str, what: Callable[[Measured], float]) -> float:
    return statistics.median(what(one[name]) / what(one[peer]) for one in rounds)
