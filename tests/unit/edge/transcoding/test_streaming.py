"""Behaviour of edge/transcoding/streaming.py and httpbody.py: server streams, over real HTTP and gRPC."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from urllib.parse import urlsplit

import httpx
import pytest
from google.protobuf.descriptor import MethodDescriptor

from edge.transcoding.options import Alternative, Framing, Limits, MethodOptions
from tests.support.transcoder import Edge, running_edge
from tests.support.transports import TRANSPORTS


def options(method: MethodDescriptor) -> MethodOptions:
    """Options of the library's methods for these tests."""
    said = {
        "Ask": MethodOptions(alternative=Alternative(when_field="stream", method="library.v1.Library.AskAloud")),
        "AskAloud": MethodOptions(framing=Framing.SSE, end_marker="[DONE]"),
        "Watch": MethodOptions(idle_timeout=0.5),
    }
    return said.get(method.name, MethodOptions())


@pytest.fixture(scope="module", params=TRANSPORTS)
async def edge(request: pytest.FixtureRequest) -> AsyncIterator[Edge]:
    async with running_edge(request.param, method_options=options, limits=Limits(heartbeat=0.1)) as running:
        yield running


async def get(edge: Edge, query: str, accept: str = "*/*") -> httpx.Response:
    return await edge.http.get(f"/v1/watch?{query}", headers={"Accept": accept})


@pytest.mark.parametrize(
    ("accept", "content_type", "body"),
    [
        ("*/*", "application/x-ndjson", '{"name":"b0"}\n{"name":"b1"}\n'),
        ("application/json", "application/json", '[{"name":"b0"},{"name":"b1"}]'),
        ("text/event-stream", "text/event-stream", 'id: 1\ndata: {"name":"b0"}\n\nid: 2\ndata: {"name":"b1"}\n\n'),
    ],
)
async def test_accept_chooses_the_framing(edge: Edge, accept: str, content_type: str, body: str) -> None:
    response = await get(edge, "count=2", accept)
    assert (response.status_code, response.headers["content-type"], response.text) == (200, content_type, body)
    assert response.headers["x-request-id"]


async def test_a_stream_without_messages_is_an_empty_success(edge: Edge) -> None:
    assert ((await get(edge, "count=0")).status_code, (await get(edge, "count=0")).text) == (200, "")
    assert (await get(edge, "count=0", "application/json")).json() == []


async def test_wishes_of_accept_hold_for_every_message(edge: Edge) -> None:
    response = await get(edge, "count=1", "application/x-ndjson; emit-defaults=true")
    assert json.loads(response.text) == {"name": "b0", "title": "", "pages": 0, "copies": "0", "tags": []}


async def test_an_accept_that_nothing_satisfies_is_406(edge: Edge) -> None:
    assert (await get(edge, "count=1", "text/html")).status_code == 406


async def test_a_failure_before_the_first_message_has_its_own_status(edge: Edge) -> None:
    response = await get(edge, "count=0&fail=true", "text/event-stream")
    assert response.status_code == 429
    assert response.json()["message"] == "no more books"


async def test_a_failure_later_is_the_last_record(edge: Edge) -> None:
    status = {"code": 8, "message": "no more books", "details": []}
    lines = (await get(edge, "count=1&fail=true")).text.splitlines()
    assert [json.loads(line) for line in lines] == [{"name": "b0"}, {"error": status}]
    events = (await get(edge, "count=1&fail=true", "text/event-stream")).text.split("\n\n")
    assert events[1].startswith("event: error\ndata: ")
    assert json.loads(events[1].partition("data: ")[2]) == {"error": status}
    assert events[2:] == [""]


async def test_a_failure_leaves_an_array_open_and_cuts_the_connection(edge: Edge) -> None:
    received = bytearray()

    async def receive() -> None:
        headers = {"Accept": "application/json"}
        async with edge.http.stream("GET", "/v1/watch?count=1&fail=true", headers=headers) as response:
            async for piece in response.aiter_bytes():
                received.extend(piece)

    with pytest.raises(httpx.RemoteProtocolError):
        await receive()
    assert received == b'[{"name":"b0"}'


async def test_messages_arrive_as_they_are_sent(edge: Edge) -> None:
    async with edge.http.stream("GET", "/v1/watch?count=1&hang=true") as response:
        first = await asyncio.wait_for(anext(response.aiter_lines()), 5)
    assert json.loads(first) == {"name": "b0"}


async def test_silence_is_filled_with_heartbeats_that_also_begin_the_response(edge: Edge) -> None:
    headers = {"Accept": "text/event-stream"}
    async with edge.http.stream("GET", "/v1/watch?count=0&hang=true", headers=headers) as response:
        assert response.status_code == 200
        lines = response.aiter_lines()
        received = [await asyncio.wait_for(anext(lines), 5) for _ in range(4)]
    assert received == [": heartbeat", "", ": heartbeat", ""]


async def test_a_stream_that_is_silent_for_too_long_ends_with_an_error(edge: Edge) -> None:
    response = await get(edge, "count=1&hang=true", "text/event-stream")
    events = [event for event in response.text.split("\n\n") if not event.startswith(":")]
    assert "the stream sent nothing for 0.5 seconds" in events[1]
    quiet = await get(edge, "count=0&hang=true")
    assert quiet.status_code == 504


@pytest.mark.parametrize("query", ["count=0&hang=true", "count=3&hang=true"])
async def test_a_client_that_leaves_cancels_the_stream_within_a_tenth_of_a_second(edge: Edge, query: str) -> None:
    request = f"GET /v1/watch?{query} HTTP/1.1\r\nHost: x\r\n\r\n"
    assert await edge.seconds_outlived(request.encode(), 0.1) < 0.1


async def test_a_slow_reader_holds_the_backend_back() -> None:
    async with running_edge() as edge:
        parts = urlsplit(edge.url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 10)
        writer.write(b"GET /v1/watch?count=2000&size=20000 HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readline()
        sent = -1
        # The backend has stopped when its count stays the same for a while in which it could send all.
        while sent != edge.backend.sent:
            sent = edge.backend.sent
            with suppress(TimeoutError):
                await asyncio.wait_for(edge.backend.cancelled.wait(), 0.3)
        # 40 MB were asked for; what is under way lies in the sockets' buffers and gRPC's windows.
        assert sent * 20_000 < 16 << 20
        writer.close()


async def test_the_alternative_answers_when_its_field_is_true(edge: Edge) -> None:
    whole = await edge.http.post("/v1/ask", json={"count": 2})
    assert (whole.headers["content-type"], whole.json()) == ("application/json", {"name": "whole"})
    aloud = await edge.http.post("/v1/ask", json={"count": 2, "stream": True}, headers={"Accept": "application/json"})
    assert aloud.headers["content-type"] == "text/event-stream"
    assert aloud.text == 'data: {"name":"b0"}\n\ndata: {"name":"b1"}\n\ndata: [DONE]\n\n'


async def test_a_stream_that_failed_has_no_end_marker(edge: Edge) -> None:
    response = await edge.http.post("/v1/ask", json={"count": 1, "stream": True, "fail": True})
    assert "[DONE]" not in response.text
    assert response.text.endswith("\n\n")


async def test_head_of_a_stream_has_headers_only(edge: Edge) -> None:
    response = await edge.http.head("/v1/watch?count=5")
    assert (response.status_code, response.headers["content-type"]) == (200, "application/x-ndjson")
    assert response.content == b""


async def test_parts_of_an_http_body_are_sent_untouched_under_the_first_ones_type(edge: Edge) -> None:
    response = await edge.http.get("/v1/files/a/b.txt?chunks=3", headers={"Accept": "image/*"})
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.content == b"chunk 0\nchunk 1\nchunk 2\n"


async def test_an_http_body_without_parts_is_empty_bytes(edge: Edge) -> None:
    response = await edge.http.get("/v1/files/a")
    assert (response.headers["content-type"], response.content) == ("application/octet-stream", b"")


async def test_an_http_body_that_fails_is_cut_or_has_its_status_before_the_first_byte(edge: Edge) -> None:
    assert (await edge.http.get("/v1/files/a?fail=true")).status_code == 500
    with pytest.raises(httpx.RemoteProtocolError):
        await edge.http.get("/v1/files/a?chunks=1&fail=true")
