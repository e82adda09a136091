"""What a process remembers of revocations, and for what it vouches."""

import pytest
from gaia.auth.v1 import auth_service_pb2 as pb

from shared.identity.principal import Principal
from shared.identity.revocations import MAX_REMEMBERED, REMEMBER_SECONDS, TRUST_SECONDS, RevocationFeed

BY_KEY = Principal("user", "a@b", "key", frozenset(), "test")
WITHOUT_KEY = Principal("user", "a@b", "", frozenset(), "test")
NEVER = float("-inf")


class Setup:
    def __init__(self) -> None:
        self.now = 50.0
        self.feed = RevocationFeed(lambda: self.now)

    def say(self, sequence: int, **fields) -> None:
        self.feed.take(pb.WatchRevocationsResponse(sequence=sequence, **fields))

    def vouches(self, principal: Principal, sequence: int = 1) -> bool:
        return self.feed.vouches_for(principal, sequence, NEVER)


@pytest.fixture
def setup() -> Setup:
    setup = Setup()
    setup.say(1)
    return setup


def test_a_feed_that_never_spoke_vouches_only_for_what_auth_just_said():
    setup = Setup()
    assert not setup.vouches(BY_KEY)
    assert setup.feed.vouches_for(BY_KEY, 1, checked_at=setup.now)
    setup.now += TRUST_SECONDS + 0.001
    assert not setup.feed.vouches_for(BY_KEY, 1, checked_at=50.0)


def test_a_revocation_concerns_identities_that_are_older_than_it(setup: Setup):
    setup.say(5, api_key_id="key")
    assert not setup.vouches(BY_KEY, 4)
    assert setup.vouches(BY_KEY, 5)


def test_the_revocation_of_a_user_leaves_callers_without_a_key_of_other_users(setup: Setup):
    setup.say(5, user_id="somebody else")
    assert setup.vouches(WITHOUT_KEY, 4)
    setup.say(6, user_id="user")
    assert not setup.vouches(WITHOUT_KEY, 5)


def test_a_revocation_is_remembered_as_long_as_an_identity_can_be_cached(setup: Setup):
    setup.say(5, api_key_id="key")
    setup.now += REMEMBER_SECONDS - 1
    setup.say(6, api_key_id="other")
    assert not setup.vouches(BY_KEY, 4)


def test_what_had_to_be_forgotten_early_is_vouched_for_no_longer(setup: Setup):
    for number in range(MAX_REMEMBERED + 1):
        setup.say(2 + number, api_key_id=f"key {number}")
    assert not setup.vouches(BY_KEY, 1)
    assert setup.vouches(BY_KEY, 2)


def test_after_a_reset_nothing_older_is_vouched_for(setup: Setup):
    setup.say(9, reset=True)
    assert not setup.vouches(BY_KEY, 8)
    assert setup.vouches(BY_KEY, 9)
