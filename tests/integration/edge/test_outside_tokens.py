"""JWTs of an outside issuer, accepted beside API keys: through the edge and auth, with an issuer over real HTTP."""

import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from gaia.auth.v1 import auth_service_pb2
from gaia.auth.v1.auth_service_pb2_grpc import AuthServiceStub

from tests.support.auth import Auth, running_auth
from tests.support.edge import running_edge
from tests.support.issuer import AUDIENCE, Issuer, running_issuer
from tests.support.postgres import PostgresServer
from tests.support.waiting import eventually

ME = "/api/v1/auth/me"


@dataclass(frozen=True, slots=True)
class Setup:
    issuer: Issuer
    auth: Auth
    edge: httpx.AsyncClient

    async def me(self, token: str) -> httpx.Response:
        return await self.edge.get(ME, headers={"authorization": f"Bearer {token}"})


@pytest.fixture(scope="module")
async def setup(postgres: PostgresServer, database: str) -> AsyncIterator[Setup]:
    async with running_issuer() as issuer:
        settings = {
            "oidc_issuer": issuer.url,
            "oidc_audience": AUDIENCE,
            "oidc_create_users": True,
            "oidc_scopes": "chat:read users:manage",
            "oidc_scopes_claim": "gaia_scopes",
        }
        async with running_auth(postgres, database, **settings) as auth, running_edge(auth.address) as edge:
            yield Setup(issuer, auth, edge)


@pytest.mark.parametrize("kid", ["rsa", "ec", "ed"])
async def test_a_token_of_the_issuer_is_a_user(setup: Setup, kid: str):
    reply = await setup.me(setup.issuer.token(kid, gaia_scopes=["chat:read"]))
    assert reply.status_code == 200
    body = reply.json()
    assert body["user"]["email"] == "outside@gaia.test"
    assert (body["api_key_id"], body["scopes"]) == ("", ["chat:read"])


async def test_a_user_is_created_once_on_first_sight_and_that_is_audited(setup: Setup):
    token = setup.issuer.token(email="First@gaia.test", gaia_scopes="chat:read")
    first = (await setup.me(token)).json()["user"]
    second = (await setup.me(setup.issuer.token("ec", email="FIRST@gaia.test"))).json()["user"]
    assert first == second
    key = await setup.auth.new_key("reader@gaia.test", scopes=["audit:read"])
    audit = await setup.edge.get("/api/v1/audit", params={"target_id": first["id"]}, headers={"x-api-key": key})
    [event] = audit.json()["events"]
    assert event["action"] == "user.create"
    assert event["details"] == {"by": "first token of the outside issuer"}


async def test_no_token_gives_more_than_the_operator_allows(setup: Setup):
    reply = await setup.me(setup.issuer.token(gaia_scopes="admin keys:manage users:manage"))
    assert reply.json()["scopes"] == ["users:manage"]
    reply = await setup.edge.post(
        "/api/v1/api-keys",
        json={"name": "n"},
        headers={"authorization": f"Bearer {setup.issuer.token(gaia_scopes='admin')}"},
    )
    assert reply.status_code == 403


A_DAY = 86_400
"""Far from now, whenever the test runs that was collected at the beginning."""


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://elsewhere.example"},
        {"aud": "another-service"},
        {"aud": None},
        {"exp": int(time.time()) - 60},
        {"exp": None},
        {"iat": int(time.time()) + A_DAY},
        {"nbf": int(time.time()) + A_DAY},
        {"sub": None},
        {"email": None},
        {"email": 7},
        {"email": "no address"},
        {"email_verified": False},
        {"exp": "soon"},
    ],
)
async def test_a_token_with_a_wrong_claim_is_refused(setup: Setup, changes: dict):
    reply = await setup.me(setup.issuer.token(**changes))
    assert reply.status_code == 401
    assert "www-authenticate" in reply.headers


async def test_forged_tokens_are_refused(setup: Setup):
    good = setup.issuer.token()
    head, body, signature = good.split(".")
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    claims = jwt.decode(good, options={"verify_signature": False})
    public = setup.issuer.keys["rsa"][1].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def encode(value: dict) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    confused = f"{encode({'alg': 'HS256', 'kid': 'rsa'})}.{body}"
    forged = [
        f"{head}.{encode({**claims, 'email': 'admin@gaia.test'})}.{signature}",
        jwt.encode(claims, stranger, algorithm="RS256", headers={"kid": "rsa"}),
        jwt.encode(claims, stranger, algorithm="RS256", headers={"kid": "unknown"}),
        # The public key as a shared secret: the old confusion of algorithms.
        f"{confused}.{base64.urlsafe_b64encode(hmac.digest(public, confused.encode(), 'sha256')).decode().rstrip('=')}",
        f"{encode({'alg': 'none', 'kid': 'rsa'})}.{body}.AA",
        f"{encode({'alg': 'ES256', 'kid': 'rsa'})}.{body}.{signature}",
    ]
    assert [(await setup.me(token)).status_code for token in forged] == [401] * len(forged)


async def test_gaias_own_identity_tokens_are_for_services_only(setup: Setup):
    key = await setup.auth.new_key()
    identity = await setup.edge.post("/api/v1/auth/validate", json={"api_key": key})
    assert identity.json()["valid"]
    response = await AuthServiceStub(setup.auth.channel).Authenticate(auth_service_pb2.AuthenticateRequest(api_key=key))
    assert (await setup.me(response.identity_token)).status_code == 401


async def test_a_key_and_a_token_in_one_request_are_refused(setup: Setup):
    headers = {"authorization": f"Bearer {setup.issuer.token()}", "x-api-key": await setup.auth.new_key()}
    assert (await setup.edge.get(ME, headers=headers)).status_code == 400


async def test_validation_knows_the_issuers_tokens(setup: Setup):
    token = setup.issuer.token(email="valid@gaia.test")
    good = (await setup.edge.post("/api/v1/auth/validate", json={"token": token})).json()
    bad = (await setup.edge.post("/api/v1/auth/validate", json={"token": setup.issuer.token(aud="x")})).json()
    assert (good["valid"], good["auth_type"]) == (True, "jwt")
    assert good["user_id"]
    assert (bad["valid"], bad["auth_type"], bad.get("user_id")) == (False, "none", None)


async def test_a_deactivated_user_is_refused_within_a_second_though_the_token_lives(setup: Setup):
    token = setup.issuer.token(email="leaver@gaia.test")
    assert (await setup.me(token)).status_code == 200
    connection = await asyncpg.connect(setup.auth.owner_url)
    await connection.execute("UPDATE users SET is_active = false WHERE email = 'leaver@gaia.test'")
    await connection.close()

    async def refused() -> bool:
        return (await setup.me(token)).status_code == 401

    await eventually(refused, 1.5)
    assert (await setup.me(setup.issuer.token("ec", email="leaver@gaia.test"))).status_code == 401


async def test_the_budget_of_a_user_is_the_one_of_now_though_the_token_is_older(setup: Setup):
    stub = AuthServiceStub(setup.auth.channel)
    token = setup.issuer.token(email="spender@gaia.test")
    first = await stub.Authenticate(auth_service_pb2.AuthenticateRequest(token=token))
    assert not first.principal.HasField("user_monthly_budget_usd")
    connection = await asyncpg.connect(setup.auth.owner_url)
    await connection.execute("UPDATE users SET monthly_budget_usd = 5.25 WHERE email = 'spender@gaia.test'")
    await connection.close()
    second = await stub.Authenticate(auth_service_pb2.AuthenticateRequest(token=token))
    checked = await stub.CheckIdentity(auth_service_pb2.CheckIdentityRequest(identity_token=first.identity_token))
    assert [second.principal.user_monthly_budget_usd, checked.principal.user_monthly_budget_usd] == [5.25, 5.25]
    assert second.revocation_sequence > first.revocation_sequence


async def test_an_identity_does_not_outlive_the_token_that_it_was_made_from(setup: Setup):
    token = setup.issuer.token(exp=int(time.time()) + 20)
    response = await AuthServiceStub(setup.auth.channel).Authenticate(auth_service_pb2.AuthenticateRequest(token=token))
    assert 0 < response.identity_lifetime_ms <= 20_000


async def test_an_issuer_that_is_away_is_an_outage_and_known_keys_go_on(postgres: PostgresServer, database: str):
    async with running_issuer() as issuer:
        settings = {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE, "oidc_create_users": True}
        async with running_auth(postgres, database, **settings) as auth, running_edge(auth.address) as edge:
            setup = Setup(issuer, auth, edge)
            issuer.status = 500
            reply = await setup.me(issuer.token())
            assert reply.status_code == 503
            assert "retry-after" in reply.headers
            issuer.status = 200
            assert (await setup.me(issuer.token())).status_code == 200
            issuer.status = 500
            assert (await setup.me(issuer.token(email="later@gaia.test"))).status_code == 200


@pytest.mark.parametrize(
    "document",
    [
        {"issuer": "https://elsewhere.example"},
        {"jwks_uri": "http://192.0.2.1/keys"},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": None},
    ],
)
async def test_a_discovery_document_that_cannot_be_right_is_not_used(
    postgres: PostgresServer, database: str, document: dict
):
    async with running_issuer() as issuer:
        issuer.document = document
        settings = {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE, "oidc_create_users": True}
        async with running_auth(postgres, database, **settings) as auth, running_edge(auth.address) as edge:
            assert (await Setup(issuer, auth, edge).me(issuer.token())).status_code == 503


async def test_made_up_key_ids_do_not_flood_the_issuer(setup: Setup):
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    await setup.me(setup.issuer.token())
    asked = setup.issuer.asked
    claims = jwt.decode(setup.issuer.token(), options={"verify_signature": False})
    for number in range(20):
        await setup.me(jwt.encode(claims, stranger, algorithm="RS256", headers={"kid": f"made up {number}"}))
    assert setup.issuer.asked <= asked + 1


async def test_without_an_issuer_tokens_are_refused(postgres: PostgresServer, database: str):
    async with running_issuer() as issuer, running_auth(postgres, database) as auth, running_edge(auth.address) as edge:
        assert (await Setup(issuer, auth, edge).me(issuer.token())).status_code == 401


async def test_users_who_are_not_known_are_refused_where_creation_is_not_allowed(
    postgres: PostgresServer, database: str
):
    async with running_issuer() as issuer:
        settings = {"oidc_issuer": issuer.url, "oidc_audience": AUDIENCE}
        async with running_auth(postgres, database, **settings) as auth, running_edge(auth.address) as edge:
            setup = Setup(issuer, auth, edge)
            assert (await setup.me(issuer.token(email="stranger@gaia.test"))).status_code == 401
            await auth.new_key("known@gaia.test")
            reply = await setup.me(issuer.token(email="known@gaia.test"))
            assert (reply.status_code, "admin" in reply.json()["scopes"]) == (200, False)
