"""How the edge answers requests that are wrong, whatever they ask for, and what every response carries."""

import asyncio
import json
import uuid

import httpx
import pytest

from tests.support.mesh import Caller, Mesh

MIB = 1 << 20


def assert_default_style(reply: httpx.Response, status: int, code: int) -> None:
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    body = reply.json()
    assert set(body) == {"code", "message", "details", "detail"}
    assert body["code"] == code
    assert body["message"]
    assert body["detail"] == body["message"]


class TestErrorStyles:
    """Each family of paths has the error shape that its clients read."""

    async def test_most_paths_answer_with_a_status_and_repeat_the_message_as_detail(self, mesh: Mesh):
        assert_default_style(await mesh.http.get("/api/v1/nothing"), 404, 5)
        assert_default_style(await mesh.http.get("/api/v0.2/nothing"), 404, 5)
        assert_default_style(await mesh.http.get("/nothing"), 404, 5)

    async def test_v03_paths_answer_with_the_message_alone(self, mesh: Mesh):
        reply = await mesh.http.get("/api/v0.3/nothing")
        assert reply.status_code == 404
        assert list(reply.json()) == ["error"]
        assert isinstance(reply.json()["error"], str)

    async def test_v1_paths_answer_as_openai_does(self, mesh: Mesh):
        reply = await mesh.http.get("/v1/nothing")
        assert reply.status_code == 404
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}
        refused = await mesh.http.get("/v1/models")
        assert refused.status_code == 401
        assert refused.json()["error"]["type"] == "authentication_error"

    async def test_messages_paths_answer_as_anthropic_does(self, mesh: Mesh):
        reply = await mesh.http.get("/v1/messages/nothing")
        body = reply.json()
        assert reply.status_code == 404
        assert body["type"] == "error"
        assert body["error"]["type"] == "not_found_error"
        assert body["request_id"] == reply.headers["x-request-id"]


class TestRoutes:
    async def test_an_unknown_route_names_a_near_one(self, mesh: Mesh):
        assert "/api/v0.2/providers" in (await mesh.http.get("/API/v0.2/Providers")).json()["message"]

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("DELETE", "/api/v0.2/providers", {"GET", "HEAD", "OPTIONS"}),
            ("PUT", "/api/v1/users", {"GET", "HEAD", "POST", "OPTIONS"}),
            ("GET", "/api/v0.2/chat", {"POST", "OPTIONS"}),
            ("POST", "/health", {"GET", "HEAD", "OPTIONS"}),
            ("DELETE", "/", {"GET", "HEAD", "OPTIONS"}),
        ],
    )
    async def test_a_wrong_method_is_405_and_names_the_right_ones(
        self, mesh: Mesh, method: str, path: str, allowed: set[str]
    ):
        reply = await mesh.http.request(method, path)
        assert_default_style(reply, 405, 12)
        assert set(reply.headers["allow"].split(", ")) >= allowed

    async def test_options_names_the_methods_and_head_answers_without_a_body(self, mesh: Mesh, caller: Caller):
        for path, methods in (("/api/v1/users", {"GET", "POST"}), ("/health", {"GET"})):
            options = await mesh.http.options(path)
            assert options.status_code == 204
            assert set(options.headers["allow"].split(", ")) >= methods
        head, get = await caller.request("HEAD", "/api/v1/auth/me"), await caller.get("/api/v1/auth/me")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == get.headers["content-length"]

    @pytest.mark.parametrize("path", ["/api/v1/auth/me", "/api/v1/api-keys", "/api/v0.2/providers", "/v1/models"])
    async def test_a_trailing_slash_is_the_same_route(self, caller: Caller, path: str):
        plain, slashed = await caller.get(path), await caller.get(path + "/")
        assert (plain.status_code, slashed.status_code) == (200, 200)
        assert plain.json().keys() == slashed.json().keys()

    @pytest.mark.parametrize("path", ["/api/v1/users/%zz", "/api/v1/users/%2e%2e/secret", "/api/v1/users/../api-keys"])
    async def test_a_path_that_plays_tricks_is_refused(self, mesh: Mesh, path: str):
        # HTTP clients tidy paths up, so this one is written by hand.
        request = f"GET {path} HTTP/1.1\r\nHost: gaia\r\nX-API-Key: {mesh.admin.key}\r\nConnection: close\r\n\r\n"
        address = httpx.URL(mesh.url)
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(request.encode())
        reply = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
        assert reply.startswith("HTTP/1.1 400 "), reply

    async def test_a_slash_inside_an_id_is_part_of_the_id(self, mesh: Mesh):
        reply = await mesh.admin.get("/api/v1/users/a%2Fb")
        assert_default_style(reply, 404, 5)
        assert "route" not in reply.json()["message"]


class TestBodies:
    @pytest.mark.parametrize(
        "body",
        [
            b"{",
            b"{} {}",
            b'{"email": "a@gaia.test",}',
            b'{"email": "a", "email": "b"}',
            b"[]",
            b'"text"',
            b"\xff\xfe{}",
        ],
    )
    async def test_malformed_json_is_refused(self, mesh: Mesh, body: bytes):
        headers = {"content-type": "application/json"}
        assert_default_style(await mesh.admin.request("POST", "/api/v1/users", content=body, headers=headers), 400, 3)

    async def test_a_wrong_type_is_refused_by_the_name_of_its_field(self, mesh: Mesh):
        reply = await mesh.admin.post("/api/v1/api-keys", {"name": ["x"], "scopes": "admin"})
        assert_default_style(reply, 400, 3)
        [detail] = reply.json()["details"]
        assert {violation["field"] for violation in detail["field_violations"]} == {"name", "scopes"}

    async def test_an_unknown_field_is_refused_with_the_near_one(self, mesh: Mesh):
        reply = await mesh.admin.post("/api/v1/users", {"emial": "a@gaia.test"})
        assert_default_style(reply, 400, 3)
        assert "emial" in reply.json()["message"]
        assert "email" in reply.json()["message"].replace("emial", "")

    async def test_an_unknown_query_parameter_is_refused_with_the_near_one(self, mesh: Mesh):
        reply = await mesh.admin.get("/api/v1/users", params={"page_sise": "2"})
        assert_default_style(reply, 400, 3)
        assert "page_size" in reply.json()["message"]

    async def test_a_body_over_the_limit_is_413_and_not_read(self, mesh: Mesh):
        body = json.dumps({"email": "a@gaia.test", "name": "x" * MIB}).encode()
        headers = {"content-type": "application/json"}
        announced = await mesh.admin.request("POST", "/api/v1/users", content=body, headers=headers)
        assert_default_style(announced, 413, 3)
        assert str(MIB) in announced.json()["message"]

        async def pieces():
            for start in range(0, len(body), 65536):
                yield body[start : start + 65536]

        chunked = await mesh.admin.request("POST", "/api/v1/users", content=pieces(), headers=headers)
        assert_default_style(chunked, 413, 3)

    async def test_a_media_type_that_no_route_takes_is_415(self, mesh: Mesh):
        headers = {"content-type": "text/plain"}
        reply = await mesh.admin.request("POST", "/api/v1/users", content=b"email=a", headers=headers)
        assert_default_style(reply, 415, 3)

    async def test_a_media_type_that_no_route_gives_is_406(self, mesh: Mesh):
        assert_default_style(await mesh.admin.get("/api/v1/users", headers={"accept": "text/html"}), 406, 3)

    async def test_a_request_without_a_key_is_refused_before_its_body_is_looked_at(self, mesh: Mesh):
        headers = {"content-type": "application/json"}
        reply = await mesh.http.post("/api/v1/users", content=b"{" * MIB, headers=headers)
        assert_default_style(reply, 401, 16)


class TestRequestIds:
    @pytest.mark.parametrize("path", ["/health", "/api/v1/auth/me", "/nothing", "/v1/nothing", "/api/v0.3/nothing"])
    async def test_every_response_has_one_of_its_own(self, mesh: Mesh, path: str):
        first, second = await mesh.http.get(path), await mesh.http.get(path)
        assert first.headers["x-request-id"]
        assert first.headers["x-request-id"] != second.headers["x-request-id"]

    @pytest.mark.parametrize("path", ["/health", "/api/v1/auth/me", "/nothing"])
    async def test_the_clients_comes_back(self, caller: Caller, path: str):
        sent = str(uuid.uuid4())
        assert (await caller.get(path, headers={"X-Request-Id": sent})).headers["x-request-id"] == sent

    @pytest.mark.parametrize("sent", ["x" * 200, "two words", "<script>", "a;b", "{}"])
    async def test_one_that_is_not_fit_for_logs_is_replaced(self, caller: Caller, sent: str):
        for path in ("/health", "/api/v1/auth/me"):
            returned = (await caller.get(path, headers={"X-Request-Id": sent})).headers["x-request-id"]
            assert returned
            assert returned != sent

    async def test_it_stands_in_the_log_of_the_service_that_refused_the_call(self, mesh: Mesh, caller: Caller):
        sent = str(uuid.uuid4())
        reply = await caller.get(f"/api/v1/api-keys/{uuid.uuid4()}", headers={"X-Request-Id": sent})
        assert reply.status_code == 404
        [line] = [line for line in mesh.log_lines("auth") if line.get("request_id") == sent]
        assert line["code"] == "NOT_FOUND"
        assert line["method"].endswith("GetApiKey")
