"""Behaviour of edge/transcoding/app.py, over real HTTP and gRPC."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import grpc
import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import Scope

from edge.transcoding.app import Transcoder
from edge.transcoding.errors import Code, RpcFailure, Status
from edge.transcoding.options import Alternative, HeaderRules, Limits, MethodOptions
from edge.transcoding.profile import GRPC_GATEWAY
from edge.transcoding.routes import Route, RouteTableError
from tests.support.asgi_server import running_asgi
from tests.support.contracts import compile_contracts
from tests.support.library import library_service, running_library
from tests.support.transcoder import Edge, running_edge


@pytest.fixture(scope="module")
async def edge() -> AsyncIterator[Edge]:
    async with running_edge(headers=HeaderRules(reserved=("x-gaia-",))) as running:
        yield running


async def test_path_query_and_body_reach_the_method_and_its_reply_returns(edge: Edge) -> None:
    response = await edge.http.get("/v1/shelves/1/books", params=[("page_size", "5"), ("tags", "a"), ("tags", "b c")])
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "books": [{"name": "shelves/1/books/a"}, {"name": "shelves/1/books/b c"}],
        "page_size": 5,
    }


async def test_each_binding_of_a_method_has_its_own_path_and_response_body(edge: Edge) -> None:
    assert (await edge.http.get("/v1/books/a%2Fb")).json()["name"] == "a/b"
    assert (await edge.http.get("/v1/shelves/1/titles?tags=a")).json() == [{"name": "shelves/1/books/a"}]


async def test_a_body_may_be_one_field_and_a_patch_fills_its_mask(edge: Edge) -> None:
    response = await edge.http.patch("/v1/shelves/1/books/2", json={"title": "T", "pages": 0})
    assert response.json() == {"book": {"name": "shelves/1/books/2", "title": "T"}, "update_mask": "title,pages"}


async def test_every_violation_of_a_request_is_told_at_once(edge: Edge) -> None:
    response = await edge.http.post("/v1/echo", json={"pages": "many", "titel": "x", "tags": [1]})
    assert response.status_code == 400
    violations = response.json()["details"][0]["field_violations"]
    assert {violation["field"] for violation in violations} == {"pages", "titel", "tags[0]"}
    assert any('did you mean "title"?' in violation["description"] for violation in violations)


async def test_a_body_where_the_rule_has_none_is_refused(edge: Edge) -> None:
    response = await edge.http.request("GET", "/v1/books/a", content=b'{"name":"x"}')
    assert response.status_code == 400
    assert "takes no body" in response.json()["message"]


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/v1/nothing", 404, "no route matches this path"),
        ("GET", "/v1/Echo/", 404, "did you mean POST /v1/echo?"),
        ("GET", "/v1/books/%zz", 400, "two hexadecimal digits"),
        ("GET", "/v1/books/%2e%2e", 400, '"." or ".."'),
        ("GET", "/v1/books/" + "x" * 9000, 414, "the limit is 8192"),
    ],
)
async def test_paths_without_a_route_are_told_what_is_wrong(
    edge: Edge, method: str, path: str, status: int, message: str
) -> None:
    response = await edge.http.request(method, path)
    assert response.status_code == status
    assert message in response.json()["message"]


async def test_a_wrong_method_is_405_with_the_right_ones(edge: Edge) -> None:
    response = await edge.http.put("/v1/echo")
    assert response.status_code == 405
    assert response.headers["allow"] == "OPTIONS, POST, PURGE"
    assert "it takes OPTIONS, POST, PURGE" in response.json()["message"]


async def test_options_tells_the_methods_of_a_path(edge: Edge) -> None:
    response = await edge.http.options("/v1/shelves/1/books/2")
    assert (response.status_code, response.headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS, PATCH")


async def test_head_has_the_headers_of_get_and_no_body(edge: Edge) -> None:
    get, head = await edge.http.get("/v1/books/a"), await edge.http.head("/v1/books/a")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == get.headers["content-length"] == str(len(get.content))


async def test_a_custom_method_is_served(edge: Edge) -> None:
    assert (await edge.http.request("PURGE", "/v1/echo")).json() == {}


async def test_a_clients_request_id_is_kept_and_sent_on(edge: Edge) -> None:
    response = await edge.http.get("/v1/inspect", headers={"X-Request-Id": "abc-1"})
    assert response.headers["x-request-id"] == "abc-1"
    assert response.json()["metadata"]["x-request-id"] == "abc-1"


@pytest.mark.parametrize("path", ["/v1/books/a", "/nothing"])
async def test_a_request_id_is_made_where_none_is_fit(edge: Edge, path: str) -> None:
    response = await edge.http.get(path, headers={"X-Request-Id": "a b"})
    assert len(response.headers["x-request-id"]) == 32


async def test_reserved_metadata_never_reaches_the_backend(edge: Edge) -> None:
    names = ["X-Gaia-User", "Grpc-Metadata-X-Gaia-User", "Grpc-Metadata-x_gaia_user", "Grpc-Metadata-Grpc-Trace-Bin"]
    response = await edge.http.get("/v1/inspect", headers={**dict.fromkeys(names, "AAAA"), "Grpc-Metadata-Team": "red"})
    metadata = response.json()["metadata"]
    assert metadata["team"] == "red"
    assert not [key for key in metadata if "gaia" in key or "trace" in key]


async def test_binary_metadata_pass_both_ways(edge: Edge) -> None:
    response = await edge.http.get("/v1/inspect", headers={"Grpc-Metadata-Key-Bin": "AP8"})
    assert response.json()["metadata"]["key-bin"] == "00ff"
    lent = await edge.http.post("/v1/shelves/1/books/2:lend")
    assert lent.headers["grpc-metadata-x-data-bin"] == "AP8="


async def test_oversize_headers_are_refused(edge: Edge) -> None:
    response = await edge.http.get("/v1/books/a", headers={f"x-{n}": "v" * 4000 for n in range(9)})
    assert response.status_code == 431


async def test_every_fault_of_the_contracts_is_named_at_once() -> None:
    pool = compile_contracts(
        {
            "bad.proto": """
            syntax = "proto3"; package bad.v1; import "google/api/annotations.proto";
            message M { string a = 1; M m = 2; repeated string r = 3; }
            service S {
              rpc Missing(M) returns (M) { option (google.api.http) = { get: "/1/{nope}" }; }
              rpc Repeated(M) returns (M) { option (google.api.http) = { get: "/2/{r}" }; }
              rpc Body(M) returns (M) { option (google.api.http) = { post: "/3" body: "nope" }; }
              rpc ResponseBody(M) returns (M) { option (google.api.http) = { get: "/4" response_body: "a.b" }; }
              rpc Grammar(M) returns (M) { option (google.api.http) = { get: "/5/{" }; }
              rpc First(M) returns (M) { option (google.api.http) = { get: "/6/{a}" }; }
              rpc Second(M) returns (M) { option (google.api.http) = { get: "/6/{m.a}" }; }
              rpc Style(M) returns (M) { option (google.api.http) = { get: "/7" }; }
              rpc Other(M) returns (M) { option (google.api.http) = { get: "/8" }; }
            }
            """
        }
    )
    said = {
        "Style": MethodOptions(error_style="odd"),
        "Other": MethodOptions(alternative=Alternative(when_field="a", method="bad.v1.S.Style")),
    }
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        with pytest.raises(RouteTableError) as caught:
            Transcoder(
                [pool.FindServiceByName("bad.v1.S")],
                channel,
                method_options=lambda method: said.get(method.name, MethodOptions()),
            )
    assert {fault.method.rpartition(".")[2] for fault in caught.value.faults} == {
        *("Missing", "Repeated", "Body", "ResponseBody", "Grammar", "Second", "Style", "Other")
    }
    assert all(fault.file == "bad.proto" and str(fault) in str(caught.value) for fault in caught.value.faults)


async def test_the_routes_are_listed_in_the_contracts_order(edge: Edge) -> None:
    assert [str(route) for route in edge.app.routes][:3] == [
        "GET /v1/{name=shelves/*/books/*}",
        "GET /v1/books/{name}",
        "GET /v1/{parent=shelves/*}/books",
    ]


async def test_an_authorizer_adds_metadata_and_sees_route_and_scope() -> None:
    seen: list[tuple[str, str]] = []

    def authorize(route: Route, scope: Scope) -> Sequence[tuple[str, str]]:
        seen.append((route.method.name, scope["path"]))
        return [("x-gaia-user", "u1")]

    async with running_edge(authorize=authorize, headers=HeaderRules(reserved=("x-gaia-",))) as edge:
        response = await edge.http.get("/v1/inspect", headers={"X-Gaia-User": "forged"})
        assert response.json()["metadata"]["x-gaia-user"] == "u1"
        assert seen == [("Inspect", "/v1/inspect")]


async def test_an_authorizer_may_wait_and_may_refuse_before_the_body_is_read() -> None:
    async def authorize(route: Route, scope: Scope) -> Sequence[tuple[str, str]]:
        await asyncio.sleep(0)
        raise RpcFailure(Status(Code.UNAUTHENTICATED, "no key"), headers=((b"www-authenticate", b"Bearer"),))

    async with running_edge(authorize=authorize) as edge:
        response = await edge.http.post("/v1/echo", content=b"{broken")
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.json()["message"] == "no key"
        assert (await edge.http.get("/v1/nothing")).status_code == 404


class LoudStyle:
    """`{"loud": message}`."""

    event = "loud"

    def body(self, status: Status, http_status: int, request_id: str) -> tuple[str, bytes]:
        return "application/loud+json", self.record(status, http_status, request_id)

    def record(self, status: Status, http_status: int, request_id: str) -> bytes:
        return json.dumps({"loud": status.message, "http": http_status, "id": request_id}).encode()


async def test_errors_take_the_routes_style_and_paths_without_a_route_theirs() -> None:
    def options(method: object) -> MethodOptions:
        return MethodOptions(error_style="loud" if getattr(method, "name", "") == "Echo" else "problem")

    async with running_edge(
        error_styles={"loud": LoudStyle()},
        method_options=options,
        style_of_path=lambda path: "loud" if path.startswith("/loud") else "",
    ) as edge:
        bad = await edge.http.post("/v1/echo", content=b"{", headers={"X-Request-Id": "r1"})
        assert bad.headers["content-type"] == "application/loud+json"
        assert bad.json()["http"] == 400
        assert bad.json()["id"] == "r1"
        problem = await edge.http.post("/v1/fail", json={"code": 5, "message": "gone"})
        assert problem.headers["content-type"] == "application/problem+json"
        assert "loud" in (await edge.http.get("/loud/nothing")).json()
        assert (await edge.http.get("/nothing")).json()["code"] == 5


async def test_a_backends_status_may_be_given_another_http_status() -> None:
    async with running_edge(http_status=lambda status: 502 if status.message == "upstream" else None) as edge:
        assert (await edge.http.post("/v1/fail", json={"code": 13, "message": "upstream"})).status_code == 502
        assert (await edge.http.post("/v1/fail", json={"code": 13, "message": "own"})).status_code == 500


async def test_calls_beyond_the_limit_are_503_with_retry_after() -> None:
    async with running_edge(limits=Limits(max_calls=1)) as edge:
        hanging = asyncio.create_task(edge.http.get("/v1/hang"))
        await asyncio.wait_for(edge.backend.hanging.wait(), 5)
        refused = await edge.http.get("/v1/books/a")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        hanging.cancel()
        await asyncio.wait_for(edge.backend.cancelled.wait(), 5)


async def test_it_mounts_below_a_path_of_a_starlette_application() -> None:
    async with running_library() as (_, channel):
        app = Starlette(routes=[Mount("/a b/c", Transcoder([library_service()], channel))])
        async with running_asgi(app) as url, httpx.AsyncClient(base_url=url) as http:
            assert (await http.get("/a%20b/c/v1/books/x%2Fy")).json()["name"] == "x/y"
            assert (await http.post("/a%20b/c/v1/echo", json={"name": "n"})).json() == {"name": "n"}


async def test_a_trailing_slash_is_taken_where_the_option_says_so() -> None:
    async with running_edge(method_options=lambda _: MethodOptions(trailing_slash=True)) as edge:
        assert (await edge.http.get("/v1/books/a/")).json()["name"] == "a"
        assert (await edge.http.post("/v1/echo/", json={})).status_code == 200


async def test_the_gateway_profile_writes_and_refuses_as_grpc_gateway_does() -> None:
    async with running_edge(profile=GRPC_GATEWAY) as edge:
        book = await edge.http.get("/v1/books/a?unknown=1")
        assert book.json() == {"name": "a", "title": "Title", "pages": 0, "copies": "2", "tags": []}
        assert (await edge.http.get("/v1/shelves/1/books?tags=a")).json()["pageSize"] == 0
        assert (await edge.http.put("/v1/echo")).status_code == 501
        assert (await edge.http.options("/v1/echo")).status_code == 501
        stream = await edge.http.get("/v1/watch?count=1&fail=true", headers={"Accept": "text/event-stream"})
        assert stream.headers["content-type"] == "application/json"
        first, last = stream.text.splitlines()
        assert json.loads(first)["result"]["name"] == "b0"
        assert json.loads(last) == {"error": {"code": 8, "message": "no more books", "details": []}}
        metadata = (await edge.http.get("/v1/inspect", headers={"Authorization": "Bearer x"})).json()["metadata"]
        assert metadata["grpcgateway-authorization"] == metadata["authorization"] == "Bearer x"
