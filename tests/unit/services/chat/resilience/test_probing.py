"""Asking idle providers whether they are there."""

import asyncio
import datetime as dt

import pytest

from services.chat.catalogue import ModelSpec
from services.chat.health import HealthBoard
from services.chat.providers import errors
from services.chat.resilience.pool import Pool
from services.chat.resilience.probing import Prober, probing
from tests.unit.services.chat.resilience.fakes import Acting, Clock

MODEL = ModelSpec("m", "p")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def board() -> HealthBoard:
    return HealthBoard([], lambda: dt.datetime(2026, 1, 1, tzinfo=dt.UTC))


async def test_only_endpoints_without_a_call_are_probed(clock, board):
    busy, used, idle = Acting("x"), Acting("x"), Acting("x")
    pool = Pool([(busy, 1.0), (used, 1.0), (idle, 1.0)], clock=clock)
    pool.lease(MODEL)
    pool.lease(MODEL).end()
    await Prober(pool, board, 60.0).probe_idle()
    assert [one.probed for one in (busy, used, idle)] == [0, 0, 1]
    clock.now += 60
    await Prober(pool, board, 60.0).probe_idle()
    assert [one.probed for one in (busy, used, idle)] == [0, 1, 2]
    assert board.of("p").status == "healthy"


async def test_health_learns_of_an_outage_and_of_its_end(clock, board):
    provider = Acting("x")
    prober = Prober(Pool([(provider, 1.0)], clock=clock), board, 60.0)
    provider.probe_failure = errors.unreachable("p")
    await prober.probe_idle()
    assert (board.of("p").status, board.of("p").error_rate) == ("unhealthy", 1.0)
    provider.probe_failure = None
    await prober.probe_idle()
    assert board.of("p").error_rate == 0.5
    assert board.of("p").first_word_ms is None


async def test_an_error_that_nobody_thought_of_does_not_end_it(clock, board, caplog):
    provider = Acting("x")
    provider.probe_failure = KeyError("no such thing")
    await Prober(Pool([(provider, 1.0)], clock=clock), board, 60.0).probe_idle()
    assert board.of("p").status == "unknown"
    assert caplog.records[0].getMessage() == "a probe failed"


async def test_pauses_vary_by_a_quarter(clock, board):
    chances = iter([0.0, 0.5, 1.0])
    provider = Acting("x")

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        if len(clock.slept) == 3:
            raise asyncio.CancelledError

    prober = Prober(Pool([(provider, 1.0)], clock=clock), board, 60.0, chance=lambda: next(chances), sleep=sleep)
    with pytest.raises(asyncio.CancelledError):
        await prober.run()
    assert clock.slept == [45, 60, 75]


async def test_it_runs_beside_the_service_and_ends_with_it(board):
    provider, asked = Acting("x"), asyncio.Event()
    provider.probe = lambda: _ring(asked)
    async with probing([Pool([(provider, 1.0)])], board, 0.001):
        async with asyncio.timeout(3):
            await asked.wait()
        running = [task for task in asyncio.all_tasks() if "Prober.run" in repr(task)]
        assert len(running) == 1
    assert running[0].cancelled()


async def test_it_can_be_switched_off(board):
    async with probing([Pool([(Acting("x"), 1.0)])], board, 0):
        assert not [task for task in asyncio.all_tasks() if "Prober.run" in repr(task)]


async def _ring(event: asyncio.Event) -> None:
    event.set()
