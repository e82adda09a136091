"""What an attacker, a broken client or an outage tries at the edge and at auth's own door, and how each of it fails."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import httpx
import pytest
from gaia.auth.v1 import auth_service_pb2, user_service_pb2
from gaia.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from gaia.auth.v1.user_service_pb2_grpc import UserServiceStub

from shared.identity import api_key
from shared.identity.revocations import TRUST_SECONDS
from tests.support.auth import Auth, running_auth
from tests.support.edge import running_edge
from tests.support.postgres import PostgresServer
from tests.support.waiting import eventually

ME = "/api/v1/auth/me"


@dataclass(frozen=True, slots=True)
class Setup:
    auth: Auth
    edge: httpx.AsyncClient
    admin: str

    async def me(self, *headers: tuple[str, str | bytes]) -> httpx.Response:
        encoded = [
            (name.encode(), value if isinstance(value, bytes) else value.encode("latin-1")) for name, value in headers
        ]
        return await self.edge.get(ME, headers=encoded)

    async def raw(self, request: bytes) -> bytes:
        """Sends bytes as they are, and returns the whole answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.edge.base_url.port)
        writer.write(request)
        await writer.drain()
        answer = await asyncio.wait_for(reader.read(65536), 5)
        writer.close()
        return answer


@pytest.fixture(scope="module")
async def setup(auth: Auth, admin_key: str) -> AsyncIterator[Setup]:
    async with running_edge(auth.address) as edge:
        yield Setup(auth, edge, admin_key)


class TestKeys:
    @pytest.mark.parametrize(
        "key",
        [
            "' OR '1'='1",
            "'; DROP TABLE api_keys; --",
            "gaia_test_" + "0" * 38,
            "gaia_test_' OR 1=1 --" + "x" * 20,
            "a" * 60_000,
            "\x7f\x80\xff",
            "ключ".encode().decode("latin-1"),
            "${jndi:ldap://x}",
            "..",
        ],
    )
    async def test_what_is_no_key_is_401_with_the_same_body(self, setup: Setup, key: str):
        reply = await setup.me(("x-api-key", key.encode("latin-1")))
        # 400 and 431: what HTTP itself does not take.
        assert reply.status_code in (400, 401, 431)
        if reply.status_code == 401:
            assert reply.json()["message"] == "the API key is not valid; send a valid one as X-API-Key"
            assert reply.headers["www-authenticate"]
        assert (await setup.me(("x-api-key", setup.admin))).status_code == 200

    async def test_nul_bytes_and_line_breaks_do_not_even_become_headers(self, setup: Setup):
        for value in (b"abc\x00def", b"abc\rX-Api-Key: other"):
            answer = await setup.raw(
                b"GET " + ME.encode() + b" HTTP/1.1\r\nHost: x\r\nX-API-Key: " + value + b"\r\n\r\n"
            )
            assert answer.startswith(b"HTTP/1.1 400")

    async def test_a_key_of_ten_megabytes_is_refused_before_it_is_read(self, setup: Setup):
        reader, writer = await asyncio.open_connection("127.0.0.1", setup.edge.base_url.port)
        writer.write(b"GET " + ME.encode() + b" HTTP/1.1\r\nHost: x\r\nX-API-Key: ")
        refused = False
        try:
            for _ in range(160):
                writer.write(b"a" * 65536)
                await writer.drain()
            writer.write(b"\r\n\r\n")
            await writer.drain()
            answer = await asyncio.wait_for(reader.read(4096), 10)
            refused = answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 431", b"HTTP/1.1 401", b"")
        except (ConnectionError, BrokenPipeError):
            refused = True
        finally:
            writer.close()
        assert refused

    async def test_a_key_of_ten_megabytes_in_a_grpc_call_is_refused(self, setup: Setup):
        request = auth_service_pb2.AuthenticateRequest(api_key="a" * 10_000_000)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await AuthServiceStub(setup.auth.channel).Authenticate(request)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED

    async def test_two_different_keys_are_400_and_the_same_one_twice_is_good(self, setup: Setup):
        other = await setup.auth.new_key()
        assert (await setup.me(("x-api-key", setup.admin), ("x-api-key", other))).status_code == 400
        assert (await setup.me(("x-api-key", setup.admin), ("authorization", f"Bearer {other}"))).status_code == 400
        assert (await setup.me(("x-api-key", setup.admin), ("X-API-KEY", setup.admin))).status_code == 200

    @pytest.mark.parametrize(
        "path",
        [
            "{me}?api_key={key}",
            "{me}?key={key}",
            "{me}?x-api-key={key}",
            "{me}?x=1&anything={key}",
            "{me}?anything={escaped}",
            "/api/v1/users/{key}",
            "/api/v1/users/{escaped}",
        ],
    )
    async def test_a_key_in_the_url_is_refused_and_never_logged(
        self, setup: Setup, path: str, caplog: pytest.LogCaptureFixture
    ):
        caplog.set_level(logging.DEBUG)
        escaped = "".join(f"%{ord(character):02X}" for character in setup.admin)
        url = path.format(me=ME, key=setup.admin, escaped=escaped)
        replies = [await setup.edge.get(url, headers=headers) for headers in ({}, {"x-api-key": setup.admin})]
        for reply in replies:
            assert reply.status_code == 400
            assert "in the URL" in reply.json()["message"]
            assert setup.admin not in reply.text
        ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
        assert not [record for record in ours if setup.admin in record.getMessage() or escaped in record.getMessage()]

    async def test_nul_characters_in_texts_are_refused_and_end_nothing(self, setup: Setup):
        headers = {"x-api-key": setup.admin}
        attempts = [
            await setup.edge.post("/api/v1/api-keys", json={"name": "a\0b"}, headers=headers),
            await setup.edge.post("/api/v1/users", json={"email": "a\0@gaia.test"}, headers=headers),
            await setup.edge.post("/api/v1/users", json={"email": "nul@gaia.test", "name": "\0"}, headers=headers),
            await setup.edge.get("/api/v1/audit", params={"action": "a\0"}, headers=headers),
            await setup.edge.patch("/api/v1/api-keys/a%00b", json={"name": "x"}, headers=headers),
            await setup.edge.delete("/api/v1/api-keys/a%00b", headers=headers),
        ]
        assert [reply.status_code for reply in attempts] == [400, 400, 400, 400, 404, 404]
        # Refused acts are written a moment later, whatever their target was called.

        async def written() -> bool:
            found = await setup.edge.get("/api/v1/audit", params={"target_id": "a\ufffdb"}, headers=headers)
            return {event["action"] for event in found.json()["events"]} == {"api_key.update", "api_key.delete"}

        await eventually(written)

    async def test_no_key_reaches_a_log(self, setup: Setup, caplog: pytest.LogCaptureFixture):
        caplog.set_level(logging.DEBUG)
        unknown = api_key.generate("test")
        for key in (setup.admin, unknown):
            await setup.me(("x-api-key", key))
            await setup.edge.post("/api/v1/auth/validate", json={"api_key": key})
        await setup.edge.post("/api/v1/api-keys", json={"name": "x"}, headers={"x-api-key": setup.admin})
        text = " ".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
        for key in (setup.admin, unknown):
            assert key.removeprefix("gaia_test_") not in text


SPELLINGS = [
    "x-gaia-identity",
    "X-Gaia-Identity",
    "x_gaia_identity",
    "x.gaia.identity",
    "grpc-metadata-x-gaia-identity",
    "Grpc-Metadata-X-Gaia-Identity",
    "grpc-metadata-x_gaia_identity",
    "grpc-metadata-grpcgateway-x-gaia-identity",
    "grpcgateway-x-gaia-identity",
    "grpc-metadata-x-gaia-identity-bin",
    "grpc-metadata-authorization",
    "grpc-metadata-x-api-key",
    "x-forwarded-x-gaia-identity",
]


class TestIdentityFromOutside:
    @pytest.mark.parametrize("name", SPELLINGS)
    async def test_no_spelling_of_identity_metadata_makes_a_rest_client_anybody_else(self, setup: Setup, name: str):
        request = auth_service_pb2.AuthenticateRequest(api_key=setup.admin)
        token = (await AuthServiceStub(setup.auth.channel).Authenticate(request)).identity_token
        weak = await setup.auth.new_key("weak@gaia.test", scopes=["chat:read"])
        credential = setup.admin if name.endswith("api-key") else token
        value = f"Bearer {token}" if name.endswith("authorization") else credential
        assert (await setup.me((name, value))).status_code in (400, 401)
        both = await setup.me((name, value), ("x-api-key", weak))
        # Dropped, or refused as another credential; never taken.
        assert both.status_code in (200, 400, 401)
        if both.status_code == 200:
            assert both.json()["user"]["email"] == "weak@gaia.test"
        listing = await setup.edge.get("/api/v1/users", headers=[(name, value), ("x-api-key", weak)])
        assert listing.status_code in (400, 401, 403)

    @pytest.mark.parametrize("name", ["x-gaia-client-address", "grpc-metadata-x-gaia-client-address"])
    async def test_a_client_does_not_choose_the_address_in_the_audit_trail(self, setup: Setup, name: str):
        headers = [(name, "6.6.6.6"), ("x-forwarded-for", "6.6.6.6"), ("x-api-key", setup.admin)]
        email = f"{name[:20]}@gaia.test"
        user = (await setup.edge.post("/api/v1/users", json={"email": email}, headers=headers)).json()
        audit = await setup.edge.get(
            "/api/v1/audit", params={"target_id": user["id"]}, headers={"x-api-key": setup.admin}
        )
        assert [event["address"] for event in audit.json()["events"]] == ["127.0.0.1"]

    @pytest.mark.parametrize(
        "metadata",
        [
            (("x-gaia-identity", "admin"),),
            (("x-gaia-identity", "e30.e30.e30"),),
            (("authorization", "Bearer admin"),),
            (("x-gaia-user", "admin"), ("x-gaia-scopes", "admin")),
            (("x-gaia-identity-bin", b"admin"),),
        ],
    )
    async def test_an_internal_caller_without_rights_gets_none_by_metadata(self, setup: Setup, metadata: tuple):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await UserServiceStub(setup.auth.channel).ListUsers(user_service_pb2.ListUsersRequest(), metadata=metadata)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        weak = await setup.auth.new_key(scopes=["chat:read"])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await UserServiceStub(setup.auth.channel).ListUsers(
                user_service_pb2.ListUsersRequest(), metadata=(*metadata, ("x-api-key", weak))
            )
        assert caught.value.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)

    async def test_two_values_of_one_credential_are_refused_by_a_service(self, setup: Setup):
        weak = await setup.auth.new_key(scopes=["chat:read"])
        metadata = (("x-api-key", weak), ("x-api-key", setup.admin))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await UserServiceStub(setup.auth.channel).ListUsers(user_service_pb2.ListUsersRequest(), metadata=metadata)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED

    async def test_smuggled_requests_are_not_served(self, setup: Setup):
        inner = f"GET {ME} HTTP/1.1\r\nHost: x\r\nX-API-Key: {setup.admin}\r\n\r\n".encode()
        both = (
            b"POST /api/v1/auth/validate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (len(inner) + 5)
        ) + inner
        answer = await setup.raw(both)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"admin@gaia.test" not in answer
        spaced = f"GET {ME} HTTP/1.1\r\nHost: x\r\nX-API-Key : {setup.admin}\r\n\r\n".encode()
        assert b"admin@gaia.test" not in await setup.raw(spaced)


class TestRights:
    async def test_a_scope_that_one_lacks_is_403_and_named(self, setup: Setup):
        weak = await setup.auth.new_key(scopes=["chat:read"])
        reply = await setup.edge.get("/api/v1/users", headers={"x-api-key": weak})
        assert reply.status_code == 403
        assert "users:manage" in reply.json()["message"]

    async def test_whoever_lacks_a_scope_stands_in_the_audit_trail(self, setup: Setup):
        weak = await setup.auth.new_key(scopes=["chat:read"])
        me = (await setup.me(("x-api-key", weak))).json()
        # An edge reports every ten seconds, and at its end.
        async with running_edge(setup.auth.address) as edge:
            for _ in range(3):
                await edge.get("/api/v1/users", headers={"x-api-key": weak, "x-request-id": "denied-1"})

        async def counted() -> list[dict]:
            wanted = {"action": "authorization.denied", "actor_user_id": me["user"]["id"]}
            reply = await setup.edge.get("/api/v1/audit", params=wanted, headers={"x-api-key": setup.admin})
            found = reply.json()["events"]
            return found if sum(event["details"]["count"] for event in found) == 3 else []

        [event, *_] = await eventually(counted)
        assert (event["target_type"], event["target_id"]) == ("method", "gaia.auth.v1.UserService.ListUsers")
        assert (event["result"], event["details"]["scope"]) == ("permission_denied", "users:manage")
        assert event["actor_api_key_id"] == me["api_key_id"]
        assert (event["address"], event["request_id"]) == ("127.0.0.1", "denied-1")

    async def test_a_foreign_key_is_404_like_one_that_is_not_there(self, setup: Setup):
        manager = {"x-api-key": await setup.auth.new_key(scopes=["keys:manage"])}
        me = (await setup.me(("x-api-key", setup.admin))).json()
        missing = "00000000-0000-4000-8000-000000000000"
        for key_id in (me["api_key_id"], missing, "not-an-id"):
            path = f"/api/v1/api-keys/{key_id}"
            replies = [
                await setup.edge.get(path, headers=manager),
                await setup.edge.patch(path, json={"name": "mine"}, headers=manager),
                await setup.edge.post(f"{path}:rotate", json={}, headers=manager),
                await setup.edge.post(f"{path}:revoke", json={}, headers=manager),
                await setup.edge.delete(path, headers=manager),
            ]
            assert [reply.status_code for reply in replies] == [404] * 5

    @pytest.mark.parametrize(
        "body",
        [
            {"scopes": ["admin"]},
            {"scopes": ["keys:manage", "users:manage"]},
            {"user_id": "00000000-0000-4000-8000-000000000000"},
            {"key_hash": "0" * 64},
            {"permissions": {"admin": True}},
            {"last_used_at": "2020-01-01T00:00:00Z"},
        ],
    )
    async def test_nobody_promotes_themselves_by_update(self, setup: Setup, body: dict):
        key = await setup.auth.new_key(scopes=["keys:manage"])
        me = (await setup.me(("x-api-key", key))).json()
        path = f"/api/v1/api-keys/{me['api_key_id']}"
        reply = await setup.edge.patch(path, json=body, headers={"x-api-key": key})
        assert reply.status_code in (400, 403)
        after = await setup.me(("x-api-key", key))
        assert after.json()["scopes"] == ["keys:manage"]

    async def test_a_user_cannot_be_changed_through_fields_that_may_not(self, setup: Setup):
        manager = {"x-api-key": await setup.auth.new_key(scopes=["users:manage"])}
        user = (await setup.edge.post("/api/v1/users", json={"email": "plain@gaia.test"}, headers=manager)).json()
        reply = await setup.edge.patch(
            f"/api/v1/users/{user['id']}", json={"email": "admin2@gaia.test"}, headers=manager
        )
        assert reply.status_code == 400


class TestOutages:
    async def test_with_the_database_down_it_is_503_and_never_401(self, postgres: PostgresServer):
        database = postgres.create_database()
        async with running_auth(postgres, database) as auth, running_edge(auth.address) as edge:
            key, unused = await auth.new_key(), await auth.new_key()
            assert (await edge.get(ME, headers={"x-api-key": key})).status_code == 200
            postgres.drop_database(database)
            for other in (unused, api_key.generate("test")):
                reply = await edge.get(ME, headers={"x-api-key": other})
                assert reply.status_code == 503
                assert int(reply.headers["retry-after"]) >= 1
            wrong = api_key.generate("test")[:-1] + "!"
            assert (await edge.get(ME, headers={"x-api-key": wrong})).status_code == 401

    async def test_with_auth_down_it_is_503_and_the_edge_finds_it_again(self, postgres: PostgresServer, database: str):
        async with running_auth(postgres, database) as auth:
            address, key = auth.address, await auth.new_key()
        async with running_edge(address) as edge:
            reply = await edge.get(ME, headers={"x-api-key": key})
            assert reply.status_code == 503
            assert int(reply.headers["retry-after"]) >= 1
            async with running_auth(postgres, database, listen=address):

                async def served() -> bool:
                    return (await edge.get(ME, headers={"x-api-key": key})).status_code == 200

                await eventually(served)


class TestGuessing:
    async def test_thousands_of_wrong_keys_lock_out_nobody_at_the_same_address(self, setup: Setup):
        known, new = await setup.auth.new_key(), await setup.auth.new_key()
        assert (await setup.me(("x-api-key", known))).status_code == 200
        limiter = asyncio.Semaphore(20)

        async def guess() -> int:
            async with limiter:
                return (await setup.me(("x-api-key", api_key.generate("test")))).status_code

        guesses = [asyncio.create_task(guess()) for _ in range(400)]
        began = time.monotonic()
        replies = [await setup.me(("x-api-key", key)) for key in (known, new, known, new)]
        assert [reply.status_code for reply in replies] == [200] * 4
        assert time.monotonic() - began < TRUST_SECONDS
        assert set(await asyncio.gather(*guesses)) == {401}
