"""Adapters that are changed while they are in use."""

import asyncio

import pytest

from services.chat.adapters import Adapters
from services.chat.catalogue import ModelSpec
from services.chat.resilience.pool import Pool
from services.chat.turn import Reply, Turn
from shared.errors import Unavailable


class Holding:
    """A provider that answers when it is told to, and may not be closed before."""

    id = "p"
    dialects: frozenset[str] = frozenset()
    takes: frozenset[str] = frozenset()

    def __init__(self):
        self.asked, self.may_answer, self.closed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def complete(self, _turn, _model):
        self.asked.set()
        await self.may_answer.wait()
        assert not self.closed.is_set()
        return Reply("whole")

    async def close(self):
        self.closed.set()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("services.chat.adapters.IDLE_SECONDS", 0.001)


def pool_of(provider):
    return Pool([(provider, 1.0)])


async def test_one_that_was_replaced_is_closed_when_its_last_call_has_ended():
    old, new = Holding(), Holding()
    adapters = Adapters({"p": pool_of(old)}, longest_seconds=60)
    call = asyncio.create_task(adapters["p"].complete(Turn(()), ModelSpec("m", "p")))
    await old.asked.wait()
    kept = pool_of(new)
    adapters.take({"p": kept})
    assert adapters["p"] is kept
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await old.closed.wait()
    old.may_answer.set()
    assert (await call).text == "whole"
    async with asyncio.timeout(5):
        await old.closed.wait()
    assert not new.closed.is_set()
    await adapters.close()
    assert new.closed.is_set()


async def test_one_that_never_comes_to_its_end_is_closed_after_the_longest_time_and_at_the_end_of_all():
    late, last = Holding(), Holding()
    adapters = Adapters({"p": pool_of(late)}, longest_seconds=0.01)
    call = asyncio.create_task(adapters["p"].complete(Turn(()), ModelSpec("m", "p")))
    await late.asked.wait()
    adapters.take({"p": pool_of(last)})
    async with asyncio.timeout(5):
        await late.closed.wait()
    call.cancel()
    adapters.take({})
    await adapters.close()
    assert last.closed.is_set()


async def test_one_that_is_gone_is_unavailable_to_calls_that_still_name_it():
    adapters = Adapters({"p": pool_of(Holding())}, longest_seconds=60)
    adapters.take({})
    assert "p" not in adapters
    with pytest.raises(Unavailable, match="p is not offered any more"):
        adapters["p"]
    await adapters.close()
