"""Slowing down addresses that guess keys."""

import asyncio

import pytest
from gaia.auth.v1 import auth_service_pb2

from shared.errors import ResourceExhausted, Unauthenticated
from shared.identity import api_key
from shared.identity.authenticator import Authenticator, Identity
from shared.identity.revocations import RevocationFeed
from shared.identity.throttle import (
    FAILURES_A_MINUTE,
    LANE_QUEUE,
    LANE_WIDTH,
    MAX_ADDRESSES,
    WINDOW_SECONDS,
    FailureThrottle,
)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def fail(throttle: FailureThrottle, address: str, times: int = FAILURES_A_MINUTE + 1) -> None:
    for _ in range(times):
        throttle.failed(address)


def test_an_address_is_slow_after_too_many_failures_and_others_are_not(clock: Clock):
    throttle = FailureThrottle(clock)
    fail(throttle, "192.0.2.1", FAILURES_A_MINUTE)
    assert not throttle.is_slow("192.0.2.1")
    fail(throttle, "192.0.2.1", 1)
    assert throttle.is_slow("192.0.2.1")
    assert not throttle.is_slow("192.0.2.2")


def test_slowness_ends_with_the_minute(clock: Clock):
    throttle = FailureThrottle(clock)
    fail(throttle, "192.0.2.1")
    clock.now += WINDOW_SECONDS
    assert not throttle.is_slow("192.0.2.1")


def test_addresses_are_bounded_and_the_last_ones_are_kept(clock: Clock):
    throttle = FailureThrottle(clock)
    fail(throttle, "the first")
    for number in range(MAX_ADDRESSES):
        throttle.failed(f"address {number}")
    assert not throttle.is_slow("the first")


async def test_the_lane_lets_a_few_pass_at_once_and_the_others_in_their_turn():
    throttle = FailureThrottle()
    gate, inside, most, passed = asyncio.Event(), 0, 0, 0

    async def go() -> None:
        nonlocal inside, most, passed
        async with throttle.lane():
            inside += 1
            most = max(most, inside)
            await gate.wait()
            inside -= 1
            passed += 1

    tasks = [asyncio.ensure_future(go()) for _ in range(20)]
    for _ in range(5):
        await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*tasks)
    assert (most, passed) == (LANE_WIDTH, 20)


async def test_an_address_that_guesses_waits_with_unknown_keys_and_not_with_known_ones():
    under_way, most = 0, 0
    answer = asyncio.Event()
    known, new = (api_key.generate("test") for _ in range(2))

    async def exchange(key: str) -> auth_service_pb2.AuthenticateResponse:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        try:
            await answer.wait()
        finally:
            under_way -= 1
        if key not in (known, new):
            raise Unauthenticated("no")
        return auth_service_pb2.AuthenticateResponse(identity_token="t", identity_lifetime_ms=60_000)

    throttle, authenticator = FailureThrottle(), Authenticator(exchange, RevocationFeed())

    def send(key: str = "") -> "asyncio.Future[Identity]":
        asked = throttle.authenticate(authenticator, key or api_key.generate("test"), "192.0.2.1")
        return asyncio.ensure_future(asked)

    answer.set()
    assert (await send(known)).metadata
    for _ in range(FAILURES_A_MINUTE + 1):
        with pytest.raises(Unauthenticated):
            await send()
    answer.clear()
    most = 0
    guesses = [send() for _ in range(20)]
    late = send(new)
    for _ in range(10):
        await asyncio.sleep(0)
    assert most == LANE_WIDTH
    assert (await send(known)).metadata
    answer.set()
    assert (await late).metadata
    assert {type(error) for error in await asyncio.gather(*guesses, return_exceptions=True)} == {Unauthenticated}
    assert most == LANE_WIDTH


async def test_a_lane_that_is_full_says_so_at_once():
    throttle = FailureThrottle()
    gate = asyncio.Event()

    async def go() -> None:
        async with throttle.lane():
            await gate.wait()

    tasks = [asyncio.ensure_future(go()) for _ in range(LANE_QUEUE + LANE_WIDTH)]
    for _ in range(5):
        await asyncio.sleep(0)
    # The first two have left the queue; two more fit.
    tasks += [asyncio.ensure_future(go()) for _ in range(LANE_WIDTH)]
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhausted):
        await go()
    gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(result is None for result in results) >= LANE_QUEUE
