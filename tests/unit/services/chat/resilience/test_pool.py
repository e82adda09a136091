"""Sharing the calls of a provider among its endpoints."""

import logging
from collections import Counter

import pytest

from services.chat.catalogue import ModelSpec
from services.chat.providers import errors
from services.chat.resilience.circuit import CircuitRules
from services.chat.resilience.pool import LONGEST_REST_SECONDS, MOST_RESTS, Lease, Pool
from services.chat.turn import Delta, Role, Turn, say
from shared.errors import GaiaError, InvalidArgument, Unavailable
from tests.unit.services.chat.resilience.fakes import Acting, Clock

MODEL, OTHER = ModelSpec("m", "p"), ModelSpec("other", "p")
TURN = Turn((say(Role.USER, "hi"),))
RULES = CircuitRules(failures=2, open_seconds=4.0)
DOWN = errors.unreachable("p")


def limited(seconds: float) -> GaiaError:
    return errors.from_status("p", 429, "", retry_after=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def pool(clock: Clock, *weights: float) -> Pool:
    return Pool([(Acting("hello"), weight) for weight in weights], RULES, clock=clock, chance=lambda: 0.0)


def number(lease: Lease) -> int:
    return lease.endpoint.number


def use(shared: Pool, failure: GaiaError | None = None, model: ModelSpec = MODEL) -> int:
    """Makes a call and returns where it went."""
    lease = shared.lease(model)
    if failure is None:
        lease.succeeded()
    else:
        lease.failed(failure)
    lease.end()
    return number(lease)


class TestBalance:
    def test_calls_one_after_the_other_go_round_by_weight(self, clock):
        shared = pool(clock, 1, 3)
        assert Counter(use(shared) for _ in range(40)) == {1: 10, 2: 30}

    def test_calls_at_a_time_fill_up_by_weight(self, clock):
        shared = pool(clock, 1, 3)
        assert Counter(number(shared.lease(MODEL)) for _ in range(40)) == {1: 10, 2: 30}

    def test_the_one_with_fewer_in_flight_is_next(self, clock):
        shared = pool(clock, 1, 1)
        slow = shared.lease(MODEL)
        assert {use(shared) for _ in range(5)} == {3 - number(slow)}
        slow.end()
        assert {use(shared) for _ in range(5)} == {1, 2}

    def test_one_that_stood_aside_does_not_make_up_for_it(self, clock):
        shared = pool(clock, 1, 1)
        use(shared, limited(30))
        assert len({use(shared) for _ in range(20)}) == 1
        clock.now += 31
        counts = Counter(use(shared) for _ in range(10))
        assert {counts[1], counts[2]} <= {4, 5, 6}


class TestLimits:
    def test_an_endpoint_under_a_limit_is_passed_over_until_it_asked_to_be_tried(self, clock):
        shared = pool(clock, 1, 1)
        limited_one = use(shared, limited(7))
        assert {use(shared) for _ in range(4)} == {3 - limited_one}
        clock.now += 7
        assert {use(shared) for _ in range(4)} == {1, 2}

    def test_a_limit_is_on_one_model(self, clock):
        shared = pool(clock, 1, 1)
        use(shared, limited(7))
        assert {use(shared, model=OTHER) for _ in range(4)} == {1, 2}

    def test_where_all_are_under_a_limit_the_one_that_ends_first_is_asked(self, clock):
        shared = pool(clock, 1, 1)
        first = use(shared, limited(7))
        second = use(shared, limited(3))
        assert first != second
        assert [use(shared) for _ in range(3)] == [second] * 3

    def test_a_limit_for_very_long_is_looked_at_again(self, clock):
        shared = pool(clock, 1, 1)
        use(shared, limited(3600))
        clock.now += LONGEST_REST_SECONDS
        assert {use(shared) for _ in range(4)} == {1, 2}

    def test_the_limits_of_any_number_of_models_take_no_more_memory(self, clock):
        shared = pool(clock, 1)
        for count in range(10 * MOST_RESTS):
            use(shared, limited(50), ModelSpec(f"m{count}", "p"))
        assert len(shared.endpoints[0]._rests) == MOST_RESTS

    def test_limits_do_not_open_a_circuit(self, clock):
        shared = pool(clock, 1)
        for _ in range(50):
            use(shared, limited(1))
        assert use(shared) == 1


class TestCircuits:
    def test_an_endpoint_that_fails_is_left_alone(self, clock):
        shared = pool(clock, 1, 1)
        while not any(one.circuit.is_open for one in shared.endpoints):
            use(shared, DOWN if shared.endpoints[0].turn <= shared.endpoints[1].turn else None)
        [bad] = [one.number for one in shared.endpoints if one.circuit.is_open]
        assert {use(shared) for _ in range(6)} == {3 - bad}
        clock.now += 4
        assert bad in {use(shared) for _ in range(6)}, "its trial"
        assert not any(one.circuit.is_open for one in shared.endpoints)

    def test_with_all_open_the_call_fails_at_once_and_says_for_how_long(self, clock):
        shared = pool(clock, 1, 1)
        for _ in range(4):
            use(shared, DOWN)
        clock.now += 1
        with pytest.raises(Unavailable, match="not asked for now; try again in 3 s") as caught:
            shared.lease(MODEL)
        assert caught.value.reason == "PROVIDER_CIRCUIT_OPEN"
        assert caught.value.retry_after == 3

    def test_a_single_endpoint_lets_one_trial_through(self, clock):
        shared = pool(clock, 1)
        use(shared, DOWN)
        use(shared, DOWN)
        clock.now += 4
        trial = shared.lease(MODEL)
        with pytest.raises(Unavailable):
            shared.lease(MODEL)
        trial.end()
        assert use(shared) == 1

    def test_faults_of_requests_and_callers_that_leave_open_nothing(self, clock):
        shared = pool(clock, 1)
        for _ in range(50):
            use(shared, InvalidArgument("never sent"))
            use(shared, errors.from_status("p", 400, "wrong"))
            shared.lease(MODEL).end()
        assert use(shared) == 1
        assert shared.endpoints[0].in_flight == 0

    def test_the_operator_is_told_once_of_each_change_and_of_no_secret(self, clock, caplog):
        caplog.set_level(logging.INFO)
        shared = pool(clock, 1)
        use(shared, DOWN)
        use(shared, DOWN)
        clock.now += 4
        use(shared)
        use(shared)
        told = [(record.getMessage(), record.provider, record.endpoint) for record in caplog.records]
        assert told == [
            ("a provider failed too often and is left alone", "p", "1 of 1"),
            ("a provider answers again", "p", "1 of 1"),
        ]


class TestTriedBefore:
    def test_another_endpoint_is_taken_first(self, clock):
        shared = pool(clock, 1, 1)
        tried = [shared.lease(MODEL).endpoint]
        tried[0].in_flight = 0
        for _ in range(3):
            lease = shared.lease(MODEL, tried)
            assert lease.endpoint is not tried[0]

    def test_whether_there_is_another_one(self, clock):
        shared = pool(clock, 1, 1)
        first, second = shared.endpoints
        assert shared.has_another(MODEL, [first])
        assert not shared.has_another(MODEL, [first, second])
        shared.met_limit(second, "m", 5)
        assert not shared.has_another(MODEL, [first])
        assert not pool(clock, 1).has_another(MODEL, [])


class TestAsAProvider:
    async def test_it_answers_as_its_endpoints_do(self, clock):
        shared = pool(clock, 1, 1)
        assert (await shared.complete(TURN, MODEL)).text == "hello"
        assert [delta.text async for delta in shared.stream(TURN, MODEL)] == ["hello", ""]
        assert [one.adapter.asked for one in shared.endpoints] == [1, 1]
        assert [one.in_flight for one in shared.endpoints] == [0, 0]
        await shared.close()
        assert all(one.adapter.closed for one in shared.endpoints)

    async def test_its_circuits_learn_of_the_failures(self, clock):
        shared = Pool([(Acting(DOWN), 1.0)], RULES, clock=clock)
        with pytest.raises(Unavailable):
            await shared.complete(TURN, MODEL)
        with pytest.raises(Unavailable):
            [delta async for delta in shared.stream(TURN, MODEL)]
        assert shared.endpoints[0].circuit.is_open

    async def test_a_stream_that_is_closed_gives_its_endpoint_back(self, clock):
        shared = Pool([(Acting([Delta("a"), Delta("b")]), 1.0)], RULES, clock=clock)
        stream = shared.stream(TURN, MODEL)
        await anext(stream)
        assert shared.endpoints[0].in_flight == 1
        await stream.aclose()
        assert shared.endpoints[0].in_flight == 0

    async def test_a_probe_asks_all_and_tells_the_first_failure(self, clock):
        good, bad = Acting("x"), Acting("x")
        bad.probe_failure = DOWN
        shared = Pool([(bad, 1.0), (good, 1.0)], RULES, clock=clock)
        for _ in range(2):
            with pytest.raises(Unavailable):
                await shared.probe()
        assert good.probed == 2
        assert [one.circuit.is_open for one in shared.endpoints] == [True, False]
