"""The documentation over HTTP."""

import gzip
import json
import re
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path

import brotli  # type: ignore[import-untyped] # no stubs exist
import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from edge.docs.site import Site

DOCUMENT = b'{"openapi":"3.1.1","info":{"title":"T","version":"1"},"paths":{}}'
STATIC = resources.files("edge.docs") / "static"
BUNDLE = "/docs/assets/swagger-ui-bundle.js"


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=[Route(path, page) for path, page in Site(DOCUMENT).pages().items()])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://edge") as client:
        client.headers.pop("accept-encoding")
        yield client


async def raw(http: httpx.AsyncClient, path: str, accept_encoding: str) -> tuple[str | None, bytes]:
    """Return the coding of a response, and its bytes as they were sent."""
    async with http.stream("GET", path, headers={"accept-encoding": accept_encoding}) as response:
        sent = b"".join([piece async for piece in response.aiter_raw()])
    return response.headers.get("content-encoding"), sent


async def test_the_document_is_served_as_it_is(http: httpx.AsyncClient):
    reply = await http.get("/openapi.json")
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    assert reply.content == DOCUMENT
    assert reply.headers["x-request-id"]


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", BUNDLE])
async def test_whoever_has_it_already_is_not_sent_it_again(http: httpx.AsyncClient, path: str):
    first = await http.get(path)
    again = await http.get(path, headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = await http.get(path, headers={"if-none-match": '"other"'})
    assert other.status_code == 200


@pytest.mark.parametrize(
    ("accepted", "coding"), [("gzip, deflate, br, zstd", "br"), ("gzip", "gzip"), ("br;q=0, gzip;q=0", None)]
)
async def test_the_document_is_sent_in_a_coding_that_the_client_reads(
    http: httpx.AsyncClient, accepted: str, coding: str | None
):
    unpack = {"br": brotli.decompress, "gzip": gzip.decompress, None: bytes}
    sent = await raw(http, "/openapi.json", accepted)
    assert sent[0] == coding
    assert unpack[coding](sent[1]) == DOCUMENT


async def test_a_client_without_brotli_gets_the_vendored_files_unpacked(http: httpx.AsyncClient):
    packed = (STATIC / "swagger-ui-bundle.js.br").read_bytes()
    assert await raw(http, BUNDLE, "br") == ("br", packed)
    assert await raw(http, BUNDLE, "gzip") == (None, brotli.decompress(packed))


async def test_everything_that_the_page_needs_is_served_here(http: httpx.AsyncClient):
    page = await http.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(links) >= 5
    for link in links:
        assert link.startswith("/"), "the page must work without any other host"
        reply = await http.get(link)
        assert reply.status_code == 200
        assert reply.content


async def test_the_page_may_load_nothing_from_elsewhere_and_run_no_script_of_its_text(http: httpx.AsyncClient):
    policy = (await http.get("/docs")).headers["content-security-policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert (rules["script-src"], rules["style-src"], rules["connect-src"]) == ("'self'", "'self'", "'self'")
    assert "unsafe" not in policy
    assert "<style" not in (await http.get("/docs")).text


def test_what_is_vendored_is_what_the_lock_pins():
    lock = json.loads((Path(__file__).parents[4] / "deploy" / "docs" / "package-lock.json").read_text())
    version = lock["packages"]["node_modules/swagger-ui-dist"]["version"]
    bundle = brotli.decompress((STATIC / "swagger-ui-bundle.js.br").read_bytes())
    assert f'"{version}"'.encode() in bundle, "run python -m deploy.docs.vendor"


def test_the_licences_of_what_is_vendored_are_kept_beside_it():
    names = {file.name for file in STATIC.iterdir()}
    assert {"swagger-ui.LICENSE.txt", "swagger-ui.NOTICE.txt", "swagger-ui-bundle.js.LICENSE.txt"} <= names
