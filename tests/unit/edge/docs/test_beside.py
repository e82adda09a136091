"""Documentation beside routes that are not Gaia's."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from edge.docs.beside import Documented, document_of
from edge.transcoding.app import Transcoder
from edge.transcoding.comments import Comments
from edge.transcoding.profile import GRPC_GATEWAY, STRICT
from tests.support.contracts import compile_contracts
from tests.support.depot import depot_files, depot_routes
from tests.support.library import library_service, running_library
from tests.support.openapi import faults_of_document, operations

OF_ITS_OWN = """syntax = "proto3";
package own.v1;
import "google/api/annotations.proto";
message Request { string name = 1; }
service Own {
  rpc Docs(Request) returns (Request) { option (google.api.http) = {get: "/docs"}; }
  rpc Any(Request) returns (Request) { option (google.api.http) = {get: "/{name=docs/**}"}; }
}
"""


def document(keyed: bool = False) -> dict[str, Any]:
    comments = Comments.of_descriptor_set(depot_files())
    return document_of(depot_routes(), STRICT, title="Depot", comments=comments, keyed=keyed)


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with running_library() as (_, channel):
        transcoder = Transcoder([library_service()], channel)
        app = Documented(
            transcoder, lambda: document_of(transcoder.routes, STRICT, title="L", comments=Comments(), keyed=False)
        )
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://edge") as client:
            yield client


async def test_routes_and_their_documentation_are_served_side_by_side(http: httpx.AsyncClient):
    made = (await http.get("/openapi.json")).json()
    assert faults_of_document(made) == []
    assert "/v1/shelves/{shelves_id}/books/{books_id}" in made["paths"]
    assert (await http.get("/docs")).status_code == 200
    assert (await http.get("/docs/assets/swagger-ui.css")).status_code == 200
    assert (await http.get("/v1/shelves/1/books/2")).json()["name"] == "shelves/1/books/2"
    assert (await http.head("/docs")).status_code == 200


async def test_whoever_opens_the_root_is_led_to_the_page(http: httpx.AsyncClient):
    led = await http.get("/")
    assert (led.status_code, led.headers["location"]) == (307, "/docs")
    assert (await http.post("/")).status_code == 404


async def test_what_the_documentation_does_not_take_goes_to_the_routes(http: httpx.AsyncClient):
    assert (await http.post("/docs")).status_code == 404
    assert (await http.get("/docs/other")).status_code == 404


async def test_contracts_keep_the_paths_that_they_declare():
    pool = compile_contracts({"own.proto": OF_ITS_OWN})
    async with running_library() as (_, channel):
        transcoder = Transcoder([pool.FindServiceByName("own.v1.Own")], channel)
        app = Documented(transcoder, document)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://edge") as client:
            # The library has no such method, and that is whose answer it is.
            for path in ("/docs", "/docs/assets/gaia.css"):
                assert (await client.get(path)).status_code == 501
            assert (await client.get("/openapi.json")).status_code == 200


def test_a_key_is_documented_where_one_is_asked_for():
    keyed, free = document(keyed=True), document()
    assert faults_of_document(keyed) == []
    assert all(operation["security"] == [{"ApiKey": []}] for _, _, operation in operations(keyed))
    assert all("401" in operation["responses"] for _, _, operation in operations(keyed))
    assert "securitySchemes" not in free["components"]
    assert not any("security" in operation for _, _, operation in operations(free))


def test_names_follow_the_profile():
    made = document_of(depot_routes(), GRPC_GATEWAY, title="Depot", comments=Comments(), keyed=False)
    assert "keptSince" in made["components"]["schemas"]["Thing"]["properties"]
