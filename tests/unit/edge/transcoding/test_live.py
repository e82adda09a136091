"""Behaviour of edge/transcoding/live.py: contracts that change while they are served."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import grpc
import httpx
import pytest

from edge.transcoding.app import Transcoder
from edge.transcoding.descriptors import Contracts, DescriptorError, ServerAwayError, contracts_of_files
from edge.transcoding.live import LiveTranscoder
from edge.transcoding.reflection import reconnections, reflect
from edge.transcoding.routes import RouteTableError
from edge.transcoding.transport.channel import Channel
from edge.transcoding.transport.http2.channel import Http2Channel
from tests.support.asgi_server import running_asgi
from tests.support.forwarder import forwarding
from tests.support.ports import free_port
from tests.support.reflected import AMBIGUOUS, FIRST, SECOND, WITHOUT_RULES, running_echo
from tests.support.transports import TRANSPORTS, channel_to
from tests.support.waiting import eventually
from tests.unit.edge.transcoding.test_descriptors import files_of


class Contract:
    """Contracts that a test may change."""

    def __init__(self, source: str) -> None:
        self.source: str | Exception = source

    async def read(self) -> Contracts:
        if isinstance(self.source, Exception):
            raise self.source
        return contracts_of_files(files_of(self.source, imports=False))


@asynccontextmanager
async def live(contract: Contract) -> AsyncIterator[LiveTranscoder]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{free_port()}") as channel:
        app = LiveTranscoder(contract.read, partial(transcoder, channel))
        await app.load()
        yield app


def transcoder(channel: Channel | grpc.aio.Channel, contracts: Contracts) -> Transcoder:
    return Transcoder(contracts.services, channel)


def paths(app: LiveTranscoder) -> list[str]:
    return [str(route) for route in app.routes]


GET, WATCH, PUT = "GET /v1/items/{name}", "GET /v1/items/{name}:watch", "PUT /v1/items/{name}"


async def test_changed_contracts_swap_in_and_say_what_changed() -> None:
    contract = Contract(FIRST)
    async with live(contract) as app:
        assert await app.reload() is None
        contract.source = SECOND
        change = await app.reload()
        assert change is not None
        assert (change.added, change.removed) == ((f"{PUT} (items.v1.Items.Put)",), ())
        assert paths(app) == [GET, WATCH, PUT]


async def test_whoever_wants_to_know_is_told_of_a_swap_and_of_nothing_else() -> None:
    contract, told = Contract(FIRST), []
    async with channel_to("127.0.0.1:1") as channel:
        app = LiveTranscoder(contract.read, partial(transcoder, channel), swapped=lambda: told.append(len(app.routes)))
        await app.load()
        await app.reload()
        assert told == []
        contract.source = SECOND
        await app.reload()
        assert told == [3]


@pytest.mark.parametrize(
    ("source", "error", "said"),
    [
        (AMBIGUOUS, RouteTableError, "matches the same requests"),
        (WITHOUT_RULES, DescriptorError, "has a google.api.http rule"),
        (DescriptorError("it is torn"), DescriptorError, "it is torn"),
        (ServerAwayError("it is away"), ServerAwayError, "it is away"),
    ],
)
async def test_contracts_that_cannot_be_served_leave_the_old_ones_in_place(
    source: str | Exception, error: type[Exception], said: str
) -> None:
    contract = Contract(FIRST)
    async with live(contract) as app:
        contract.source = source
        with pytest.raises(error, match=said):
            await app.reload()
        assert paths(app) == [GET, WATCH]
        contract.source = SECOND
        assert await app.reload() is not None


@pytest.mark.parametrize("source", [AMBIGUOUS, WITHOUT_RULES])
async def test_faulty_contracts_stop_the_first_load(source: str) -> None:
    with pytest.raises((RouteTableError, DescriptorError)):
        async with live(Contract(source)):
            pass


async def test_following_reads_again_when_asked_to_and_tells_faults_with_all_reasons(
    caplog: pytest.LogCaptureFixture,
) -> None:
    contract = Contract(FIRST)
    async with live(contract) as app:
        with caplog.at_level(logging.INFO, "edge.transcoding.live"):
            async with following(app, poll=None):
                contract.source = AMBIGUOUS
                app.ask()
                await eventually(lambda: logged(caplog, "refused, the old ones stay"))
                assert "items.v1.Items.Fetch: GET /v1/items/{count}: matches the same requests" in caplog.text
                contract.source = SECOND
                app.ask()
                await eventually(lambda: logged(caplog, "new contracts are served: 1 routes added, 0 removed"))
        assert paths(app) == [GET, WATCH, PUT]


async def test_polling_tells_of_a_fault_and_of_an_absence_once(caplog: pytest.LogCaptureFixture) -> None:
    reads = 0
    contract = Contract(FIRST)

    async def counted() -> Contracts:
        nonlocal reads
        reads += 1
        return await contract.read()

    async def more_reads(than: int) -> bool:
        return reads > than

    async with live(contract) as app:
        app._read = counted
        with caplog.at_level(logging.INFO, "edge.transcoding.live"):
            async with following(app, poll=0.005):
                for source, said in ((AMBIGUOUS, "are refused"), (ServerAwayError("gone"), "cannot be read again")):
                    contract.source = source
                    await eventually(partial(logged, caplog, said))
                    await eventually(partial(more_reads, reads + 3))
                    assert caplog.text.count(said) == 1
                contract.source = SECOND
                await eventually(lambda: logged(caplog, "1 routes added"))


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_backend_that_changes_its_contract_under_load_fails_no_request(transport: str) -> None:
    """A new release takes the place of the old one, connection by connection; calls and streams go on all the while."""
    aging = [("grpc.max_connection_age_ms", 300)]
    async with running_echo(FIRST, options=aging) as (old, port), forwarding(port) as balancer:
        address = f"127.0.0.1:{balancer.port}"
        async with grpc.aio.insecure_channel(address) as channel, channel_to(address, transport) as calls_by:
            renew = calls_by.renew if isinstance(calls_by, Http2Channel) else None
            app = LiveTranscoder(partial(reflect, channel), partial(transcoder, calls_by), swapped=renew)
            async with running_asgi(app) as url, httpx.AsyncClient(base_url=url, timeout=20) as http:
                await app.load()
                async with following(app, changes=reconnections(channel)), asyncio.TaskGroup() as group:
                    assert (await http.put("/v1/items/a", json={"colour": "red"})).status_code == 405
                    old.hold.clear()
                    stream = group.create_task(http.get("/v1/items/s:watch?count=7"))
                    await old.streaming.wait()
                    stop = asyncio.Event()
                    load = [group.create_task(call_until(stop, http, n)) for n in range(8)]
                    async with running_echo(SECOND) as (_, new_port):
                        balancer.target = new_port
                        # The new field and the new method are there without anybody having restarted the edge.
                        await eventually(lambda: put_works(http))
                        stop.set()
                        calls = sum([await task for task in load])
                        # What began with the old contract ends with it.
                        assert not stream.done()
                        old.hold.set()
                        response = await stream
        assert response.status_code == 200
        assert response.text == '{"name":"s","count":7}\n' * 4
        assert calls > 20
        assert balancer.forwarded[-1] == new_port


async def call_until(stop: asyncio.Event, http: httpx.AsyncClient, number: int) -> int:
    calls = 0
    while not stop.is_set():
        response = await http.get(f"/v1/items/n{number}?count={calls}")
        assert response.status_code == 200, response.text
        assert response.json()["name"] == f"n{number}"
        calls += 1
    return calls


async def put_works(http: httpx.AsyncClient) -> bool:
    response = await http.put("/v1/items/a", json={"colour": "red"})
    # 501 from the server of before, where requests go by another connection than the contracts came by.
    assert response.status_code in (200, 405, 501)
    return response.status_code == 200 and response.json() == {"name": "a", "colour": "red"}


@asynccontextmanager
async def following(app: LiveTranscoder, **options: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(app.follow(**options))
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def logged(caplog: pytest.LogCaptureFixture, text: str) -> bool:
    return text in caplog.text
