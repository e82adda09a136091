"""Identity tokens: what a service accepts."""

import base64
import json
import time

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.auth.signing import IdentitySigner, key_id
from shared.errors import Unauthenticated
from shared.identity.principal import Principal
from shared.identity.token import AUDIENCE, ISSUER, TokenVerifier

PRINCIPAL = Principal("user", "a@b", "key", frozenset({"chat:read"}), "test")
KEY = Ed25519PrivateKey.generate()
SIGNER = IdentitySigner([KEY])


class Fetch:
    """Auth's ListSigningKeys at its port; counts how often it is asked."""

    def __init__(self, *signers: IdentitySigner) -> None:
        self.signers = signers
        self.count = 0

    async def __call__(self):
        self.count += 1
        return {kid: key for signer in self.signers for kid, key in signer.public_keys.items()}


def claims(**changes) -> dict:
    now = int(time.time())
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "user",
        "email": "a@b",
        "kid_of_key": "key",
        "scopes": ["chat:read"],
        "env": "test",
        "iat": now,
        "exp": now + 60,
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def sign(payload: dict, key: Ed25519PrivateKey = KEY, kid: str = "") -> str:
    return jwt.encode(payload, key, algorithm="EdDSA", headers={"kid": kid or key_id(key)})


async def test_a_token_carries_the_principal():
    token, _ = SIGNER.sign(PRINCIPAL)
    verifier = TokenVerifier("test", Fetch(SIGNER))
    assert await verifier.verify(token) == PRINCIPAL
    assert verifier.cached(token) == PRINCIPAL


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": int(time.time()) - 60},
        {"iat": int(time.time()) + 600},
        {"env": "prod"},
        {"aud": "other"},
        {"iss": "other"},
        {"sub": None},
        {"exp": None},
        {"scopes": None},
        {"email": None},
    ],
)
async def test_a_token_with_a_wrong_claim_is_refused(changes):
    with pytest.raises(Unauthenticated):
        await TokenVerifier("test", Fetch(SIGNER)).verify(sign(claims(**changes)))


async def test_a_token_signed_by_another_key_under_a_known_kid_is_refused():
    token = sign(claims(), Ed25519PrivateKey.generate(), key_id(KEY))
    with pytest.raises(Unauthenticated):
        await TokenVerifier("test", Fetch(SIGNER)).verify(token)


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
async def test_another_algorithm_is_refused(algorithm):
    def encode(value: dict) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    token = f"{encode({'alg': algorithm, 'kid': key_id(KEY)})}.{encode(claims())}."
    with pytest.raises(Unauthenticated):
        await TokenVerifier("test", Fetch(SIGNER)).verify(token)


@pytest.mark.parametrize("token", ["", "a", "a.b", "a.b.c", "é.é.é", "x" * 5000])
async def test_what_is_no_token_is_refused_without_asking_auth(token):
    fetch = Fetch(SIGNER)
    with pytest.raises(Unauthenticated):
        await TokenVerifier("test", fetch).verify(token)
    assert fetch.count == 0


async def test_unknown_key_ids_do_not_flood_auth():
    fetch = Fetch(SIGNER)
    verifier = TokenVerifier("test", fetch)
    for _ in range(20):
        with pytest.raises(Unauthenticated):
            await verifier.verify(sign(claims(), Ed25519PrivateKey.generate()))
    assert fetch.count == 1


async def test_a_new_signing_key_is_found_when_its_first_token_comes():
    clock = [time.time()]
    fetch = Fetch(SIGNER)
    verifier = TokenVerifier("test", fetch, lambda: clock[0])
    await verifier.verify(sign(claims()))
    rotated = IdentitySigner([Ed25519PrivateKey.generate(), KEY])
    fetch.signers = (rotated,)
    clock[0] += 2
    assert await verifier.verify(rotated.sign(PRINCIPAL)[0]) == PRINCIPAL
    assert await verifier.verify(SIGNER.sign(PRINCIPAL)[0]) == PRINCIPAL


@pytest.mark.parametrize("identifier", ["key", "user"])
async def test_a_revoked_key_or_user_ends_tokens_that_were_good(identifier):
    token, _ = SIGNER.sign(PRINCIPAL)
    verifier = TokenVerifier("test", Fetch(SIGNER))
    await verifier.verify(token)
    verifier.revoke(identifier)
    with pytest.raises(Unauthenticated):
        await verifier.verify(token)
