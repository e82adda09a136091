"""Tokens a minute of a key."""

import pytest

from shared.errors import ResourceExhausted
from shared.identity.principal import KeyLimits, Principal
from shared.rates.limiter import RateLimiter
from shared.rates.tokens import TokenLimit


def caller(limit: int | None, key: str = "key") -> Principal:
    return Principal("user", "a@b", key, frozenset(), "test", limits=KeyLimits(tokens_per_minute=limit))


async def test_calls_are_admitted_until_the_minute_is_used_up_and_told_when_to_come_back():
    tokens = TokenLimit(RateLimiter())
    await tokens.admit(caller(100), 60)
    with pytest.raises(ResourceExhausted, match="has 40 left") as caught:
        await tokens.admit(caller(100), 41)
    assert caught.value.retry_after >= 1
    await tokens.admit(caller(100), 40)


async def test_what_a_call_used_beyond_its_estimate_is_held_against_the_next():
    tokens = TokenLimit(RateLimiter())
    await tokens.admit(caller(100), 10)
    await tokens.settle(caller(100), 10, 500)
    with pytest.raises(ResourceExhausted):
        await tokens.admit(caller(100), 1)
    await tokens.admit(caller(100, "other"), 100)


async def test_a_key_without_a_limit_is_never_counted():
    tokens = TokenLimit(RateLimiter())
    await tokens.admit(caller(None), 10**9)
    await tokens.settle(caller(None), 1, 10**9)
    await tokens.admit(caller(10), 10)
