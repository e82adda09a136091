"""No request, however broken, makes the transcoder fail or lets reserved metadata through; over ASGI and real gRPC."""

import asyncio
import json
from collections.abc import MutableMapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.transcoding.app import Transcoder
from edge.transcoding.options import HeaderRules
from tests.support.library import library_service, running_library
from tests.support.transports import TRANSPORTS

TARGETS = (
    ("POST", "/v1/echo"),
    ("GET", "/v1/books/a"),
    ("GET", "/v1/shelves/1/books"),
    ("POST", "/v1/shelves/1/books"),
    ("PATCH", "/v1/shelves/1/books/2"),
    ("DELETE", "/v1/shelves/1/books/2"),
    ("POST", "/v1/shelves/1/books/2:lend"),
    ("GET", "/v1/watch"),
    ("HEAD", "/v1/watch"),
    ("GET", "/v1/files/a/b"),
    ("PUT", "/v1/files/a/b"),
    ("POST", "/v1/blob"),
    ("POST", "/v1/shelves/1:collect"),
    ("POST", "/v1/talk/n"),
    ("POST", "/v1/streams/x"),
    ("GET", "/v1/inspect"),
    ("POST", "/library.v1.Library/Echo"),
    ("POST", "/library.v1.Library/Watch"),
    ("OPTIONS", "/v1/echo"),
    ("BREW", "/v1/echo"),
)
PIECES = ("%", "%2F", "%00", "%zz", "%ff", "/", "//", "..", ".", ":", ":lend", "é", "*", "{a}", "?", "x" * 300)
NAMES = ("title", "pages", "copies", "tags", "count", "size", "name", "a.b", "tags[0]", "page_size", "chunks", "told")
VALUES = ("", "1", "-1", "9" * 40, "true", "NaN", "null", "%ff", "é", "a=b", "[", "{}", "1e400", "\x00")
BODIES = (
    b"",
    b"{",
    b"[",
    b"null",
    b"[]",
    b"{}{}",
    b'{"title":1}',
    b'{"title":"\\ud800"}',
    b'{"title":"\xff"}',
    b'{"pages":1e400}',
    b'{"a":' * 200 + b"1" + b"}" * 200,
    b'{"title":"x","title":"y"}',
    b"\x00\x00\x00\x00\x00",
    b"--b\r\n\r\n",
    b"title=%zz&&&=",
)
CONTENT_TYPES = (
    "application/json",
    "application/json; charset=latin-1",
    "application/x-protobuf",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=b",
    "multipart/form-data",
    "application/x-ndjson",
    "application/grpc-web",
    "application/grpc-web-text",
    "application/proto",
    ";;;",
    "\xff",
)
RESERVED = ("x-gaia-user", "X_Gaia_User", "x.gaia.user", "grpc-metadata-x-gaia-user", "Grpc-Metadata-x_gaia_user-bin")
OTHER_HEADERS = (
    ("accept", "application/json;q=x;;, */*"),
    ("accept", "\xff"),
    ("grpc-timeout", "1S"),
    ("grpc-timeout", "-1S"),
    ("x-request-timeout", "nan"),
    ("x-request-id", "a\x00b"),
    ("grpc-metadata-a-bin", "???"),
    ("grpc-metadata-\xff", "a"),
    ("if-none-match", ",,,"),
    ("range", "bytes=5-1"),
    ("range", "bytes=0-0"),
    ("if-range", "x"),
    ("accept-encoding", "br;q=,,gzip;;"),
    ("content-encoding", "gzip"),
    ("te", "trailers"),
    ("expect", "100-continue"),
    ("connect-timeout-ms", "-1"),
)


def rarely(odd: st.SearchStrategy[Any], usual: object) -> st.SearchStrategy[Any]:
    """Draw the usual value twice as often as an odd one, so that requests get past the first check."""
    return st.integers(0, 2).flatmap(lambda n: odd if n == 0 else st.just(usual))


requests = st.fixed_dictionaries(
    {
        "target": st.sampled_from(TARGETS),
        "path": rarely(st.lists(st.sampled_from(PIECES), max_size=2), []),
        "query": rarely(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=3), []),
        "content_type": rarely(st.sampled_from(CONTENT_TYPES), None),
        "headers": st.lists(
            st.sampled_from(OTHER_HEADERS) | st.sampled_from(RESERVED).map(lambda n: (n, "AAAA")), max_size=4
        ),
        "body": rarely(st.sampled_from(BODIES) | st.binary(max_size=40), b""),
    }
)


async def answer(app: Transcoder, request: dict[str, Any]) -> tuple[int, dict[bytes, bytes], bytes]:
    """Send one request by ASGI, and return status, headers and body; they must be a complete response."""
    method, base = request["target"]
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in request["headers"]]
    if request["content_type"] is not None:
        headers.append((b"content-type", request["content_type"].encode("latin-1")))
    body = request["body"]
    headers.append((b"content-length", b"%d" % len(body)))
    raw_path = (base + "".join(request["path"])).encode()
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "path": "/",
        "raw_path": raw_path.partition(b"?")[0],
        "query_string": "&".join(f"{n}={v}" for n, v in request["query"]).encode("latin-1", "replace"),
        "headers": headers,
        "client": ("127.0.0.1", 1),
    }
    sent: list[dict[str, Any]] = []
    incoming = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(dict(message))

    await asyncio.wait_for(app(scope, receive, send), 20)
    assert sent[0]["type"] == "http.response.start"
    assert not sent[-1].get("more_body", False)
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(m.get("body", b"") for m in sent[1:])


@pytest.fixture(scope="module", params=TRANSPORTS)
async def app(request: pytest.FixtureRequest) -> Any:
    async with running_library(request.param) as (_, channel):
        yield Transcoder([library_service()], channel, headers=HeaderRules(reserved=("x-gaia-",)))


async def test_any_request_has_an_answer_that_blames_nobody_else(app: Transcoder) -> None:
    loop = asyncio.get_running_loop()

    @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
    @given(requests)
    def check(request: dict[str, Any]) -> None:
        status, headers, body = asyncio.run_coroutine_threadsafe(answer(app, request), loop).result(30)
        assert status < 500, (status, body)
        assert headers[b"x-request-id"]
        assert b"Traceback" not in body
        if status >= 400 and request["target"][0] != "HEAD":
            assert json.loads(body)["message"]
        if b'"metadata"' in body:
            assert b"gaia" not in body.lower()

    # Hypothesis calls the test many times without awaiting anything, so it runs beside the loop.
    await asyncio.to_thread(check)
