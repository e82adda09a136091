"""Who gets in over HTTP, and what those learn who do not."""

import asyncio
import time

import httpx
import pytest

from shared.identity import api_key
from tests.support.mesh import ENVIRONMENT, Caller, Mesh

ME = "/api/v1/auth/me"


async def me(mesh: Mesh, *headers: tuple[str, str]) -> httpx.Response:
    return await mesh.http.get(ME, headers=list(headers))


def assert_refused(reply: httpx.Response) -> None:
    assert reply.status_code == 401, reply.text
    assert reply.headers["www-authenticate"].startswith("Bearer")
    assert reply.json()["code"] == 16
    assert reply.json()["message"] == reply.json()["detail"]


class TestCredentials:
    @pytest.mark.parametrize("header", ["X-API-Key", "x-api-key", "X-Api-Key"])
    async def test_the_key_header_is_read_in_any_case(self, mesh: Mesh, caller: Caller, header: str):
        reply = await me(mesh, (header, caller.key))
        assert reply.status_code == 200
        assert reply.json()["user"]["id"] == caller.user_id
        assert reply.json()["api_key_id"] == caller.key_id

    @pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
    async def test_a_bearer_credential_is_a_key_as_well(self, mesh: Mesh, caller: Caller, scheme: str):
        assert (await me(mesh, ("Authorization", f"{scheme} {caller.key}"))).status_code == 200

    async def test_the_same_key_in_both_headers_is_one_key(self, mesh: Mesh, caller: Caller):
        reply = await me(mesh, ("Authorization", f"Bearer {caller.key}"), ("X-API-Key", caller.key))
        assert reply.status_code == 200

    async def test_two_different_keys_are_refused_as_a_faulty_request(self, mesh: Mesh, caller: Caller):
        other = await mesh.new_caller()
        for headers in (
            [("Authorization", f"Bearer {other.key}"), ("X-API-Key", caller.key)],
            [("X-API-Key", other.key), ("X-API-Key", caller.key)],
        ):
            reply = await me(mesh, *headers)
            assert reply.status_code == 400
            assert "two different API keys" in reply.json()["message"]

    async def test_no_key_is_refused_with_a_hint(self, mesh: Mesh):
        reply = await me(mesh)
        assert_refused(reply)
        assert "X-API-Key" in reply.json()["message"]

    @pytest.mark.parametrize("value", ["Basic dXNlcjpwYXNz", "Bearer", "nonsense"])
    async def test_an_authorization_without_a_key_is_refused(self, mesh: Mesh, value: str):
        assert_refused(await me(mesh, ("Authorization", value)))

    async def test_an_identity_token_is_no_credential_at_the_edge(self, mesh: Mesh, caller: Caller):
        """Tokens are for the mesh: at the edge they would outlive a revocation."""
        assert_refused(await me(mesh, ("Authorization", "Bearer eyJhbGciOiJFZERTQSJ9.e30.c2ln")))


class TestRefusals:
    async def test_unknown_malformed_revoked_expired_and_inactive_keys_get_the_same_answer(self, mesh: Mesh):
        revoked, expired, inactive = await asyncio.gather(*(mesh.new_caller() for _ in range(3)))
        assert (await mesh.admin.post(f"/api/v1/api-keys/{revoked.key_id}:revoke")).status_code == 200
        await mesh.rows("UPDATE api_keys SET expires_at = '2020-01-01' WHERE id = $1", expired.key_id)
        changed = await mesh.admin.patch(f"/api/v1/users/{inactive.user_id}", {"is_active": False})
        assert changed.status_code == 200, changed.text
        unknown = api_key.generate(ENVIRONMENT)
        mistyped = unknown[:-1] + ("a" if unknown[-1] != "a" else "b")
        answers = set()
        for key in (unknown, mistyped, revoked.key, expired.key, inactive.key, "nonsense", "gaia_test_" + "x" * 300):
            reply = await me(mesh, ("X-API-Key", key))
            assert_refused(reply)
            answers.add((reply.text, reply.headers["www-authenticate"]))
        assert len(answers) == 1

    async def test_a_key_that_expires_while_it_is_cached_ends_then(self, mesh: Mesh):
        user = await mesh.new_caller()
        end = time.time() + 1
        body = {"user_id": user.user_id, "name": "short", "expires_at": _rfc3339(end)}
        short = (await mesh.admin.post("/api/v1/api-keys", body)).json()["key"]
        asked = time.time()
        while (reply := await me(mesh, ("X-API-Key", short))).status_code == 200:
            assert asked < end + 1, "it still works a second later"
            await asyncio.sleep(0.02)
            asked = time.time()
        assert_refused(reply)
        assert time.time() > end - 0.1, "it ended too early"

    async def test_a_missing_scope_is_named(self, mesh: Mesh):
        reader = await mesh.new_caller(["chat:read"])
        for path, scope in (("/api/v1/users", "users:manage"), ("/api/v1/api-keys", "keys:manage")):
            reply = await reader.get(path)
            assert reply.status_code == 403
            assert reply.json()["code"] == 7
            assert scope in reply.json()["message"]
        denied = await reader.post("/api/v0.2/chat", {"message": "hello"})
        assert denied.status_code == 403
        assert "chat:write" in denied.json()["message"]


async def last_reply(victim: Caller, path: str) -> httpx.Response:
    """Asks from a revocation on until it is heard of; fails when a request that began a second later still succeeds."""
    revoked = asked = time.perf_counter()
    while (reply := await victim.get(path)).status_code == 200:
        assert asked - revoked < 1.0, "the key still works"
        await asyncio.sleep(0.01)
        asked = time.perf_counter()
    return reply


class TestRevocation:
    """A revoked key is refused within a second, however warm the caches are."""

    @pytest.mark.parametrize(
        "how", ["key revoked", "key deleted", "key made inactive", "user made inactive", "user deleted", "by SQL"]
    )
    async def test_it_reaches_the_edge_within_a_second(self, mesh: Mesh, how: str):
        victim = await mesh.new_caller()
        for _ in range(3):
            assert (await victim.get(ME)).status_code == 200
        key_path, user_path = f"/api/v1/api-keys/{victim.key_id}", f"/api/v1/users/{victim.user_id}"
        if how == "key revoked":
            done = await mesh.admin.post(f"{key_path}:revoke")
        elif how == "key deleted":
            done = await mesh.admin.delete(key_path)
        elif how == "key made inactive":
            done = await mesh.admin.patch(key_path, {"is_active": False})
        elif how == "user made inactive":
            done = await mesh.admin.patch(user_path, {"is_active": False})
        elif how == "user deleted":
            done = await mesh.admin.delete(user_path)
        else:
            done = None
            await mesh.rows("UPDATE api_keys SET is_active = false WHERE id = $1", victim.key_id)
        assert done is None or done.status_code in (200, 204), done.text
        assert_refused(await last_reply(victim, ME))

    async def test_fewer_scopes_count_within_a_second(self, mesh: Mesh):
        victim = await mesh.new_caller(["chat:read", "keys:manage"])
        assert (await victim.get("/api/v1/api-keys")).status_code == 200
        changed = await mesh.admin.patch(f"/api/v1/api-keys/{victim.key_id}", {"scopes": ["chat:read"]})
        assert changed.status_code == 200
        assert (await last_reply(victim, "/api/v1/api-keys")).status_code == 403

    async def test_other_keys_of_the_user_go_on(self, mesh: Mesh, caller: Caller):
        other = await mesh.new_key(caller.user_id)
        assert (await mesh.admin.delete(f"/api/v1/api-keys/{other.key_id}")).status_code == 204
        assert (await caller.get(ME)).status_code == 200


class TestReservedMetadata:
    """No spelling of the mesh's own metadata gets past the edge."""

    @pytest.mark.parametrize(
        "header",
        [
            "X-Gaia-Identity",
            "x-gaia-identity",
            "X_Gaia_Identity",
            "x-gaia-identity-bin",
            "Grpc-Metadata-X-Gaia-Identity",
            "grpc-metadata-x-gaia-identity",
            "Grpc-Metadata-x_gaia_identity",
            "Grpc-Metadata-X.Gaia.Identity",
            "Grpc-Metadata-X-Gaia-Identity-Bin",
            "Grpc-Metadata-Authorization",
            "Grpc-Metadata-X-Api-Key",
            "Grpc-Metadata-Grpcgateway-X-Gaia-Identity",
        ],
    )
    async def test_an_identity_sent_by_a_client_is_dropped(self, mesh: Mesh, caller: Caller, header: str):
        victim = await mesh.new_caller()
        reply = await me(mesh, ("X-API-Key", caller.key), (header, victim.key))
        assert reply.status_code == 200, reply.text
        assert reply.json()["user"]["id"] == caller.user_id
        alone = await me(mesh, (header, victim.key))
        assert alone.status_code == 401


class TestValidate:
    """`POST /api/v1/auth/validate` answers 200 whatever it is given."""

    async def test_it_tells_valid_from_not_and_is_limited_for_each_address(self, mesh: Mesh, caller: Caller):
        # One test, because the limit is the address's, and all tests have the same one.
        async def validate(body: dict[str, str], path: str = "/api/v1/auth/validate") -> httpx.Response:
            return await mesh.http.post(path, json=body)

        first = await validate({"api_key": caller.key})
        assert first.status_code == 200
        assert first.json() == {"valid": True, "auth_type": "api_key", "user_id": caller.user_id, "error": None}
        limit, left = int(first.headers["x-ratelimit-limit"]), int(first.headers["x-ratelimit-remaining"])
        assert 4 < left < limit
        assert 0 < int(first.headers["x-ratelimit-reset"]) <= 60

        bad = (await validate({"api_key": api_key.generate(ENVIRONMENT)}, "/api/v1/auth/validate/")).json()
        assert (bad["valid"], bad["auth_type"]) == (False, "none")
        assert bad["user_id"] is None
        assert bad["error"]
        nothing = (await validate({})).json()
        assert (nothing["valid"], nothing["auth_type"]) == (False, "none")
        jwt = (await validate({"token": "a.b.c", "unknown": "ignored"})).json()
        assert (jwt["valid"], jwt["auth_type"]) == (False, "none")

        statuses = [(await validate({})).status_code for _ in range(limit)]
        allowed = statuses.count(200)
        assert statuses == [200] * allowed + [429] * (limit - allowed)
        # What others asked less than a minute ago may be forgotten meanwhile.
        assert left - 3 <= allowed < limit
        refused = await validate({"api_key": caller.key})
        assert refused.status_code == 429
        assert refused.json()["code"] == 8
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert refused.headers["x-ratelimit-remaining"] == "0"
        forged = await mesh.http.post(
            "/api/v1/auth/validate", json={}, headers={"X-Forwarded-For": "203.0.113.9", "X-Real-IP": "203.0.113.9"}
        )
        assert forged.status_code == 429, "an address that a client states about itself must not count"
        assert (await caller.get(ME)).status_code == 200, "the limit is this route's only"


def _rfc3339(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}Z"
