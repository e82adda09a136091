"""Behaviour of edge/transcoding/outlet.py."""

import asyncio
from typing import Any

import pytest

from edge.transcoding.errors import StatusStyle
from edge.transcoding.exchange import Exchange
from edge.transcoding.outlet import MAX_HELD_BYTES, Outlet


class Client:
    """The far end of a response: keeps what is written, and takes nothing while `open` is cleared."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.open = asyncio.Event()
        self.open.set()
        self.written = asyncio.Event()
        self.reached = asyncio.Event()

    async def send(self, message: Any) -> None:
        self.reached.set()
        await self.open.wait()
        self.writes.append(message["body"])
        self.written.set()

    async def receive(self) -> Any:
        raise AssertionError("an outlet reads nothing")


@pytest.fixture
async def client() -> Client:
    return Client()


@pytest.fixture
async def outlet(client: Client) -> Outlet:
    scope = {"type": "http", "method": "GET"}
    return Outlet(Exchange(scope, client.receive, client.send, style=StatusStyle(), watch_after=1))


async def test_a_record_that_comes_alone_is_written_at_once(client: Client, outlet: Outlet) -> None:
    await outlet.put(b"a")
    assert client.writes == [b"a"]


async def test_records_in_a_rush_share_writes_in_their_order(client: Client, outlet: Outlet) -> None:
    records = [b"%d," % n for n in range(100)]
    for record in records:
        await outlet.put(record)
    await outlet.drain()
    assert b"".join(client.writes) == b"".join(records)
    assert len(client.writes) < 10


async def test_what_is_held_is_written_without_another_record(client: Client, outlet: Outlet) -> None:
    await outlet.put(b"a")
    client.written.clear()
    await outlet.put(b"b")
    await asyncio.wait_for(client.written.wait(), 1)
    assert client.writes == [b"a", b"b"]


async def test_no_more_is_held_than_the_bound(client: Client, outlet: Outlet) -> None:
    await outlet.put(b"a")
    await outlet.put(b"x" * MAX_HELD_BYTES)
    assert len(client.writes) == 2


async def test_a_client_that_takes_nothing_holds_put_back(client: Client, outlet: Outlet) -> None:
    await outlet.put(b"a")
    client.open.clear()
    held = asyncio.create_task(outlet.put(b"x" * MAX_HELD_BYTES))
    done, _ = await asyncio.wait({held}, timeout=0.05)
    assert not done
    client.open.set()
    await asyncio.wait_for(held, 1)


async def test_a_write_on_its_way_is_not_overtaken(client: Client, outlet: Outlet) -> None:
    await outlet.put(b"a")
    await outlet.put(b"b")
    client.open.clear()
    client.reached.clear()
    await asyncio.wait_for(client.reached.wait(), 1)
    later = asyncio.create_task(outlet.put(b"c"))
    await asyncio.wait({later}, timeout=0.02)
    client.open.set()
    await later
    await outlet.drain()
    assert b"".join(client.writes) == b"abc"


async def test_nothing_is_written_once_it_is_abandoned(client: Client, outlet: Outlet) -> None:
    await outlet.put(b"a")
    await outlet.put(b"b")
    outlet.abandon()
    client.written.clear()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.written.wait(), 0.02)
    assert client.writes == [b"a"]
