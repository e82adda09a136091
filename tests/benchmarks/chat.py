"""What a chat completion costs, beside LiteLLM and Portkey in one run and in turns.

Gaia runs whole: edge, auth, chat, asset and Postgres, with authentication, ledger and persistence on. Its CPU is that
of all five with their children. What counts is the median over the rounds, and of the ratio within a round where there
is one: absolute figures of a shared machine drift.
"""

import contextlib
import json
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.benchmarks.chat_peers import COMPLETIONS, MODEL, Candidate, ChatPeers
from tests.benchmarks.figures import Figure
from tests.benchmarks.load import Load, resident_megabytes, run_load
from tests.benchmarks.stack import Stack, home_folder, running_stack, wait_for
from tests.support.ports import free_port

GAIA = "Gaia"
ROUNDS = 3
SECONDS = 8
WARM_UP_SECONDS = 5
CONNECTIONS = 16
MESSAGES = [{"role": "user", "content": "hi there"}]
UNARY = json.dumps({"model": MODEL, "messages": MESSAGES})
STREAM = json.dumps({"model": MODEL, "messages": MESSAGES, "stream": True})
PACED_MODEL = "bench-paced"
PACED_STREAMS, PACED_CHUNKS, PACE_MS = 200, 100, 50


@dataclass(frozen=True, slots=True)
class Measured:
    """One candidate in one round: unary calls at c=16 and c=1, and streams of 100 chunks at c=16 if it has them."""

    many: Load
    alone: Load
    stream: Load | None


Round = dict[str, Measured]


def measure() -> list[Figure]:
    """Runs Gaia, LiteLLM and Portkey in front of the same upstream, then Gaia with many slow streams."""
    peers = ChatPeers()
    with contextlib.ExitStack() as stack:
        upstream = stack.enter_context(peers.upstream())
        paced = stack.enter_context(_paced_upstream())
        gaia = stack.enter_context(running_stack(stack.enter_context(home_folder()), _environment(upstream, paced)))
        candidates = [
            Candidate("upstream", upstream.removesuffix("/v1") + COMPLETIONS, {}, []),
            Candidate(GAIA, gaia.url + COMPLETIONS, {"X-API-Key": gaia.key}, list(gaia.pids.values())),
        ]
        candidates += [
            peer
            for peer in (stack.enter_context(peers.litellm(upstream)), stack.enter_context(peers.portkey(upstream)))
            if peer is not None
        ]
        for candidate in candidates:
            _run(candidate, UNARY, CONNECTIONS, WARM_UP_SECONDS)
        rounds: list[Round] = [{one.name: _measure(one) for one in candidates} for _ in range(ROUNDS)]
        return [*_completions(rounds), *_paced(gaia, paced)]


def _environment(upstream: str, paced: str) -> dict[str, str]:
    endpoint = {"id": "paced", "name": "paced", "base_url": paced, "api_key": "none", "models": [PACED_MODEL]}
    return {
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": upstream,
        "GAIA_OPENAI_MODELS": json.dumps([MODEL]),
        "GAIA_OPENAI_COMPATIBLE": json.dumps([endpoint]),
    }


def _measure(candidate: Candidate) -> Measured:
    return Measured(
        many=_load(candidate, UNARY, CONNECTIONS, SECONDS),
        alone=_load(candidate, UNARY, 1, SECONDS),
        stream=_stream(candidate) if candidate.streams else None,
    )


def _load(candidate: Candidate, body: str, connections: int, seconds: int) -> Load:
    load = _run(candidate, body, connections, seconds)
    if load.failed or not load.requests:
        raise RuntimeError(f"{load.failed} of {load.requests} requests to {candidate.name} failed")
    return load


def _stream(candidate: Candidate) -> Load | None:
    """Returns what streams cost; None where a peer ended none in the time, as happens on a crowded machine."""
    load = _run(candidate, STREAM, CONNECTIONS, SECONDS)
    if load.failed or (not load.requests and candidate.name == GAIA):
        raise RuntimeError(f"{load.failed} of {load.requests} streams of {candidate.name} failed")
    return load if load.requests else None


def _run(candidate: Candidate, body: str, connections: int, seconds: int) -> Load:
    return run_load(
        candidate.url, candidate.headers, connections=connections, seconds=seconds, pids=candidate.pids, body=body
    )


def _completions(rounds: Sequence[Round]) -> Iterator[Figure]:
    for name in (name for name in rounds[0] if name != "upstream"):
        held = name == GAIA  # what others do is shown, not judged
        yield Figure(f"{name}: CPU of a completion, c=16", _median(rounds, name, _unary), "µs", 1_000 if held else None)
        yield Figure(
            f"{name}: completions a second, c=16",
            _median(rounds, name, lambda measured: measured.many.per_second),
            "/s",
            1_000 if held else None,
            at_least=True,
        )
        added = statistics.median(one[name].alone.p50_ms - one["upstream"].alone.p50_ms for one in rounds)
        yield Figure(f"{name}: added latency, p50, c=1", added, "ms", 2.5 if held else None)
        if streams := [load.cpu_us for one in rounds if (load := one[name].stream)]:
            median = statistics.median(streams) / 1e3
            yield Figure(f"{name}: CPU of a stream of 100 chunks", median, "ms", 5 if held else None)
    if "LiteLLM" in rounds[0]:
        ratio = statistics.median(_unary(one[GAIA]) / _unary(one["LiteLLM"]) for one in rounds)
        yield Figure("Gaia / LiteLLM: CPU of a completion, c=16", ratio, "x", 0.125)


def _paced(gaia: Stack, upstream: str) -> Iterator[Figure]:
    name = f"{PACED_STREAMS} paced streams"
    straight = _pace(f"{upstream}/chat/completions", "")
    with _watching_memory(gaia.services) as largest:
        through = _pace(gaia.url + COMPLETIONS, gaia.key)
    expected = PACED_STREAMS * PACED_CHUNKS
    yield Figure(f"{name}, straight to the upstream: chunks late by, p99", straight["p99_ms"], "ms")
    yield Figure(f"{name}: chunks late by, p50", through["p50_ms"], "ms")
    yield Figure(f"{name}: chunks late by, p99", through["p99_ms"], "ms", 50)
    yield Figure(f"{name}: chunks that came", through["chunks"], "", expected, at_least=True)
    yield Figure(f"{name}: largest process", max(largest), "MB", 150)


def _pace(url: str, key: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.benchmarks.paced", url, PACED_MODEL, str(PACED_STREAMS), key]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


@contextlib.contextmanager
def _paced_upstream() -> Iterator[str]:
    port = free_port()
    command = [sys.executable, "-m", "tests.benchmarks.upstream", str(port), str(PACED_CHUNKS), str(PACE_MS)]
    process = subprocess.Popen(command)
    try:
        wait_for(port, process)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(5)


@contextlib.contextmanager
def _watching_memory(pids: Sequence[int]) -> Iterator[list[float]]:
    """Looks at processes twice a second while the block runs; yields the list of the largest one's megabytes."""
    sizes: list[float] = []
    ended = threading.Event()

    def watch() -> None:
        while True:
            sizes.append(max(resident_megabytes([pid]) for pid in pids))
            if ended.wait(0.5):
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield sizes
    finally:
        ended.set()
        thread.join()


def _unary(measured: Measured) -> float:
    return measured.many.cpu_us


def _median(rounds: Sequence[Round], name: str, what: Callable[[Measured], float]) -> float:
    return statistics.median(what(one[name]) for one in rounds)
