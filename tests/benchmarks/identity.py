"""The figures of identity: what a cached and an uncached key cost, how soon a revocation ends one, what guessing does.

auth runs as a process of its own; the edge's part is measured in this one, where its clock is.
"""

import asyncio
import contextlib
import os
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import asyncpg
import grpc
import psutil
from gaia.auth.v1 import auth_service_pb2
from gaia.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from grpc_health.v1 import health_pb2, health_pb2_grpc

from edge.app import build_transcoder, services
from edge.auth import Authorizer
from edge.transcoding.errors import RpcFailure
from edge.transcoding.routes import Route
from services.auth.bootstrap import ensure_user_with_key
from shared.errors import Unauthenticated
from shared.identity import api_key
from shared.rpc.channel import connect
from shared.rpc.mesh import MeshIdentity, following, mesh_identity
from tests.benchmarks.figures import Figure
from tests.support.auth import new_signing_key
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer, running_server
from tests.support.waiting import eventually

ENVIRONMENT = "bench"
CALLS = 4000
ROUNDS = 7
REVOCATIONS = 200
WRONG_KEYS = 100_000
MANY_KEYS = 1_000_000


@dataclass(frozen=True, slots=True)
class Bench:
    """auth as a process, a channel to it, and its database."""

    process: psutil.Process
    channel: grpc.aio.Channel
    database: asyncpg.Connection

    async def new_key(self, name: str = "bench") -> str:
        """Makes a key with the scope `admin` for a user of its own."""
        email = f"{api_key.generate('x')[7:20]}@bench.test"
        key = await ensure_user_with_key(
            self.database, email=email, environment=ENVIRONMENT, key_name=name, scopes=["admin"]
        )
        assert key is not None
        return key


def measure() -> list[Figure]:
    """Measures everything on a database of its own."""
    with contextlib.contextmanager(running_server)() as postgres:
        return asyncio.run(_measure(postgres))


async def _measure(postgres: PostgresServer) -> list[Figure]:
    async with _running(postgres) as bench:
        identity = mesh_identity(ENVIRONMENT, bench.channel)
        async with following(identity.feed, bench.channel):
            figures = [await _cached(bench, identity)]
            figures += await _same_time(bench)
            figures += await _revocations(bench, identity)
            figures += await _wrong_keys(bench, identity)
    async with _running(postgres) as few, _running(postgres) as many:
        some = [await few.new_key() for _ in range(50)]
        return figures + await _uncached((few, some), (many, await _fill(many)))


async def _cached(bench: Bench, identity: MeshIdentity) -> Figure:
    """One decision of the edge about a request whose key is cached: credential, identity, scope, limits."""
    authorizer = Authorizer(services(), identity.authenticator, trusted_proxies=0)
    route, key = _route(bench.channel, authorizer), await bench.new_key()
    await identity.authenticator.authenticate(key)
    scope = _scope(key)
    rounds = []
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(2000):
            authorizer(route, scope)
        rounds.append((time.perf_counter() - began) / 2000)
    return Figure("cached authentication at the edge: median", statistics.median(rounds) * 1e6, "µs", 10)


@dataclass(frozen=True, slots=True)
class Uncached:
    """What Authenticate took: the median of calls one by one, and how many a second of auth's processor time allows."""

    p50: float
    rate: float


async def _uncached(few: tuple[Bench, Sequence[str]], many: tuple[Bench, Sequence[str]]) -> list[Figure]:
    """Authenticate with few keys in the table and with a million, in turn, so that the machine's moods fall on both."""
    calls = [await _authenticate(bench, keys) for bench, keys in (few, many)]
    rounds = [[await call() for call in calls] for _ in range(ROUNDS)]
    figures = []
    for what, measured in zip(("few keys", f"{MANY_KEYS:,} keys"), zip(*rounds, strict=True), strict=True):
        p50, rate = (
            statistics.median(values) for values in zip(*((one.p50, one.rate) for one in measured), strict=True)
        )
        figures += [
            Figure(f"uncached Authenticate p50, {what} in the table", p50 * 1e3, "ms", 3),
            Figure(f"uncached Authenticate a second and core, {what} in the table", rate, "/s", 800, at_least=True),
        ]
    slower = statistics.median(full.p50 / empty.p50 for empty, full in rounds)
    rate = statistics.median(full.rate / empty.rate for empty, full in rounds)
    return [
        *figures,
        Figure(f"uncached Authenticate p50, {MANY_KEYS:,} keys to few", slower, "x", 1.1),
        Figure(f"uncached Authenticate a second and core, {MANY_KEYS:,} keys to few", rate, "x", 0.9, at_least=True),
    ]


async def _authenticate(bench: Bench, keys: Sequence[str]) -> Callable[[], Awaitable[Uncached]]:
    """Returns what measures a round."""
    stub = AuthServiceStub(bench.channel)

    async def call(number: int) -> None:
        await stub.Authenticate(auth_service_pb2.AuthenticateRequest(api_key=keys[number % len(keys)]))

    async def measure() -> Uncached:
        alone = await _each(call, CALLS // 8, 1)
        spent = sum(bench.process.cpu_times()[:2])
        await _each(call, CALLS, 16)
        return Uncached(statistics.median(alone), CALLS / (sum(bench.process.cpu_times()[:2]) - spent))

    await _each(call, 1000, 8)  # warm up
    return measure


async def _same_time(bench: Bench) -> list[Figure]:
    """How long each of the four refusals takes, and how far they lie apart."""
    kinds = {"unknown": api_key.generate(ENVIRONMENT)}
    for kind, change in {
        "revoked": "UPDATE api_keys SET is_active = false WHERE key_hash = $1",
        "expired": "UPDATE api_keys SET expires_at = now() - interval '1 day' WHERE key_hash = $1",
        "inactive": "UPDATE users SET is_active = false WHERE id = (SELECT user_id FROM api_keys WHERE key_hash = $1)",
    }.items():
        kinds[kind] = await bench.new_key()
        await bench.database.execute(change, api_key.digest(kinds[kind]))
    stub = AuthServiceStub(bench.channel)
    times: dict[str, list[float]] = {kind: [] for kind in kinds}

    for _ in range(800):  # in turn, so that what else the machine does falls on all of them
        for kind, key in kinds.items():
            began = time.perf_counter()
            with contextlib.suppress(grpc.aio.AioRpcError):
                await stub.Authenticate(auth_service_pb2.AuthenticateRequest(api_key=key))
            times[kind].append(time.perf_counter() - began)
    medians = {kind: statistics.median(taken) * 1e6 for kind, taken in times.items()}
    each = [Figure(f"refusal, {kind} key: median", median, "µs") for kind, median in medians.items()]
    apart = max(medians.values()) / min(medians.values())
    return [*each, Figure("refusals: slowest median to fastest", apart, "x", 1.1)]


async def _revocations(bench: Bench, identity: MeshIdentity) -> list[Figure]:
    """From the commit of a revocation to the first refusal at the edge."""
    taken = []
    for _ in range(REVOCATIONS):
        key = await bench.new_key()
        await identity.authenticator.authenticate(key)
        await bench.database.execute("UPDATE api_keys SET is_active = false WHERE key_hash = $1", api_key.digest(key))
        began = time.perf_counter()
        await eventually(partial(_is_forgotten, identity, key), every=0.0005)
        with contextlib.suppress(Unauthenticated):
            await identity.authenticator.authenticate(key)
        taken.append(time.perf_counter() - began)
    taken.sort()
    return [
        Figure("revocation to refusal: p50", statistics.median(taken) * 1e3, "ms"),
        Figure("revocation to refusal: p99", taken[int(len(taken) * 0.99) - 1] * 1e3, "ms", 250),
    ]


async def _is_forgotten(identity: MeshIdentity, key: str) -> bool:
    return identity.authenticator.cached(key) is None


async def _wrong_keys(bench: Bench, identity: MeshIdentity) -> list[Figure]:
    """What guesses cost a good key at the edge, and how much memory they take; half of them have a good checksum."""
    authorizer = Authorizer(services(), identity.authenticator, trusted_proxies=0)
    route, key = _route(bench.channel, authorizer), await bench.new_key()
    await identity.authenticator.authenticate(key)
    scope = _scope(key)

    def good() -> float:
        began = time.perf_counter()
        for _ in range(200):
            authorizer(route, scope)
        return (time.perf_counter() - began) / 200

    async def guess(number: int) -> None:
        wrong = api_key.generate(ENVIRONMENT)
        decision = authorizer(route, _scope(wrong if number % 2 else wrong[:-1] + "!", f"198.51.{number % 200}.7"))
        assert isinstance(decision, Awaitable)
        with contextlib.suppress(RpcFailure):
            await decision

    quiet = statistics.median(good() for _ in range(100))
    memory, peak = bench.process.memory_info().rss, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    during: list[float] = []

    async def sample(count: int) -> None:
        await _each(guess, count, 50)
        during.extend(good() for _ in range(5))

    for _ in range(100):
        await sample(WRONG_KEYS // 100)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) / 1024
    return [
        Figure(f"a good key beside {WRONG_KEYS:,} wrong ones, to alone", statistics.median(during) / quiet, "x", 1.1),
        Figure(f"memory of the edge's part after {WRONG_KEYS:,} wrong keys", grown, "MB", 32),
        Figure(
            f"memory of auth after {WRONG_KEYS:,} wrong keys",
            (bench.process.memory_info().rss - memory) / 2**20,
            "MB",
            32,
        ),
    ]


async def _fill(bench: Bench) -> Sequence[str]:
    """Puts a million keys of another platform's form into the table; returns some from all over it."""
    await bench.new_key()
    user = await bench.database.fetchval("SELECT id FROM users LIMIT 1")
    await bench.database.execute(
        "INSERT INTO api_keys (user_id, key_hash, name, permissions)"
        " SELECT $1, encode(sha256(('filler-' || n)::bytea), 'hex'), 'filler', '{\"scopes\": [\"chat:read\"]}'"
        " FROM generate_series(1, $2::int) n",
        user,
        MANY_KEYS,
        timeout=600,
    )
    # What autovacuum does with any table that grew over days; right after a bulk load it has not come to it yet.
    await bench.database.execute("VACUUM ANALYZE api_keys", timeout=600)
    return [f"filler-{number}" for number in random.sample(range(1, MANY_KEYS + 1), 2000)]


async def _each(call: Callable[[int], Awaitable[None]], count: int, at_once: int) -> list[float]:
    """Makes the calls, so many at once; returns what each took."""
    numbers, taken = iter(range(count)), []

    async def work() -> None:
        for number in numbers:
            began = time.perf_counter()
            await call(number)
            taken.append(time.perf_counter() - began)

    await asyncio.gather(*(work() for _ in range(at_once)))
    return taken


def _route(channel: grpc.aio.Channel, authorizer: Authorizer) -> Route:
    routes = build_transcoder({"auth": channel, "chat": channel, "asset": channel}, authorizer).routes
    return next(route for route in routes if route.method.full_name == "gaia.chat.v1.ProviderService.ListProviders")


def _scope(key: str, address: str = "127.0.0.1") -> dict[str, object]:
    headers: Sequence[tuple[bytes, bytes]] = [
        (b"host", b"127.0.0.1"),
        (b"accept", b"*/*"),
        (b"user-agent", b"bench"),
        (b"x-api-key", key.encode()),
    ]
    path = "/api/v0.2/providers"
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "client": (address, 1),
        "state": {},
    }


@contextlib.asynccontextmanager
async def _running(postgres: PostgresServer) -> AsyncIterator[Bench]:
    name = postgres.create_database()
    address = f"127.0.0.1:{free_port()}"
    environment = {
        **{variable: os.environ[variable] for variable in ("PATH", "PYTHONPATH") if variable in os.environ},
        "GAIA_ENV": ENVIRONMENT,
        "GAIA_LISTEN": address,
        "GAIA_LOG_LEVEL": "error",
        "GAIA_SIGNING_KEYS": new_signing_key(),
        "DATABASE_URL": postgres.url(name, "gaia_auth"),
    }
    with _log() as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.auth", env=environment, stderr=log, cwd=Path(__file__).parents[2]
        )
        database = await asyncpg.connect(postgres.url(name, "gaia_owner"))
        try:
            async with connect(address) as channel:
                health = health_pb2_grpc.HealthStub(channel)
                await health.Check(health_pb2.HealthCheckRequest(), wait_for_ready=True, timeout=30)  # type: ignore[attr-defined] # the type stubs leave the methods out
                yield Bench(psutil.Process(process.pid), channel, database)
        finally:
            await database.close()
            process.terminate()
            await process.wait()


@contextlib.contextmanager
def _log() -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        yield file.fileno()
