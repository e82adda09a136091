"""Behaviour of edge/transcoding/call.py and endpoint.py: unary calls, over real HTTP and gRPC."""

import asyncio
import socket
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
from google.protobuf.descriptor import MethodDescriptor

from edge.transcoding.app import Transcoder
from edge.transcoding.options import Limits, MethodOptions
from tests.support.asgi_server import running_asgi
from tests.support.library import library_service, new
from tests.support.transcoder import Edge, running_edge
from tests.support.transports import TRANSPORTS


def options(method: MethodDescriptor) -> MethodOptions:
    """Options of the library's methods for these tests."""
    said = {
        "CreateBook": MethodOptions(success_code=201),
        "DeleteBook": MethodOptions(success_code=204),
        "Echo": MethodOptions(max_body_bytes=1000),
        "Inspect": MethodOptions(default_timeout=20, max_timeout=40),
        "GetBook": MethodOptions(emit_defaults=True, ignore_unknown=True),
    }
    return said.get(method.name, MethodOptions())


@pytest.fixture(scope="module", params=TRANSPORTS)
async def edge(request: pytest.FixtureRequest) -> AsyncIterator[Edge]:
    async with running_edge(request.param, method_options=options, limits=Limits(body_timeout=0.2)) as running:
        yield running


async def test_the_success_code_is_the_options(edge: Edge) -> None:
    created = await edge.http.post("/v1/shelves/1/books?request_id=r", json={"title": "T"})
    assert created.status_code == 201
    assert created.json() == {"name": "shelves/1/books/1", "title": "T"}
    deleted = await edge.http.delete("/v1/shelves/1/books/1")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert "content-length" not in deleted.headers


async def test_a_backend_may_choose_another_success_for_one_call(edge: Edge) -> None:
    lent = await edge.http.post("/v1/shelves/1/books/2:lend", json={"title": "T"})
    assert lent.status_code == 202
    assert "grpc-metadata-x-http-code" not in lent.headers


async def test_metadata_return_as_headers_and_trailers_when_asked(edge: Edge) -> None:
    plain = await edge.http.post("/v1/shelves/1/books", json={})
    assert plain.headers["location"] == "/v1/shelves/1/books/1"
    assert plain.headers["grpc-metadata-x-shelf"] == "s"
    assert "grpc-trailer-checksum" not in plain.headers
    asked = await edge.http.post("/v1/shelves/1/books", json={}, headers={"TE": "trailers"})
    assert asked.headers["grpc-trailer-checksum"] == "abc"


async def test_options_of_a_method_decide_on_defaults_and_unknown_fields(edge: Edge) -> None:
    response = await edge.http.get("/v1/books/a?unknown=1")
    assert response.json() == {"name": "a", "title": "Title", "pages": 0, "copies": "2", "tags": []}


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("application/json; emit-defaults=true", {"name": "", "title": "", "pages": 3, "copies": "0", "tags": []}),
        ("application/json", {"pages": 3}),
        ("*/*", {"pages": 3}),
    ],
)
async def test_a_request_may_wish_for_defaults(edge: Edge, accept: str, expected: object) -> None:
    assert (await edge.http.post("/v1/echo", json={"pages": 3}, headers={"Accept": accept})).json() == expected


async def test_protobuf_is_answered_where_it_is_accepted(edge: Edge) -> None:
    response = await edge.http.post("/v1/echo", json={"pages": 3}, headers={"Accept": "application/x-protobuf"})
    assert response.headers["content-type"] == "application/x-protobuf"
    assert response.content == new("Book", pages=3).SerializeToString()


async def test_an_accept_that_nothing_satisfies_is_406(edge: Edge) -> None:
    response = await edge.http.get("/v1/books/a", headers={"Accept": "text/html"})
    assert response.status_code == 406
    assert "application/json or application/x-protobuf" in response.json()["message"]


@pytest.mark.parametrize("content_type", ["text/plain", "application/json; charset=utf-16", "application/xml"])
async def test_a_body_of_another_type_is_415(edge: Edge, content_type: str) -> None:
    response = await edge.http.post("/v1/echo", content=b"{}", headers={"Content-Type": content_type})
    assert response.status_code == 415
    assert "application/json" in response.json()["message"]


async def test_a_form_is_taken_where_the_whole_body_is_bound(edge: Edge) -> None:
    response = await edge.http.post("/v1/echo", data={"title": "a b", "tags": ["x", "y"]})
    assert response.json() == {"title": "a b", "tags": ["x", "y"]}
    refused = await edge.http.post("/v1/shelves/1/books", data={"title": "T"})
    assert refused.status_code == 415


async def test_a_body_without_a_type_is_json_and_an_empty_one_an_empty_message(edge: Edge) -> None:
    assert (await edge.http.post("/v1/echo", content=b'{"pages":1}')).json() == {"pages": 1}
    assert (await edge.http.post("/v1/echo")).json() == {}


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("size", [1001, 10_000, 500_000])
async def test_a_body_over_the_routes_limit_is_413(edge: Edge, chunked: bool, size: int) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, size, 1000):
            yield b"x" * min(1000, size - start)

    response = await edge.http.post("/v1/echo", content=pieces() if chunked else b"x" * size)
    assert response.status_code == 413
    assert "limit of 1000 bytes" in response.json()["message"]


async def test_an_announced_body_over_the_limit_is_refused_before_it_is_sent(edge: Edge) -> None:
    parts = urlsplit(edge.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000000\r\nExpect: 100-continue\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer
    writer.close()


async def test_a_chunked_body_is_put_together(edge: Edge) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b'{"ti', b'tle":"', b'T"}'):
            yield piece

    assert (await edge.http.post("/v1/echo", content=pieces())).json() == {"title": "T"}


async def test_a_body_that_does_not_arrive_is_408(edge: Edge) -> None:
    parts = urlsplit(edge.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(b"POST /v1/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
    status = await asyncio.wait_for(reader.readline(), 5)
    assert b" 408 " in status
    writer.close()


@pytest.mark.parametrize(
    ("headers", "low", "high"),
    [
        ({}, 19, 20.1),
        ({"Grpc-Timeout": "5S"}, 4, 5.1),
        ({"X-Request-Timeout": "2.5"}, 2, 2.6),
        ({"Grpc-Timeout": "1H"}, 39, 40.1),
    ],
)
async def test_the_deadline_is_the_requests_within_the_routes_bounds(
    edge: Edge, headers: dict[str, str], low: float, high: float
) -> None:
    assert low < (await edge.http.get("/v1/inspect", headers=headers)).json()["seconds_left"] < high


async def test_a_malformed_timeout_is_400_and_names_the_header(edge: Edge) -> None:
    response = await edge.http.get("/v1/inspect", headers={"Grpc-Timeout": "soon"})
    assert response.status_code == 400
    assert response.json()["message"].startswith("header Grpc-Timeout")


async def test_a_deadline_that_passes_is_504(edge: Edge) -> None:
    response = await edge.http.get("/v1/hang", headers={"Grpc-Timeout": "50m"})
    assert response.status_code == 504
    assert response.json()["code"] == 4


@pytest.mark.parametrize(
    ("code", "http"), [(1, 499), (3, 400), (5, 404), (7, 403), (8, 429), (9, 400), (14, 503), (16, 401)]
)
async def test_statuses_become_http_statuses(edge: Edge, code: int, http: int) -> None:
    response = await edge.http.post("/v1/fail", json={"code": code, "message": "said so"})
    assert response.status_code == http
    assert response.json() == {"code": code, "message": "said so", "details": []}
    assert response.headers["x-ratelimit-remaining"] == "0"


async def test_rich_statuses_keep_their_details(edge: Edge) -> None:
    response = await edge.http.post("/v1/fail", json={"code": 8, "message": "m", "rich": True})
    assert response.headers["retry-after"] == "2"
    assert [detail["@type"].rpartition(".")[2] for detail in response.json()["details"]] == [
        "BadRequest",
        "RetryInfo",
        "Knows",
    ]


async def test_an_exception_of_the_backend_tells_the_client_nothing_internal(edge: Edge) -> None:
    response = await edge.http.post("/v1/fail", json={"crash": True})
    assert response.status_code == 500
    assert "hunter2" not in response.text
    assert "RuntimeError" not in response.text


async def test_a_backend_that_cannot_be_reached_is_503_without_its_address() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        async with (
            grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
            running_asgi(Transcoder([library_service()], channel)) as url,
            httpx.AsyncClient(base_url=url) as http,
        ):
            response = await http.get("/v1/books/a")
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert str(port) not in response.text


async def test_a_client_that_leaves_cancels_its_call_within_a_tenth_of_a_second(edge: Edge) -> None:
    assert await edge.seconds_outlived(b"GET /v1/hang HTTP/1.1\r\nHost: x\r\n\r\n", 0.1) < 0.1


async def test_bytes_of_an_http_body_go_up_and_down_untouched(edge: Edge) -> None:
    cover = await edge.http.get("/v1/covers/x", headers={"Accept": "text/html"})
    assert (cover.headers["content-type"], cover.content) == ("image/png", b"\x89PNG\r\nx")
    uploaded = await edge.http.put(
        "/v1/files/a/b?note=n", content=b"\x00{raw", headers={"Content-Type": "application/x-thing; v=1"}
    )
    assert uploaded.json() == {
        "path": "a/b",
        "content_type": "application/x-thing; v=1",
        "size": "5",
        "note": "n",
        "head": "AHtyYXc=",
    }


async def test_the_query_cannot_set_the_field_that_the_body_fills(edge: Edge) -> None:
    response = await edge.http.put("/v1/files/a?file.content_type=x", content=b"raw")
    assert response.status_code == 400
    assert response.json()["details"][0]["field_violations"][0]["field"].startswith("file")
