"""Behaviour of edge/http_protocol.py, over real sockets."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from edge.http_protocol import BoundedHttpProtocol
from tests.support.asgi_server import running_asgi


class QuickProtocol(BoundedHttpProtocol):
    """The protocol with bounds that a test can meet quickly."""

    max_head_bytes = 5000
    head_seconds = 0.3


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(await request.body())


@pytest.fixture(scope="module")
async def address() -> AsyncIterator[tuple[str, int]]:
    app = Starlette(routes=[Route("/", echo, methods=["GET", "POST"])])
    async with running_asgi(app, http=QuickProtocol) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        yield host, int(port)


async def exchange(address: tuple[str, int], *pieces: bytes) -> bytes:
    """Send the pieces and return all that comes until the server closes the connection."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


async def test_requests_within_the_bounds_are_served_on_one_connection(address: tuple[str, int]) -> None:
    first = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
    last = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = await exchange(address, first, last)
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert b"hi" in answer


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n" + b"x-a: b\r\n" * 2000,
        b"GET / HTTP/1.1\r\nx-a: " + b"b" * 20_000,
        b"GET /" + b"a" * 20_000,
        b"GET / HTTP/1.1\r\nx" + b"a" * 20_000,
    ],
)
async def test_a_head_that_never_ends_is_refused_before_it_is_kept(address: tuple[str, int], head: bytes) -> None:
    answer = await exchange(address, head)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b"more than 5000 bytes" in answer


@pytest.mark.parametrize("pieces", [(), (b"GET / HT",), (b"GET / HTTP/1.1\r\n", b"x-a: b\r\n")])
async def test_a_connection_whose_head_does_not_arrive_is_dropped(
    address: tuple[str, int], pieces: tuple[bytes, ...]
) -> None:
    assert await exchange(address, *pieces) == b""


async def test_a_second_head_that_does_not_arrive_is_dropped_too(address: tuple[str, int]) -> None:
    answer = await exchange(address, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HT")
    assert answer.count(b"HTTP/1.1 200 OK") == 1


async def test_trailers_without_end_close_the_connection(address: tuple[str, int]) -> None:
    request = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"
    assert b"200 OK" not in await exchange(address, request, b"x-a: b\r\n" * 5000)


async def test_a_few_trailers_are_taken_and_dropped(address: tuple[str, int]) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await exchange(address, head + b"2\r\nhi\r\n0\r\nx-a: b\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"hi")
