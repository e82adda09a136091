"""Bytes without end through `gaia proxy`: none of its memory holds them, whoever is slow."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.integration.edge.test_proxy import Proxy, running_proxy
from tests.support.bulk import PIECE, running_bulk, write_descriptors
from tests.support.memory import forget_peak, peak_megabytes

SIZE = 64 << 20
EXTRA_MEGABYTES = 16


@pytest.fixture(scope="module")
async def proxy(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Proxy]:
    folder: Path = tmp_path_factory.mktemp("bulk")
    write_descriptors(folder / "bulk.pb")
    async with (
        running_bulk() as address,
        running_proxy(folder, "--upstream", address, "--descriptors", str(folder / "bulk.pb")) as proxy,
    ):
        # What is loaded and grown once is no matter of size.
        await download(proxy, 4 << 20)
        await upload(proxy, 4 << 20)
        yield proxy


async def download(proxy: Proxy, size: int) -> int:
    received = 0
    async with proxy.http.stream("GET", f"/v1/blobs/{size}") as response:
        async for piece in response.aiter_raw():
            received += len(piece)
    return received


async def upload(proxy: Proxy, size: int) -> int:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(size // len(PIECE)):
            yield PIECE

    response = await proxy.http.put("/v1/blobs/x", content=pieces())
    return int(response.json()["size"])


@pytest.mark.parametrize("move", [download, upload])
async def test_bytes_pass_without_being_held(proxy: Proxy, move: object) -> None:
    before = forget_peak(proxy.process.pid)
    assert callable(move)
    assert await move(proxy, SIZE) == SIZE
    assert peak_megabytes(proxy.process.pid) - before < EXTRA_MEGABYTES


async def test_a_client_that_reads_nothing_costs_no_more(proxy: Proxy) -> None:
    before = forget_peak(proxy.process.pid)
    async with proxy.http.stream("GET", f"/v1/blobs/{1 << 40}") as response:
        pieces = response.aiter_raw()
        await anext(pieces)
        # Another one gets its bytes meanwhile, in as long as a flood would have needed.
        assert await download(proxy, SIZE) == SIZE
        assert peak_megabytes(proxy.process.pid) - before < EXTRA_MEGABYTES
        await asyncio.wait_for(anext(pieces), 5)


async def test_a_server_that_takes_nothing_holds_the_client_back_until_the_deadline(proxy: Proxy) -> None:
    before = forget_peak(proxy.process.pid)
    address = proxy.http.base_url
    reader, writer = await asyncio.open_connection(address.host, address.port)
    head = b"PUT /v1/blobs/stalled HTTP/1.1\r\nHost: x\r\nX-Request-Timeout: 4\r\nContent-Length: %d\r\n\r\n"
    writer.write(head % (1 << 30))
    sent = 0
    with suppress(TimeoutError):
        while sent < SIZE:
            writer.write(PIECE)
            await asyncio.wait_for(writer.drain(), 0.5)
            sent += len(PIECE)
    # What was taken lies in the sockets' buffers and gRPC's window.
    assert sent < SIZE // 2
    assert peak_megabytes(proxy.process.pid) - before < EXTRA_MEGABYTES
    assert b"HTTP/1.1 504 " in await asyncio.wait_for(reader.readline(), 10)
    writer.transport.abort()
