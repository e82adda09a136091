"""Behaviour of edge/http_protocol.py, over real sockets."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send

from edge.http_protocol import BoundedHttpProtocol
from tests.support.asgi_server import running_asgi


class QuickProtocol(BoundedHttpProtocol):
    """The protocol with bounds that a test can meet quickly."""

    max_head_bytes = 5000
    head_seconds = 0.3
    write_seconds = 0.3


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(await request.body())


async def stream(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with a stream that ends as the path says, using the extensions that the scope offers."""
    assert set(scope["extensions"]) == {"http.response.trailers", "http.response.cut", "connection.departure"}
    headers = [(b"content-length", b"5")] if scope["path"].endswith("/sized") else []
    await send({"type": "http.response.start", "status": 200, "headers": headers, "trailers": True})
    await send({"type": "http.response.body", "body": b"ab", "more_body": True})
    if scope["path"].startswith("/open"):
        while (await receive())["type"] != "http.disconnect":
            pass
        return
    if scope["path"].startswith("/cut"):
        await send({"type": "http.response.cut"})
        return
    await send({"type": "http.response.body", "body": b"cde"})
    await send({"type": "http.response.trailers", "headers": [(b"x-one", b"1")], "more_trailers": True})
    await send({"type": "http.response.trailers", "headers": [(b"x-two", b"2"), (b"x-two", b"3")]})


@pytest.fixture(scope="module")
async def address() -> AsyncIterator[tuple[str, int]]:
    app = Starlette(routes=[Route("/", echo, methods=["GET", "POST"]), Mount("/", stream)])
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


async def test_trailers_follow_a_chunked_body_and_the_connection_goes_on(address: tuple[str, int]) -> None:
    first = b"GET /trailers HTTP/1.1\r\nHost: x\r\nTE: trailers\r\n\r\n"
    last = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = await exchange(address, first, last)
    assert b"\r\n\r\n2\r\nab\r\n3\r\ncde\r\n0\r\nx-one: 1\r\nx-two: 2\r\nx-two: 3\r\n\r\nHTTP/1.1 200 OK" in answer


@pytest.mark.parametrize(
    ("method", "path", "body"), [(b"GET", b"/trailers/sized", b"abcde"), (b"HEAD", b"/trailers", b"")]
)
async def test_trailers_are_left_out_where_there_is_no_place_for_them(
    address: tuple[str, int], method: bytes, path: bytes, body: bytes
) -> None:
    answer = await exchange(address, method + b" " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.endswith(b"\r\n\r\n" + body)
    assert b"x-one" not in answer


@pytest.mark.parametrize("path", [b"/cut", b"/cut/sized"])
async def test_a_response_that_is_cut_has_no_end_and_is_no_fault_of_the_application(
    address: tuple[str, int], path: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("uvicorn.error"), "handlers", [caplog.handler])
    caplog.set_level(logging.WARNING, "uvicorn.error")
    answer = await exchange(address, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"ab" if path.endswith(b"sized") else b"2\r\nab\r\n")
    assert not caplog.records


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


@pytest.mark.parametrize("size", [1, 50, 1000])
@pytest.mark.parametrize(
    "body",
    [b"Content-Length: 4\r\n\r\nbody", b"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"],
    ids=["sized", "chunked"],
)
async def test_a_request_that_asks_for_http2_keeps_its_body_and_its_connection(
    address: tuple[str, int], body: bytes, size: int
) -> None:
    data = (b"POST / HTTP/1.1\r\nHost: x\r\n" + UPGRADE + body) * 2
    data += b"GET / HTTP/1.1\r\nHost: x\r\n" + UPGRADE.replace(b"Upgrade,", b"Upgrade, close,") + b"\r\n"
    answer = await exchange(address, *(data[start : start + size] for start in range(0, len(data), size)))
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert answer.count(b"\r\n\r\nbody") == 2


async def test_one_that_asks_for_a_protocol_nobody_knows_is_bounded_too(address: tuple[str, int]) -> None:
    head = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: foo\r\n"
    assert (await exchange(address, head + b"x-a: b\r\n" * 2000)).startswith(b"HTTP/1.1 431 ")
    assert (await exchange(address, head + b"\r\n" + b"GET / HT")).count(b"HTTP/1.1 200 OK") == 1


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (b"nonsense\r\n\r\n", "the request is no HTTP/1.1: invalid method encountered"),
        (b"GET / HTTP/1.1\r\nx: \x01\r\n\r\n", "the request is no HTTP/1.1: invalid header value char"),
        ("GET /é HTTP/1.1\r\n\r\n".encode(), "what is not ASCII is percent-encoded in it"),
        (b"GET x HTTP/1.1\r\n\r\n", "the request's target cannot be read"),
        (b"CONNECT x:1 HTTP/1.1\r\n\r\n", "the request's target cannot be read"),
        (
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "the request is no HTTP/1.1: invalid character in chunk size",
        ),
    ],
)
async def test_what_is_no_http_is_told_in_json(address: tuple[str, int], request_: bytes, said: str) -> None:
    head, _, body = (await exchange(address, request_)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    error = json.loads(body)
    assert (error["code"], error["details"]) == (3, [])
    assert said in error["message"]


async def test_a_tunnel_is_a_method_like_any_other(address: tuple[str, int]) -> None:
    request = (
        b"CONNECT /sized HTTP/1.1\r\nHost: x\r\nConnection: upgrade, close\r\nUpgrade: x\r\n\r\nGET / HTTP/1.1\r\n\r\n"
    )
    answer = await exchange(address, request)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(b"abcde")


async def test_nothing_is_told_in_the_middle_of_an_answer(address: tuple[str, int]) -> None:
    begun = b"POST /open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
    reader, writer = await asyncio.open_connection(*address)
    writer.write(begun)
    answer = await asyncio.wait_for(reader.readuntil(b"2\r\nab\r\n"), 5)
    writer.write(b"zz\r\n")
    assert answer + await asyncio.wait_for(reader.read(), 5) == answer
    writer.close()


async def test_a_client_of_http_1_0_gets_no_chunks_and_the_end_by_the_connection(address: tuple[str, int]) -> None:
    answer = await exchange(address, b"GET /stream HTTP/1.0\r\nHost: x\r\nTE: trailers\r\n\r\n")
    assert b"transfer-encoding" not in answer
    assert answer.endswith(b"\r\n\r\nabcde")
    sized = await exchange(address, b"GET /stream/sized HTTP/1.0\r\nHost: x\r\n\r\n")
    assert b"content-length: 5\r\n" in sized
    assert sized.endswith(b"\r\n\r\nabcde")


async def test_a_cut_does_not_look_like_an_end_to_a_client_of_http_1_0(address: tuple[str, int]) -> None:
    with pytest.raises(ConnectionResetError):
        await exchange(address, b"GET /cut HTTP/1.0\r\nHost: x\r\n\r\n")


async def test_too_many_connections_are_told_in_json_with_a_time_to_try_again() -> None:
    async with running_asgi(stream, http=BoundedHttpProtocol, limit_concurrency=1) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        head, _, body = (await exchange((host, int(port)), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in head
    assert json.loads(body) == {"code": 14, "message": "too many connections are open; try again", "details": []}


class Flood:
    """Answers without end, until the client has gone."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        watching = asyncio.create_task(self._watch(receive))
        while not watching.done():
            await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
            await asyncio.sleep(0)

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self.ended.set()


async def test_a_client_that_takes_nothing_is_dropped_and_one_that_is_slow_is_not() -> None:
    flood = Flood()
    async with running_asgi(flood, http=QuickProtocol) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 10)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        began = time.monotonic()
        while time.monotonic() - began < 0.6:
            assert await reader.read(1 << 20)
        assert not flood.ended.is_set()
        await asyncio.wait_for(flood.ended.wait(), 5)
        writer.close()
