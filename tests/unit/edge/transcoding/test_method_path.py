"""Behaviour of edge/transcoding/method_path.py: gRPC-Web and Connect, over real HTTP and gRPC."""

import base64
import gzip
import struct
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable

import brotli  # type: ignore[import-untyped]  # no stubs exist
import httpx
import pytest
import zstandard
from google.protobuf.descriptor import MethodDescriptor
from google.rpc import error_details_pb2, status_pb2

from edge.transcoding.options import HeaderRules, MethodOptions
from tests.support.library import new
from tests.support.transcoder import Edge, running_edge
from tests.support.transports import TRANSPORTS

SERVICE = "/library.v1.Library"
CONNECT = {"Content-Type": "application/json", "Connect-Protocol-Version": "1"}
WEB = "application/grpc-web+proto"


def options(method: MethodDescriptor) -> MethodOptions:
    """Options of the library's methods for these tests."""
    return MethodOptions(max_body_bytes=1000, default_timeout=20, max_timeout=40)


@pytest.fixture(scope="module", params=TRANSPORTS)
async def edge(request: pytest.FixtureRequest) -> AsyncIterator[Edge]:
    async with running_edge(
        request.param, method_options=options, headers=HeaderRules(reserved=("x-gaia-",))
    ) as running:
        yield running


CODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.compress,
}


def frame(data: bytes, flags: int = 0) -> bytes:
    return struct.pack(">BI", flags, len(data)) + data


def frames(body: bytes) -> tuple[list[bytes], dict[str, str]]:
    """Return the messages and the trailers of a gRPC-Web body."""
    messages, trailers = [], {}
    while body:
        flags, length = struct.unpack(">BI", body[:5])
        data, body = body[5 : 5 + length], body[5 + length :]
        if flags == 0x80:
            assert not body, "the trailers are the last frame"
            trailers = dict(line.split(": ", 1) for line in data.decode().split("\r\n") if line)
        else:
            messages.append(data)
    return messages, trailers


async def web(edge: Edge, method: str, message: bytes, **headers: str) -> httpx.Response:
    all_headers = {"Content-Type": WEB, **headers}
    return await edge.http.post(f"{SERVICE}/{method}", content=frame(message), headers=all_headers)


async def test_a_grpc_web_call_is_answered_by_its_message_and_trailers(edge: Edge) -> None:
    response = await web(edge, "Echo", new("Book", title="T").SerializeToString())
    assert (response.status_code, response.headers["content-type"]) == (200, WEB)
    assert frames(response.content) == ([new("Book", title="T").SerializeToString()], {"grpc-status": "0"})


async def test_grpc_web_streams_a_frame_for_each_message(edge: Edge) -> None:
    response = await web(edge, "Watch", new("WatchRequest", count=3).SerializeToString())
    messages, trailers = frames(response.content)
    assert messages == [new("Book", name=f"b{n}").SerializeToString() for n in range(3)]
    assert trailers["grpc-status"] == "0"


async def test_grpc_web_text_is_base64_both_ways(edge: Edge) -> None:
    request = base64.b64encode(frame(new("WatchRequest", count=2).SerializeToString()))
    headers = {"Content-Type": "application/grpc-web-text"}
    response = await edge.http.post(f"{SERVICE}/Watch", content=request, headers=headers)
    decoded = b"".join(base64.b64decode(part + "==") for part in response.text.split("="))
    messages, trailers = frames(decoded)
    assert (len(messages), trailers["grpc-status"]) == (2, "0")


async def test_a_failed_grpc_web_call_has_http_200_and_its_status_in_the_trailers(edge: Edge) -> None:
    response = await web(edge, "Fail", new("FailRequest", code=3, message="50% é", rich=True).SerializeToString())
    messages, trailers = frames(response.content)
    assert (response.status_code, messages) == (200, [])
    assert (trailers["grpc-status"], trailers["grpc-message"]) == ("3", "50%25 %C3%A9")
    rich = status_pb2.Status.FromString(base64.b64decode(trailers["grpc-status-details-bin"]))
    assert rich.details[0].Is(error_details_pb2.BadRequest.DESCRIPTOR)


async def test_a_grpc_web_stream_that_fails_later_ends_with_its_status(edge: Edge) -> None:
    response = await web(edge, "Watch", new("WatchRequest", count=1, fail=True).SerializeToString())
    messages, trailers = frames(response.content)
    assert (len(messages), trailers["grpc-status"], trailers["grpc-message"]) == (1, "8", "no more books")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "is one frame"),
        (b"\x00\x00\x00\x00\x05abc", "is one frame"),
        (b"\x01\x00\x00\x00\x00", "grpc-encoding does not say how"),
        (b"\x02\x00\x00\x00\x00", "is one frame"),
        (b"\x00\x00\x00\x00\x01\xff", "no library.v1.Book"),
        (b"x" * 2000, "larger than this route"),
    ],
)
async def test_a_grpc_web_body_that_is_no_frame_is_told_in_grpc_web(edge: Edge, body: bytes, message: str) -> None:
    response = await edge.http.post(f"{SERVICE}/Echo", content=body, headers={"Content-Type": WEB})
    _, trailers = frames(response.content)
    assert (response.status_code, trailers["grpc-status"]) == (200, "3")
    assert message in trailers["grpc-message"]


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
async def test_a_compressed_grpc_web_message_is_read(edge: Edge, coding: str) -> None:
    message = new("Book", title="T" * 900).SerializeToString()
    headers = {"Content-Type": WEB, "grpc-encoding": coding, "grpc-accept-encoding": "gzip"}
    response = await edge.http.post(f"{SERVICE}/Echo", content=frame(CODERS[coding](message), 1), headers=headers)
    assert frames(response.content) == ([message], {"grpc-status": "0"})
    plain = await web(edge, "Echo", message, **{"grpc-encoding": coding})
    assert frames(plain.content)[0] == [message]


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
async def test_a_grpc_web_message_that_expands_beyond_the_limit_is_refused_before_it_is_held(
    edge: Edge, coding: str
) -> None:
    bomb = CODERS[coding](bytes(50_000_000))
    body = frame(bomb[:900], 1) if len(bomb) > 900 else frame(bomb, 1)
    tracemalloc.start()
    try:
        response = await edge.http.post(
            f"{SERVICE}/Echo", content=body, headers={"Content-Type": WEB, "grpc-encoding": coding}
        )
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()
    _, trailers = frames(response.content)
    assert trailers["grpc-status"] == "3"
    assert "limit of 1000 bytes when it is expanded" in trailers["grpc-message"]


async def test_a_grpc_web_message_that_is_not_compressed_as_it_says_is_refused(edge: Edge) -> None:
    message = new("Book", title="T").SerializeToString()
    headers = {"Content-Type": WEB, "grpc-encoding": "gzip"}
    for data in (message, CODERS["gzip"](message)[:-3]):
        response = await edge.http.post(f"{SERVICE}/Echo", content=frame(data, 1), headers=headers)
        _, trailers = frames(response.content)
        assert trailers["grpc-status"] == "3"
        assert trailers["grpc-message"].startswith("the message ")


async def test_an_unknown_grpc_encoding_is_unimplemented_and_the_known_ones_are_told(edge: Edge) -> None:
    headers = {"Content-Type": WEB, "grpc-encoding": "snappy"}
    response = await edge.http.post(f"{SERVICE}/Echo", content=frame(b"x", 1), headers=headers)
    _, trailers = frames(response.content)
    assert (response.status_code, trailers["grpc-status"]) == (200, "12")
    assert response.headers["grpc-accept-encoding"] == "identity, gzip, deflate, br, zstd"


async def test_a_connect_call_may_be_compressed(edge: Edge) -> None:
    headers = {**CONNECT, "Content-Encoding": "gzip"}
    response = await edge.http.post(f"{SERVICE}/Echo", content=gzip.compress(b'{"title":"T"}'), headers=headers)
    assert response.json() == {"title": "T"}


async def test_an_unknown_coding_of_a_connect_call_is_unimplemented_and_the_known_ones_are_told(edge: Edge) -> None:
    headers = {**CONNECT, "Content-Encoding": "snappy"}
    response = await edge.http.post(f"{SERVICE}/Echo", content=b"x", headers=headers)
    assert (response.status_code, response.json()["code"]) == (501, "unimplemented")
    assert response.headers["accept-encoding"] == "gzip, deflate, br, zstd"


async def test_plain_headers_are_metadata_unless_they_are_reserved(edge: Edge) -> None:
    headers = {"x-team": "red", "x-key-bin": "AP8", "x-gaia-user": "forged", "x_gaia_user": "forged", "X-Grpc-Web": "1"}
    response = await edge.http.post(f"{SERVICE}/Inspect", json={}, headers={**CONNECT, **headers})
    metadata = response.json()["metadata"]
    assert (metadata["x-team"], metadata["x-key-bin"]) == ("red", "00ff")
    assert not [key for key in metadata if "gaia" in key or "grpc" in key]


async def test_a_connect_call_takes_and_gives_json(edge: Edge) -> None:
    body = {"parent": "shelves/1", "tags": ["a"], "page_size": 5, "unknown": 1}
    response = await edge.http.post(f"{SERVICE}/ListBooks", json=body, headers=CONNECT)
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"books": [{"name": "shelves/1/books/a"}], "pageSize": 5}


async def test_a_connect_call_takes_and_gives_protobuf(edge: Edge) -> None:
    body = new("Book", title="T").SerializeToString()
    headers = {"Content-Type": "application/proto"}
    response = await edge.http.post(f"{SERVICE}/Echo", content=body, headers=headers)
    assert (response.headers["content-type"], response.content) == ("application/proto", body)


async def test_metadata_of_a_connect_reply_are_headers_and_trailers_prefixed_ones(edge: Edge) -> None:
    response = await edge.http.post(f"{SERVICE}/CreateBook", json={}, headers=CONNECT)
    assert response.headers["x-shelf"] == "s"
    assert response.headers["trailer-checksum"] == "abc"


async def test_a_failed_connect_call_has_connects_error_body(edge: Edge) -> None:
    body = {"code": 5, "message": "gone", "rich": True}
    response = await edge.http.post(f"{SERVICE}/Fail", json=body, headers=CONNECT)
    error = response.json()
    assert (response.status_code, error["code"], error["message"]) == (404, "not_found", "gone")
    detail = error["details"][0]
    assert detail["type"] == "google.rpc.BadRequest"
    value = base64.b64decode(detail["value"] + "==")
    assert error_details_pb2.BadRequest.FromString(value).field_violations[0].field == "title"
    broken = await edge.http.post(f"{SERVICE}/Echo", content=b"{", headers=CONNECT)
    assert (broken.status_code, broken.json()["code"]) == (400, "invalid_argument")


@pytest.mark.parametrize(
    ("header", "value", "low", "high"),
    [("Connect-Timeout-Ms", "5000", 4, 5.1), ("Connect-Timeout-Ms", "90000", 39, 40.1), ("X-None", "", 19, 20.1)],
)
async def test_connects_timeout_is_heeded(edge: Edge, header: str, value: str, low: float, high: float) -> None:
    response = await edge.http.post(f"{SERVICE}/Inspect", json={}, headers={**CONNECT, header: value})
    assert low < response.json()["secondsLeft"] < high


async def test_a_malformed_connect_timeout_is_refused(edge: Edge) -> None:
    response = await edge.http.post(f"{SERVICE}/Inspect", json={}, headers={**CONNECT, "Connect-Timeout-Ms": "soon"})
    assert response.status_code == 400
    assert "Connect-Timeout-Ms" in response.json()["message"]


@pytest.mark.parametrize(
    ("method", "content_type", "status"),
    [
        ("Echo", "text/plain", 415),
        ("Watch", "application/json", 415),
        ("AskAloud", "application/grpc-web", 404),
        ("Collect", "application/grpc-web", 404),
        ("Nothing", "application/grpc-web", 404),
    ],
)
async def test_only_methods_with_a_rule_and_one_message_are_there(
    edge: Edge, method: str, content_type: str, status: int
) -> None:
    response = await edge.http.post(f"{SERVICE}/{method}", content=b"", headers={"Content-Type": content_type})
    assert response.status_code == status


async def test_a_client_that_leaves_cancels_its_grpc_web_stream(edge: Edge) -> None:
    body = frame(new("WatchRequest", count=1, hang=True).SerializeToString())
    head = f"POST {SERVICE}/Watch HTTP/1.1\r\nHost: x\r\nContent-Type: {WEB}\r\nContent-Length: {len(body)}\r\n\r\n"
    assert await edge.seconds_outlived(head.encode() + body, 0.1) < 0.1
