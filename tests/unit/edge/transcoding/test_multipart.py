"""Behaviour of edge/transcoding/multipart.py, over real HTTP and gRPC."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from edge.transcoding.multipart import MultipartParts, Part
from edge.transcoding.options import MethodOptions
from tests.support.transcoder import Edge, running_edge

TYPE = b"multipart/form-data; boundary=frontier"
FORM = (
    b'--frontier\r\nContent-Disposition: form-data; name="note"\r\n\r\ncaf\xc3\xa9\r\n'
    b'--frontier\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
    b"Content-Type: application/x\r\n\r\n\x00\r\n--front\xff\r\n--frontier--\r\n"
)


@pytest.fixture(scope="module")
async def edge() -> AsyncIterator[Edge]:
    async with running_edge(method_options=lambda _: MethodOptions(max_stream_bytes=40_000_000)) as running:
        yield running


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_parts_are_read_however_the_body_is_cut(size: int) -> None:
    parts = MultipartParts(TYPE)
    found: list[Part | bytes | None] = []
    for start in range(0, len(FORM), size):
        for event in parts.feed(FORM[start : start + size]):
            if isinstance(event, bytes) and isinstance(found[-1], bytes):
                found[-1] += event
            else:
                found.append(event)
    parts.finish()
    assert found == [
        Part("note", None, ""),
        "café".encode(),
        None,
        Part("file", "a.bin", "application/x"),
        b"\x00\r\n--front\xff",
        None,
    ]


async def test_fields_and_a_file_become_one_message(edge: Edge) -> None:
    response = await edge.http.put(
        "/v1/files/a/b", data={"note": "n"}, files={"file": ("x.bin", b"\x00raw", "application/x-thing")}
    )
    assert response.json() == {
        "path": "a/b",
        "content_type": "application/x-thing",
        "size": "4",
        "note": "n",
        "head": "AHJhdw==",
    }


async def test_a_file_goes_into_a_bytes_field_and_text_is_read_as_in_a_form(edge: Edge) -> None:
    response = await edge.http.post("/v1/blob", data={"size": "7"}, files={"head": ("x", b"\x00\xff", "image/png")})
    assert response.json() == {"size": "7", "head": "AP8="}
    text_only = await edge.http.post("/v1/blob", files={"size": (None, "7"), "head": (None, "AP8=")})
    assert text_only.json() == {"size": "7", "head": "AP8="}


@pytest.mark.parametrize(
    ("files", "field"),
    [
        ([("note", ("x", b"raw"))], "note"),
        ([("head", ("x", b"a")), ("head", ("y", b"b"))], "head"),
        ([("size", (None, "many"))], "size"),
        ([("nothing", (None, "x"))], "nothing"),
    ],
)
async def test_parts_that_fit_no_field_are_refused_by_name(edge: Edge, files: Any, field: str) -> None:
    response = await edge.http.post("/v1/blob", files=files)
    assert response.status_code == 400
    assert [v["field"] for v in response.json()["details"][0]["field_violations"]] == [field]


@pytest.mark.parametrize(
    ("content_type", "body", "reason"),
    [
        (b"multipart/form-data", FORM, "needs a boundary"),
        (b"multipart/form-data; boundary=" + b"x" * 300, FORM, "too long"),
        (b"multipart/form-data; boundary=other", FORM, "no multipart/form-data with the boundary"),
        (TYPE, FORM[:-20], "ends before its last boundary"),
        (TYPE, FORM.replace(b"form-data; name", b"form-data; title"), "Content-Disposition must be form-data"),
        (TYPE, FORM.replace(b"caf\xc3\xa9", b"\xff"), "must be UTF-8"),
        (TYPE, b'--frontier\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 1001, "more than 1000 parts"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/files/a", "/v1/streams/a"])
async def test_what_is_no_form_is_refused_with_the_reason(
    edge: Edge, path: str, content_type: bytes, body: bytes, reason: str
) -> None:
    method = "PUT" if "files" in path else "POST"
    response = await edge.http.request(method, path, content=body, headers={"Content-Type": content_type.decode()})
    assert response.status_code == 400
    assert reason in response.json()["message"]


async def test_a_file_is_streamed_to_a_method_that_takes_a_stream(edge: Edge) -> None:
    edge.backend.sent = 0
    block = b"0123456789" * 100_000

    async def body() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\nn\r\n'
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\nContent-Type: video/x\r\n\r\n'
        for _ in range(20):
            yield block
            await asyncio.sleep(0)
        yield b"\r\n--b--\r\n"

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    response = await edge.http.post("/v1/streams/a/b", content=body(), headers=headers)
    assert response.json() == {
        "path": "a/b",
        "content_type": "video/x",
        "size": "20000000",
        "note": "n",
        "head": "MDEyMzQ1Njc4OTAxMjM0NQ==",
    }
    assert edge.backend.sent > 20


async def test_a_part_behind_the_streamed_file_is_refused(edge: Edge) -> None:
    files: Any = [("file", ("x", b"a")), ("note", (None, "late"))]
    response = await edge.http.post("/v1/streams/a", files=files)
    assert response.status_code == 400
    assert "the file must be the last part" in response.json()["message"]


async def test_a_form_for_a_rule_that_binds_another_field_is_415(edge: Edge) -> None:
    response = await edge.http.post("/v1/shelves/1/books", files={"title": (None, "x")})
    assert response.status_code == 415
