"""The cache of identities: what it vouches for, and for how long."""

import asyncio
from typing import Any

import pytest
from gaia.auth.v1 import auth_service_pb2 as pb

from shared.errors import Unauthenticated, Unavailable
from shared.identity import api_key
from shared.identity.authenticator import NEGATIVE_SECONDS, Authenticator
from shared.identity.revocations import TRUST_SECONDS, RevocationFeed

KEY = api_key.generate("test")


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class FakeAuth:
    """The auth service at its port: counts questions and answers as told."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.questions = 0
        self.error: Exception | None = None
        self.sequence = 0
        self.gate: asyncio.Event | None = None

    async def exchange(self, key: str) -> pb.AuthenticateResponse:
        self.questions += 1
        number = self.questions
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        response = pb.AuthenticateResponse(identity_token=f"token {number}", revocation_sequence=self.sequence)
        response.principal.user_id = "user"
        response.principal.api_key_id = api_key.digest(key)[:8]
        response.identity_lifetime_ms = 60_000
        return response


class Setup:
    def __init__(self) -> None:
        self.clock = Clock()
        self.auth = FakeAuth(self.clock)
        self.feed = RevocationFeed(self.clock)
        self.authenticator = Authenticator(self.auth.exchange, self.feed, capacity=3, clock=self.clock)

    def heartbeat(self) -> None:
        self.feed.take(pb.WatchRevocationsResponse(sequence=self.feed.sequence))

    def revoke(self, **ids: Any) -> None:
        self.feed.take(pb.WatchRevocationsResponse(sequence=self.feed.sequence + 1, **ids))


@pytest.fixture
def setup() -> Setup:
    return Setup()


async def test_a_key_is_asked_for_once_while_the_feed_speaks(setup: Setup):
    await setup.authenticator.authenticate(KEY)
    for _ in range(30):
        setup.clock.now += 1
        setup.heartbeat()
        await setup.authenticator.authenticate(KEY)
    assert setup.auth.questions == 1


async def test_with_the_feed_cut_no_identity_outlives_the_bound_unasked(setup: Setup):
    await setup.authenticator.authenticate(KEY)
    setup.clock.now += TRUST_SECONDS
    assert setup.authenticator.cached(KEY) is not None
    setup.clock.now += 0.001
    assert setup.authenticator.cached(KEY) is None
    await setup.authenticator.authenticate(KEY)
    assert setup.auth.questions == 2


@pytest.mark.parametrize("event", [{"api_key_id": api_key.digest(KEY)[:8]}, {"user_id": "user"}])
async def test_a_revocation_ends_the_identity_at_once(setup: Setup, event):
    await setup.authenticator.authenticate(KEY)
    setup.revoke(**event)
    assert setup.authenticator.cached(KEY) is None


async def test_a_revocation_of_another_key_leaves_it(setup: Setup):
    setup.heartbeat()
    setup.revoke(api_key_id="something earlier")
    setup.auth.sequence = setup.feed.sequence
    await setup.authenticator.authenticate(KEY)
    setup.revoke(api_key_id="other")
    assert setup.authenticator.cached(KEY) is not None


async def test_an_answer_overtaken_by_a_revocation_is_not_kept(setup: Setup):
    setup.auth.gate = asyncio.Event()
    pending = asyncio.ensure_future(setup.authenticator.authenticate(KEY))
    await asyncio.sleep(0)
    setup.revoke(api_key_id=api_key.digest(KEY)[:8])
    setup.auth.gate.set()
    await pending
    assert setup.authenticator.cached(KEY) is None


async def test_a_feed_that_starts_late_cannot_vouch_for_what_was_cached_before(setup: Setup):
    await setup.authenticator.authenticate(KEY)
    setup.feed.take(pb.WatchRevocationsResponse(sequence=7))
    assert setup.authenticator.cached(KEY) is None


async def test_a_token_is_renewed_in_the_background_before_it_ends(setup: Setup):
    first = await setup.authenticator.authenticate(KEY)
    setup.clock.now += 45
    setup.heartbeat()
    assert (await setup.authenticator.authenticate(KEY)).metadata == first.metadata
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert setup.auth.questions == 2
    assert (await setup.authenticator.authenticate(KEY)).metadata != first.metadata


async def test_a_renewal_that_fails_is_tried_again_and_the_token_serves_on(setup: Setup):
    await setup.authenticator.authenticate(KEY)
    setup.clock.now += 45
    setup.heartbeat()
    setup.auth.error = Unavailable("auth is away")
    for _ in range(2):
        await setup.authenticator.authenticate(KEY)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert setup.auth.questions == 3


async def test_an_outage_is_no_bad_key(setup: Setup):
    setup.auth.error = Unavailable("auth is away")
    with pytest.raises(Unavailable):
        await setup.authenticator.authenticate(KEY)
    setup.auth.error = None
    await setup.authenticator.authenticate(KEY)


async def test_a_bad_key_is_remembered_for_a_while(setup: Setup):
    setup.auth.error = Unauthenticated("no")
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await setup.authenticator.authenticate(KEY)
    assert setup.auth.questions == 1
    setup.clock.now += NEGATIVE_SECONDS + 0.001
    setup.auth.error = None
    await setup.authenticator.authenticate(KEY)


async def test_bad_keys_are_remembered_in_bounded_room_the_latest_ones(setup: Setup):
    setup.auth.error = Unauthenticated("no")
    keys = [api_key.generate("test") for _ in range(5)]
    for key in (*keys, keys[-1], keys[0]):
        with pytest.raises(Unauthenticated):
            await setup.authenticator.authenticate(key)
    # The cache has room for three: the last one was still known, the first one had to be asked about again.
    assert setup.auth.questions == 6


async def test_a_key_with_a_typo_asks_nobody(setup: Setup):
    with pytest.raises(Unauthenticated):
        await setup.authenticator.authenticate(KEY[:-1] + ("A" if KEY[-1] != "A" else "B"))
    assert setup.auth.questions == 0


async def test_callers_with_the_same_new_key_share_one_question_and_survive_each_other(setup: Setup):
    setup.auth.gate = asyncio.Event()
    calls = [asyncio.ensure_future(setup.authenticator.authenticate(KEY)) for _ in range(10)]
    await asyncio.sleep(0)
    calls[0].cancel()
    setup.auth.gate.set()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert len({id(result) for result in results[1:]}) == 1
    assert setup.auth.questions == 1


async def test_the_cache_is_bounded(setup: Setup):
    keys = [api_key.generate("test") for _ in range(5)]
    for key in keys:
        await setup.authenticator.authenticate(key)
    assert [setup.authenticator.cached(key) is not None for key in keys] == [False, False, True, True, True]
