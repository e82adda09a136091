"""Behaviour of edge/transcoding/ranges.py, alone and over real HTTP and gRPC."""

from collections.abc import AsyncIterator

import httpx
import pytest

from edge.transcoding.ranges import ByteRange, requested_range
from tests.support.transcoder import Edge, running_edge

WHOLE = b"chunk 0\nchunk 1\nchunk 2\n"


@pytest.fixture(scope="module")
async def edge() -> AsyncIterator[Edge]:
    async with running_edge() as running:
        yield running


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"bytes=0-9", ByteRange(0, 9)),
        (b"bytes=5-", ByteRange(5, 99)),
        (b"bytes=90-200", ByteRange(90, 99)),
        (b"bytes=-10", ByteRange(90, 99)),
        (b"bytes=-200", ByteRange(0, 99)),
        (b"bytes=200-", ByteRange(200, 99)),
        (None, None),
        (b"bytes=9-5", None),
        (b"bytes=-", None),
        (b"bytes=-0", None),
        (b"bytes=0-1,5-6", None),
        (b"items=0-1", None),
        (b"bytes=a-b", None),
        (b"bytes=" + b"9" * 40 + b"-", None),
    ],
)
def test_a_range_of_a_hundred_bytes_is_read_or_ignored(header: bytes | None, expected: ByteRange | None) -> None:
    assert requested_range(header, 100) == expected


@pytest.mark.parametrize(
    ("range_", "part", "told"),
    [
        ("bytes=0-3", WHOLE[:4], "bytes 0-3/24"),
        ("bytes=6-9", WHOLE[6:10], "bytes 6-9/24"),
        ("bytes=20-", WHOLE[20:], "bytes 20-23/24"),
        ("bytes=-3", WHOLE[-3:], "bytes 21-23/24"),
    ],
)
async def test_a_part_of_a_streamed_body_of_known_length_is_sent(
    edge: Edge, range_: str, part: bytes, told: str
) -> None:
    response = await edge.http.get("/v1/files/a?chunks=3&told=24", headers={"Range": range_})
    assert (response.status_code, response.content) == (206, part)
    assert response.headers["content-range"] == told
    assert response.headers["content-length"] == str(len(part))


async def test_a_whole_body_of_known_length_says_so(edge: Edge) -> None:
    response = await edge.http.get("/v1/files/a?chunks=3&told=24")
    assert (response.status_code, response.content) == (200, WHOLE)
    assert (response.headers["content-length"], response.headers["accept-ranges"]) == ("24", "bytes")
    head = await edge.http.head("/v1/files/a?chunks=3&told=24")
    assert (head.headers["content-length"], head.content) == ("24", b"")


async def test_a_range_is_ignored_where_the_length_is_not_known(edge: Edge) -> None:
    response = await edge.http.get("/v1/files/a?chunks=3", headers={"Range": "bytes=0-3"})
    assert (response.status_code, response.content) == (200, WHOLE)


@pytest.mark.parametrize("path", ["/v1/files/a?chunks=3&told=24", "/v1/covers/x"])
async def test_a_range_behind_the_end_is_416_with_the_length(edge: Edge, path: str) -> None:
    response = await edge.http.get(path, headers={"Range": "bytes=100-"})
    assert response.status_code == 416
    assert response.headers["content-range"] in ("bytes */24", "bytes */7")


async def test_a_part_of_a_unary_body_is_sent(edge: Edge) -> None:
    response = await edge.http.get("/v1/covers/x", headers={"Range": "bytes=1-3"})
    assert (response.status_code, response.content) == (206, b"PNG")
    assert response.headers["content-range"] == "bytes 1-3/7"


@pytest.mark.parametrize(("if_range", "status"), [('"v1"', 206), ('"v2"', 200), ('W/"v1"', 200)])
async def test_a_range_that_depends_on_a_tag_needs_that_very_tag(edge: Edge, if_range: str, status: int) -> None:
    headers = {"Range": "bytes=0-3", "If-Range": if_range}
    response = await edge.http.get("/v1/files/a?chunks=3&told=24", headers=headers)
    assert response.status_code == status


async def test_the_backend_is_not_read_behind_the_range(edge: Edge) -> None:
    edge.backend.sent = 0
    response = await edge.http.get("/v1/files/a?chunks=1000000&told=10888890", headers={"Range": "bytes=0-3"})
    assert response.content == WHOLE[:4]
    assert edge.backend.sent < 500_000


@pytest.mark.parametrize("told", [25, 1000])
async def test_a_body_shorter_than_was_told_is_cut(edge: Edge, told: int) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await edge.http.get(f"/v1/files/a?chunks=3&told={told}")


async def test_a_body_longer_than_was_told_ends_where_it_was_told(edge: Edge) -> None:
    assert (await edge.http.get("/v1/files/a?chunks=3&told=10")).content == WHOLE[:10]
