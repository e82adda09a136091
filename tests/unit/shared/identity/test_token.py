"""Identity tokens: what a service accepts, and for how long."""

import asyncio
import base64
import json
import time
from dataclasses import replace
from decimal import Decimal
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from gaia.auth.v1 import auth_service_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from services.auth.signing import IdentitySigner, key_id
from shared.errors import Unauthenticated, Unavailable
from shared.identity.claims import AUDIENCE, ISSUER, LIFETIME_SECONDS, IdentityClaims
from shared.identity.principal import Principal
from shared.identity.revocations import TRUST_SECONDS, RevocationFeed
from shared.identity.token import CLOCK_SKEW_SECONDS, CheckedIdentity, TokenVerifier

PRINCIPAL = Principal("user", "a@b", "key", frozenset({"chat:read"}), "test")
KEY = Ed25519PrivateKey.generate()


class Fetch:
    """Auth's ListSigningKeys at its port; counts how often it is asked."""

    def __init__(self, *signers: IdentitySigner) -> None:
        self.signers = signers
        self.count = 0
        self.error: Exception | None = None

    async def __call__(self):
        self.count += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return {kid: key for signer in self.signers for kid, key in signer.public_keys.items()}


class Setup:
    """A verifier whose clocks, feed and auth the test holds in its hands."""

    def __init__(self) -> None:
        self.wall = time.time()
        self.now = 1000.0
        self.signer = IdentitySigner([KEY], lambda: self.wall)
        self.fetch = Fetch(self.signer)
        self.feed = RevocationFeed(lambda: self.now)
        self.questions = 0
        self.answer: CheckedIdentity | Exception = Unauthenticated("ended")
        self.verifier = TokenVerifier(
            "test", self.fetch, self.check, self.feed, clock=lambda: self.wall, monotonic=lambda: self.now
        )
        self.heartbeat()

    async def check(self, token: str) -> CheckedIdentity:
        self.questions += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def pass_time(self, seconds: float) -> None:
        self.wall += seconds
        self.now += seconds

    def heartbeat(self) -> None:
        self.feed.take(pb.WatchRevocationsResponse(sequence=self.feed.sequence))

    def revoke(self, **ids: Any) -> None:
        self.feed.take(pb.WatchRevocationsResponse(sequence=self.feed.sequence + 1, **ids))

    def token(self, sequence: int = 0) -> str:
        return self.signer.sign(IdentityClaims(PRINCIPAL, sequence, "gen")).text


@pytest.fixture
def setup() -> Setup:
    return Setup()


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
        "rev": 0,
        "gen": "gen",
        "iat": now,
        "exp": now + 60,
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def sign(payload: dict, key: Ed25519PrivateKey = KEY, kid: str = "") -> str:
    return jwt.encode(payload, key, algorithm="EdDSA", headers={"kid": kid or key_id(key)})


async def test_a_token_carries_the_principal(setup: Setup):
    token = setup.token()
    assert await setup.verifier.verify(token) == PRINCIPAL
    assert setup.verifier.cached(token) == PRINCIPAL
    assert setup.questions == 0


async def test_a_token_carries_the_budget_of_the_user_exactly(setup: Setup):
    rich = replace(PRINCIPAL, user_monthly_budget_usd=Decimal("200.000001"))
    token = setup.signer.sign(IdentityClaims(rich, 0, "gen")).text
    assert await setup.verifier.verify(token) == rich


@pytest.mark.parametrize("budget", ["a lot", "-1", "NaN", "Infinity", [], {}])
async def test_a_token_whose_budget_cannot_be_read_fails(setup: Setup, budget: object):
    with pytest.raises(Unauthenticated):
        await setup.verifier.verify(sign(claims(user_budget=budget)))


async def test_the_claims_that_the_tests_vary_are_good_as_they_are(setup: Setup):
    assert await setup.verifier.verify(sign(claims())) == PRINCIPAL


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": int(time.time()) - 60},
        {"iat": int(time.time()) + 600},
        {"exp": "soon"},
        {"exp": 1e400},
        {"exp": True, "iat": []},
        {"env": "prod"},
        {"aud": "other"},
        {"iss": "other"},
        {"sub": None},
        {"sub": 7},
        {"exp": None},
        {"scopes": None},
        {"scopes": "admin"},
        {"scopes": [["admin"]]},
        {"email": None},
        {"rev": None},
        {"rev": "1"},
        {"rev": True},
        {"gen": None},
        {"models": "all"},
        {"limits": {"monthly_budget_usd": "NaN"}},
        {"limits": {"requests_per_minute": "1"}},
        {"limits": []},
    ],
)
async def test_a_token_with_a_wrong_claim_is_refused(setup: Setup, changes):
    with pytest.raises(Unauthenticated):
        await setup.verifier.verify(sign(claims(**changes)))


@pytest.mark.parametrize("skew", [-CLOCK_SKEW_SECONDS + 1, CLOCK_SKEW_SECONDS - 1])
async def test_clocks_may_differ_by_five_seconds(setup: Setup, skew):
    token = setup.token()
    setup.wall += skew
    assert await setup.verifier.verify(token) == PRINCIPAL


@pytest.mark.parametrize("skew", [-CLOCK_SKEW_SECONDS - 2, LIFETIME_SECONDS + CLOCK_SKEW_SECONDS + 1])
async def test_clocks_may_not_differ_by_more(setup: Setup, skew):
    token = setup.token()
    setup.wall += skew
    with pytest.raises(Unauthenticated):
        await setup.verifier.verify(token)


@pytest.mark.parametrize("jump", [-86_400, 86_400])
async def test_a_clock_that_jumps_neither_ends_nor_lengthens_a_verified_token(setup: Setup, jump):
    token = setup.token()
    await setup.verifier.verify(token)
    setup.wall += jump
    assert setup.verifier.cached(token) == PRINCIPAL
    setup.now += LIFETIME_SECONDS + CLOCK_SKEW_SECONDS + 1
    setup.heartbeat()
    assert setup.verifier.cached(token) is None


async def test_a_token_signed_by_another_key_under_a_known_kid_is_refused(setup: Setup):
    with pytest.raises(Unauthenticated):
        await setup.verifier.verify(sign(claims(), Ed25519PrivateKey.generate(), key_id(KEY)))


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
async def test_another_algorithm_is_refused(setup: Setup, algorithm):
    def encode(value: dict) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    token = f"{encode({'alg': algorithm, 'kid': key_id(KEY)})}.{encode(claims())}."
    with pytest.raises(Unauthenticated):
        await setup.verifier.verify(token)


@pytest.mark.parametrize("token", ["", "a", "a.b", "a.b.c", "é.é.é", "x" * 10_000, "\x00.\x00.\x00"])
async def test_what_is_no_token_is_refused_without_asking_auth(setup: Setup, token):
    with pytest.raises(Unauthenticated):
        await setup.verifier.verify(token)
    assert (setup.fetch.count, setup.questions) == (0, 0)


@given(position=st.integers(min_value=0), replacement=st.characters(codec="ascii"))
async def test_no_single_change_of_a_token_passes(position: int, replacement: str):
    setup = Setup()
    token = setup.token()
    position %= len(token)
    changed = token[:position] + replacement + token[position + 1 :]
    # The last character of the signature carries four bits that no byte has; base64 readers drop them.
    if changed == token or position == len(token) - 1:
        return
    with pytest.raises(Unauthenticated):
        await setup.verifier.verify(changed)


@given(header=st.dictionaries(st.text(), st.text() | st.integers() | st.none() | st.lists(st.text())), tail=st.text())
async def test_no_header_makes_a_verifier_stumble(header: dict, tail: str):
    encoded = base64.urlsafe_b64encode(json.dumps({"kid": [], "alg": "EdDSA", **header}).encode()).decode().rstrip("=")
    with pytest.raises(Unauthenticated):
        await Setup().verifier.verify(f"{encoded}.{tail}")


async def test_unknown_key_ids_do_not_flood_auth(setup: Setup):
    for _ in range(20):
        with pytest.raises(Unauthenticated):
            await setup.verifier.verify(sign(claims(), Ed25519PrivateKey.generate()))
    assert setup.fetch.count == 1


async def test_tokens_that_come_at_once_share_one_question_for_keys(setup: Setup):
    tokens = [sign(claims(email=f"{number}@b")) for number in range(10)]
    principals = await asyncio.gather(*map(setup.verifier.verify, tokens))
    assert len(principals) == 10
    assert setup.fetch.count == 1


async def test_an_outage_of_auth_does_not_make_tokens_bad(setup: Setup):
    setup.fetch.error = Unavailable("auth is away")
    for _ in range(2):
        with pytest.raises(Unavailable):
            await setup.verifier.verify(setup.token())
    setup.fetch.error = None
    assert await setup.verifier.verify(setup.token()) == PRINCIPAL


async def test_two_signing_keys_are_good_while_one_follows_the_other(setup: Setup):
    old = setup.token()
    await setup.verifier.verify(old)
    rotated = IdentitySigner([Ed25519PrivateKey.generate(), KEY], lambda: setup.wall)
    setup.fetch.signers = (rotated,)
    setup.pass_time(2)
    new = rotated.sign(IdentityClaims(PRINCIPAL, 0, "gen")).text
    assert await setup.verifier.verify(new) == PRINCIPAL
    assert await setup.verifier.verify(sign(claims(email="c@d"))) is not None


@pytest.mark.parametrize("identifier", [{"api_key_id": "key"}, {"user_id": "user"}])
async def test_a_revocation_ends_tokens_that_were_good_and_auth_is_asked_once(setup: Setup, identifier):
    token = setup.token()
    await setup.verifier.verify(token)
    setup.revoke(**identifier)
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await setup.verifier.verify(token)
    assert setup.questions == 1


async def test_a_token_made_after_the_revocation_is_good(setup: Setup):
    setup.revoke(api_key_id="key")
    assert await setup.verifier.verify(setup.token(sequence=1)) == PRINCIPAL
    assert setup.questions == 0


async def test_after_a_change_of_rights_an_older_token_has_the_rights_of_now(setup: Setup):
    token = setup.token()
    await setup.verifier.verify(token)
    fewer = Principal("user", "a@b", "key", frozenset(), "test")
    setup.answer = CheckedIdentity(fewer, 1)
    setup.revoke(api_key_id="key")
    for _ in range(3):
        assert await setup.verifier.verify(token) == fewer
    assert setup.questions == 1


async def test_with_the_feed_cut_auth_is_asked_every_five_seconds(setup: Setup):
    token = setup.token()
    await setup.verifier.verify(token)
    setup.pass_time(TRUST_SECONDS)
    assert setup.verifier.cached(token) == PRINCIPAL
    setup.answer = CheckedIdentity(PRINCIPAL, 0)
    for number in (1, 2):
        setup.pass_time(TRUST_SECONDS + 0.001)
        assert setup.verifier.cached(token) is None
        assert await setup.verifier.verify(token) == PRINCIPAL
        assert setup.verifier.cached(token) == PRINCIPAL
        assert setup.questions == number


async def test_with_feed_and_auth_away_a_token_is_good_until_the_bound_and_then_unavailable(setup: Setup):
    token = setup.token()
    await setup.verifier.verify(token)
    setup.answer = Unavailable("auth is away")
    setup.pass_time(TRUST_SECONDS - 0.1)
    assert await setup.verifier.verify(token) == PRINCIPAL
    setup.pass_time(0.2)
    with pytest.raises(Unavailable):
        await setup.verifier.verify(token)


async def test_a_feed_that_missed_something_has_older_tokens_asked_about(setup: Setup):
    token = setup.token(sequence=3)
    await setup.verifier.verify(token)
    setup.feed.take(pb.WatchRevocationsResponse(sequence=9, reset=True))
    setup.answer = CheckedIdentity(PRINCIPAL, 9)
    assert await setup.verifier.verify(token) == PRINCIPAL
    assert await setup.verifier.verify(token) == PRINCIPAL
    assert setup.questions == 1
