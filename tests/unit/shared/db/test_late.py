"""Writes that wait for a database that is away."""

import asyncio

import pytest

from shared.db import late
from shared.db.late import LateWrites
from shared.errors import Unavailable
from tests.support.waiting import eventually


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late, "LATE_SECONDS", 0.001)


class Store:
    """Fails so often, and takes what comes then."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures = failures
        self.error = error
        self.written = 0

    async def write(self) -> None:
        if self.failures:
            self.failures -= 1
            raise self.error
        self.written += 1

    async def took(self, count: int) -> bool:
        return self.written == count


async def test_a_write_is_tried_until_the_database_takes_it_and_once_then():
    writes, store = LateWrites(10), Store(3, Unavailable("away"))
    writes.add(store.write)
    await eventually(lambda: store.took(1))
    await asyncio.sleep(0.01)
    assert (store.failures, store.written) == (0, 1)


async def test_what_is_beyond_the_bound_is_given_up_and_said(caplog: pytest.LogCaptureFixture):
    writes, store = LateWrites(2), Store(10**6, Unavailable("away"))
    for _ in range(3):
        writes.add(store.write)
    assert [record.message for record in caplog.records] == ["too many writes wait for the database; one is given up"]
    await writes.drain()


async def test_what_fails_for_another_reason_is_not_tried_again_and_logged(caplog: pytest.LogCaptureFixture):
    writes, store = LateWrites(1), Store(1, ValueError("a secret"))
    writes.add(store.write)

    async def logged() -> bool:
        return bool(caplog.records)

    await eventually(logged)
    assert "ValueError" in str(caplog.records[0].__dict__)
    assert "a secret" not in str(caplog.records[0].__dict__)
    assert store.written == 0


async def test_draining_gives_up_what_still_waits():
    writes, store = LateWrites(1), Store(10**6, Unavailable("away"))
    writes.add(store.write)
    await writes.drain()
    left = store.failures
    await asyncio.sleep(0.01)
    assert store.failures == left
