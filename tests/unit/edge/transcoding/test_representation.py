"""Behaviour of edge/transcoding/representation.py, over real HTTP and gRPC."""

import gzip
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import Mount

from edge.transcoding.representation import chosen_coding, matches
from tests.support.asgi_server import running_asgi
from tests.support.transcoder import Edge, running_edge

LONG = {"title": "x" * 2000}


@pytest.fixture(scope="module")
async def edge() -> AsyncIterator[Edge]:
    async with running_edge() as running:
        yield running


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (b"gzip", b"gzip"),
        (b"gzip, deflate, br", b"br"),
        (b"gzip, br, zstd", b"zstd"),
        (b"zstd;q=0.1, gzip;q=0.9", b"gzip"),
        (b"*", b"zstd"),
        (b"*;q=0.5, zstd;q=0", b"br"),
        (b"identity", None),
        (b"gzip;q=0", None),
        (b"gzip;q=many", None),
        (b"", None),
    ],
)
def test_the_best_liked_coding_is_chosen(accept: bytes, coding: bytes | None) -> None:
    assert chosen_coding(accept) == coding


@pytest.mark.parametrize(
    ("header", "matching"),
    [(b'W/"a"', True), (b'"a"', True), (b'"b", W/"a"', True), (b"*", True), (b'"b"', False), (b"", False)],
)
def test_tags_are_compared_weakly(header: bytes, matching: bool) -> None:
    assert matches(header, b'W/"a"') is matching
    assert matches(header, b'"a"') is matching


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_a_long_reply_is_coded_as_accepted(edge: Edge, coding: str) -> None:
    async with edge.http.stream("POST", "/v1/echo", json=LONG, headers={"Accept-Encoding": coding}) as response:
        raw = b"".join([piece async for piece in response.aiter_raw()])
    assert response.headers["content-encoding"] == coding
    assert response.headers["vary"] == "accept-encoding"
    assert int(response.headers["content-length"]) == len(raw) < 200
    if coding == "gzip":
        assert b"x" * 2000 in gzip.decompress(raw)


async def test_short_replies_and_streams_are_never_coded(edge: Edge) -> None:
    headers = {"Accept-Encoding": "gzip"}
    assert "content-encoding" not in (await edge.http.post("/v1/echo", json={}, headers=headers)).headers
    stream = await edge.http.get("/v1/watch?count=2&size=5000", headers=headers)
    assert "content-encoding" not in stream.headers


async def test_a_get_has_a_tag_and_is_not_sent_again_while_it_stays(edge: Edge) -> None:
    first = await edge.http.get("/v1/books/a")
    tag = first.headers["etag"]
    again = await edge.http.get("/v1/books/a", headers={"If-None-Match": tag})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert "content-type" not in again.headers
    assert (await edge.http.get("/v1/books/b", headers={"If-None-Match": tag})).status_code == 200
    assert (await edge.http.head("/v1/books/a")).headers["etag"] == tag
    assert "etag" not in (await edge.http.post("/v1/echo", json={})).headers


@pytest.mark.parametrize("path", ["/v1/echo", "/v1/talk/n"])
async def test_a_request_body_of_a_coding_that_is_not_known_is_refused_with_those_that_are(
    edge: Edge, path: str
) -> None:
    response = await edge.http.post(path, content=b"{}", headers={"Content-Encoding": "compress"})
    assert response.status_code == 415
    assert response.headers["accept-encoding"] == "gzip, deflate, br, zstd"


async def test_starlettes_cors_middleware_serves_browsers_of_other_origins(edge: Edge) -> None:
    cors = Middleware(CORSMiddleware, allow_origins=["https://app.example"], allow_headers=["x-api-key"])
    async with running_asgi(Starlette(routes=[Mount("/", edge.app)], middleware=[cors])) as url:
        origin = {"Origin": "https://app.example"}
        preflight = await edge.http.options(
            f"{url}/v1/books/a",
            headers={**origin, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-api-key"},
        )
        assert preflight.headers["access-control-allow-origin"] == "https://app.example"
        for path in ("/v1/books/a", "/v1/nothing"):
            response = await edge.http.get(url + path, headers=origin)
            assert response.headers["access-control-allow-origin"] == "https://app.example"
