"""Tokens a minute of a key and of an address."""

import pytest

from shared.errors import TokensExhausted
from shared.identity.principal import KeyLimits, Principal
from shared.rates.limiter import RateLimiter
from shared.rates.tokens import TokenLimit

HERE = "192.0.2.1"


def caller(limit: int | None, key: str = "key") -> Principal:
    return Principal("user", "a@b", key, frozenset(), "test", limits=KeyLimits(tokens_per_minute=limit))


async def test_calls_are_admitted_until_the_minute_is_used_up_and_told_when_to_come_back():
    tokens = TokenLimit(RateLimiter())
    await tokens.admit(caller(100), HERE, 60)
    with pytest.raises(TokensExhausted, match=r"this key .* has 40 left") as caught:
        await tokens.admit(caller(100), HERE, 41)
    error = caught.value
    assert error.retry_after == error.reset >= 1
    assert (error.limit, error.remaining) == (100, 40)
    await tokens.admit(caller(100), HERE, 40)


async def test_what_a_call_used_beyond_its_estimate_is_held_against_the_next():
    tokens = TokenLimit(RateLimiter())
    await tokens.admit(caller(100), HERE, 10)
    await tokens.settle(caller(100), HERE, 10, 500)
    with pytest.raises(TokensExhausted):
        await tokens.admit(caller(100), HERE, 1)
    await tokens.admit(caller(100, "other"), HERE, 100)


async def test_a_key_without_a_limit_is_never_counted():
    tokens = TokenLimit(RateLimiter())
    assert not tokens.holds(caller(None), HERE)
    await tokens.admit(caller(None), HERE, 10**9)
    await tokens.settle(caller(None), HERE, 1, 10**9)
    await tokens.admit(caller(10), HERE, 10)


async def test_all_keys_of_an_address_share_its_limit_and_other_addresses_have_their_own():
    tokens = TokenLimit(RateLimiter(), per_address=100)
    assert tokens.holds(caller(None), HERE)
    await tokens.admit(caller(None, "one"), HERE, 60)
    with pytest.raises(TokensExhausted, match=r"this address may use 100 .* has 40 left"):
        await tokens.admit(caller(None, "two"), HERE, 60)
    await tokens.admit(caller(None, "two"), "192.0.2.2", 60)
    await tokens.settle(caller(None, "two"), "192.0.2.2", 60, 100)
    with pytest.raises(TokensExhausted):
        await tokens.admit(caller(None, "three"), "192.0.2.2", 1)


async def test_an_ipv6_subscriber_is_one_address():
    tokens = TokenLimit(RateLimiter(), per_address=100)
    await tokens.admit(caller(None), "2001:db8:1:2::1", 60)
    for same in ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"):
        with pytest.raises(TokensExhausted):
            await tokens.admit(caller(None), same, 60)
    await tokens.admit(caller(None), "2001:db8:1:3::1", 60)


async def test_a_call_that_comes_from_nowhere_is_held_to_its_key_alone():
    tokens = TokenLimit(RateLimiter(), per_address=10)
    assert not tokens.holds(caller(None), "")
    await tokens.admit(caller(100), "", 60)
    with pytest.raises(TokensExhausted, match="this key"):
        await tokens.admit(caller(100), "", 60)
