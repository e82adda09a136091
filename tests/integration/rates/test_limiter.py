"""Rate limits: the same rules in a process and in a real Redis, and what happens when that is away."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shared.rates.limiter import STORE_SECONDS, RateLimiter, Verdict
from tests.support.redis import RedisServer, running_redis
from tests.support.waiting import eventually

BUSY_MACHINE_SECONDS = 10.0
"""Where the test is not about a store that is slow."""


@pytest.fixture(scope="module")
async def redis(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RedisServer]:
    folder: Path = tmp_path_factory.mktemp("redis")
    async with running_redis(folder) as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
async def limiter(request: pytest.FixtureRequest, redis: RedisServer) -> AsyncIterator[RateLimiter]:
    limiter = RateLimiter(redis.url if request.param == "redis" else "", patience=BUSY_MACHINE_SECONDS)
    yield limiter
    await limiter.close()


async def hit(limiter: RateLimiter, key: str, limit: int, amount: int = 1) -> Verdict:
    verdict = limiter.hit(key, limit, amount)
    return verdict if isinstance(verdict, Verdict) else await verdict


async def test_a_limit_holds_and_says_what_is_left(limiter: RateLimiter):
    verdicts = [await hit(limiter, "a", 3) for _ in range(4)]
    assert [verdict.allowed for verdict in verdicts] == [True, True, True, False]
    assert [verdict.remaining for verdict in verdicts] == [2, 1, 0, 0]
    assert {verdict.limit for verdict in verdicts} == {3}
    assert all(0 <= verdict.reset <= 60 for verdict in verdicts)
    assert verdicts[-1].reset >= 1


async def test_keys_do_not_share_a_limit(limiter: RateLimiter):
    assert (await hit(limiter, "b", 1)).allowed
    assert (await hit(limiter, "c", 1)).allowed


async def test_amounts_count_as_much_as_they_are(limiter: RateLimiter):
    assert (await hit(limiter, "d", 100, 60)).remaining == 40
    assert not (await hit(limiter, "d", 100, 41)).allowed
    assert (await hit(limiter, "d", 100, 40)).allowed


async def test_what_was_used_up_without_asking_counts_too(limiter: RateLimiter):
    await limiter.charge("e", 1_000_000)
    verdict = await hit(limiter, "e", 100)
    assert (verdict.allowed, verdict.remaining) == (False, 0)


async def test_calls_at_once_never_exceed_the_limit(limiter: RateLimiter):
    verdicts = await asyncio.gather(*(hit(limiter, "f", 20) for _ in range(60)))
    assert sum(verdict.allowed for verdict in verdicts) == 20


async def test_two_processes_with_the_same_store_count_together(redis: RedisServer):
    urls = (redis.url, redis.url.replace("redis://", "valkey://"))
    first, second = (RateLimiter(url, patience=BUSY_MACHINE_SECONDS) for url in urls)
    verdicts = [await hit(limiter, "g", 5) for limiter in (first, second) * 5]
    assert sum(verdict.allowed for verdict in verdicts) == 5
    await first.close()
    await second.close()


async def test_while_the_store_is_away_each_process_keeps_the_limit_by_itself_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    async with running_redis(tmp_path) as server:
        limiter = RateLimiter(server.url)
        await hit(limiter, "h", 3)
        await server.process.end()
        verdicts = [await hit(limiter, "h", 3) for _ in range(5)]
        assert [verdict.allowed for verdict in verdicts] == [True, True, True, False, False]
        assert limiter.degraded
        assert limiter.fallbacks == 5
        await server.start()

        async def is_shared_again() -> bool:
            await hit(limiter, "i", 10_000)
            return not limiter.degraded

        await eventually(is_shared_again)
        assert limiter.degraded_seconds == 0
        said = [record.getMessage() for record in caplog.records if record.name == "shared.rates.limiter"]
        assert said == [
            "rate limits are counted in each process: their store failed",
            "rate limits are shared again",
        ]
        await limiter.close()


async def test_a_store_that_stays_away_is_asked_by_one_request_a_second(tmp_path: Path):
    async with running_redis(tmp_path) as server:
        now = 1000.0
        limiter = RateLimiter(server.url, lambda: now)
        await hit(limiter, "k", 1000)
        server.process.send_signal(signal.SIGSTOP)
        try:
            await hit(limiter, "k", 1000)
            now += 60.0
            assert (limiter.degraded, limiter.degraded_seconds) == (True, 60.0)
            began = time.perf_counter()
            probe = asyncio.ensure_future(hit(limiter, "k", 1000))
            await asyncio.sleep(0)
            others = await asyncio.gather(*(hit(limiter, "k", 1000) for _ in range(20)))
            assert time.perf_counter() - began < STORE_SECONDS
            assert not probe.done()
            assert all(verdict.allowed for verdict in [*others, await probe])
        finally:
            server.process.send_signal(signal.SIGCONT)
        await limiter.close()


async def test_a_store_that_hangs_holds_up_one_request_for_a_moment_and_no_others(tmp_path: Path):
    async with running_redis(tmp_path) as server:
        limiter = RateLimiter(server.url)
        await hit(limiter, "j", 100)
        server.process.send_signal(signal.SIGSTOP)
        try:
            began = time.perf_counter()
            for _ in range(20):
                assert (await hit(limiter, "j", 100)).allowed
            assert time.perf_counter() - began < STORE_SECONDS * 5
        finally:
            server.process.send_signal(signal.SIGCONT)
        await limiter.close()
