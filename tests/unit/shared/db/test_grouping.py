"""Writing for many callers at once."""

import asyncio

import asyncpg
import pytest

from shared.db import grouping
from shared.db.grouping import GroupedWriter
from shared.errors import Unavailable


class Recording:
    """A write that waits for a gate and notes its groups; it refuses `bad` items as a database would."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, items):
        await self.gate.wait()
        self.groups.append(list(items))
        if "bad" in items:
            raise asyncpg.UniqueViolationError("there is one already")
        if "outage" in items:
            raise Unavailable("the database is away")
        return [item.upper() for item in items]


async def test_what_comes_while_a_write_is_under_way_shares_the_next_one():
    write = Recording()
    write.gate.clear()
    writer = GroupedWriter(write)
    first = asyncio.ensure_future(writer.add("a"))
    await asyncio.sleep(0)
    others = [asyncio.ensure_future(writer.add(name)) for name in "bcd"]
    await asyncio.sleep(0)
    write.gate.set()
    assert await asyncio.gather(first, *others) == ["A", "B", "C", "D"]
    assert write.groups == [["a"], ["b", "c", "d"]]


async def test_an_item_that_cannot_be_written_fails_alone():
    write = Recording()
    writer = GroupedWriter(write)
    results = await asyncio.gather(*map(writer.add, ("a", "bad", "c")), return_exceptions=True)
    assert results[0] == "A"
    assert isinstance(results[1], asyncpg.UniqueViolationError)
    assert results[2] == "C"


async def test_an_outage_is_told_to_all_and_the_next_write_is_tried():
    writer = GroupedWriter(Recording())
    results = await asyncio.gather(*map(writer.add, ("a", "outage")), return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    assert await writer.add("b") == "B"


async def test_a_result_that_is_an_exception_is_raised_to_its_own_caller():
    async def write(items):
        return [KeyError(item) if item == "x" else item for item in items]

    writer = GroupedWriter(write)
    results = await asyncio.gather(writer.add("x"), writer.add("y"), return_exceptions=True)
    assert isinstance(results[0], KeyError)
    assert results[1] == "y"


async def test_what_was_taken_is_written_though_its_caller_leaves():
    write = Recording()
    write.gate.clear()
    writer = GroupedWriter(write)
    caller = asyncio.ensure_future(writer.add("a"))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.wait([caller])
    write.gate.set()
    await writer.drain()
    assert write.groups == [["a"]]


async def test_groups_and_the_queue_are_bounded(monkeypatch):
    monkeypatch.setattr(grouping, "MAX_GROUP", 2)
    monkeypatch.setattr(grouping, "MAX_WAITING", 3)
    write = Recording()
    write.gate.clear()
    writer = GroupedWriter(write)
    waiting = [asyncio.ensure_future(writer.add(name)) for name in "abc"]
    await asyncio.sleep(0)
    waiting += [asyncio.ensure_future(writer.add(name)) for name in "de"]
    await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="try again"):
        await writer.add("f")
    write.gate.set()
    assert await asyncio.gather(*waiting) == ["A", "B", "C", "D", "E"]
    assert max(map(len, write.groups)) == 2
