"""The state of an endpoint's circuit."""

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.chat.resilience.circuit import TRIAL_SECONDS, Circuit, CircuitRules

RULES = CircuitRules(
    failures=3, failure_rate=0.5, least_calls=10, window_seconds=30.0, open_seconds=4.0, longest_open_seconds=16.0
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Watching:
    def __init__(self) -> None:
        self.seen: list[float | str] = []

    def opened(self, seconds: float) -> None:
        self.seen.append(seconds)

    def closed(self) -> None:
        self.seen.append("closed")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watching() -> Watching:
    return Watching()


@pytest.fixture
def circuit(clock: Clock, watching: Watching) -> Circuit:
    return Circuit(RULES, watching, clock=clock, chance=lambda: 0.0)


def fail(circuit: Circuit, times: int = 1) -> None:
    for _ in range(times):
        circuit.failed(circuit.begin())


def succeed(circuit: Circuit, times: int = 1) -> None:
    for _ in range(times):
        circuit.succeeded(circuit.begin())


def test_failures_in_a_row_open_it_for_a_while(circuit, clock):
    fail(circuit, 2)
    assert circuit.refuses() == 0
    fail(circuit)
    assert circuit.refuses() == 4
    clock.now += 3
    assert circuit.refuses() == 1


def test_a_success_between_begins_the_row_anew(circuit):
    fail(circuit, 2)
    succeed(circuit)
    fail(circuit, 2)
    assert not circuit.is_open


def test_a_large_share_of_failures_opens_it_once_there_were_enough_calls(circuit):
    for _ in range(4):
        succeed(circuit)
        fail(circuit)
    assert not circuit.is_open, "eight calls say too little"
    succeed(circuit)
    fail(circuit)
    assert circuit.is_open


def test_what_failed_long_ago_does_not_count(circuit, clock):
    for _ in range(4):
        succeed(circuit)
        fail(circuit)
    clock.now += 2 * RULES.window_seconds
    succeed(circuit, 5)
    fail(circuit, 2)
    assert not circuit.is_open


def test_what_failed_in_the_window_before_does_count(circuit, clock):
    for _ in range(4):
        succeed(circuit)
        fail(circuit)
    clock.now += RULES.window_seconds
    succeed(circuit)
    fail(circuit)
    assert circuit.is_open


def test_after_its_time_one_trial_is_let_through_and_closes_it(circuit, clock, watching):
    fail(circuit, 3)
    clock.now += 4
    assert circuit.refuses() == 0
    trial = circuit.begin()
    assert circuit.refuses() == TRIAL_SECONDS, "one at a time"
    circuit.succeeded(trial)
    assert circuit.refuses() == 0
    assert not circuit.is_open
    assert watching.seen == [4, "closed"]


def test_each_trial_that_fails_doubles_the_time_to_a_limit_and_closing_begins_anew(circuit, clock, watching):
    fail(circuit, 3)
    for _ in range(4):
        clock.now += circuit.refuses()
        fail(circuit)
    assert watching.seen == [4, 8, 16, 16, 16]
    clock.now += circuit.refuses()
    succeed(circuit)
    fail(circuit, 3)
    assert watching.seen[-2:] == ["closed", 4]


def test_a_trial_that_says_nothing_makes_room_for_the_next(circuit, clock):
    fail(circuit, 3)
    clock.now += 4
    circuit.dropped(circuit.begin())
    assert circuit.is_open
    assert circuit.refuses() == 0


def test_a_call_from_before_it_opened_is_not_heard(circuit, clock):
    early = [circuit.begin() for _ in range(3)]
    fail(circuit, 3)
    circuit.succeeded(early[0])
    assert circuit.is_open
    clock.now += 4
    trial = circuit.begin()
    circuit.failed(early[1])
    circuit.dropped(early[2])
    assert circuit.refuses() == TRIAL_SECONDS, "the trial is still on its way"
    circuit.succeeded(trial)
    assert not circuit.is_open


def test_a_quarter_of_the_time_is_up_to_chance(clock):
    circuit = Circuit(RULES, clock=clock, chance=lambda: 1.0)
    fail(circuit, 3)
    assert circuit.refuses() == 3


def test_it_can_be_told_never_to_open(clock):
    circuit = Circuit(CircuitRules(failures=0), clock=clock)
    fail(circuit, 100)
    assert not circuit.is_open


class TestProbes:
    def test_a_probe_that_fails_keeps_a_trial_from_being_made_for_nothing(self, circuit, clock):
        fail(circuit, 3)
        clock.now += 4
        circuit.probed(answered=False)
        assert circuit.refuses() == 8

    def test_a_probe_that_is_answered_closes_nothing(self, circuit, clock):
        fail(circuit, 3)
        clock.now += 4
        circuit.probed(answered=True)
        assert circuit.is_open
        assert circuit.refuses() == 0

    def test_a_probe_changes_nothing_while_the_time_runs(self, circuit, clock):
        fail(circuit, 3)
        clock.now += 1
        circuit.probed(answered=False)
        assert circuit.refuses() == 3

    def test_probes_that_fail_open_it(self, circuit):
        for _ in range(3):
            circuit.probed(answered=False)
        assert circuit.is_open


class Call(NamedTuple):
    ticket: int
    began_open: bool
    changes: int


class States(RuleBasedStateMachine):
    """Whatever happens in whatever order, one call at most is under way in an open circuit, and none too early."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.watching = Watching()
        self.circuit = Circuit(RULES, self.watching, clock=self.clock, chance=lambda: 0.5)
        self.under_way: list[Call] = []

    def is_trial(self, call: Call) -> bool:
        return call.began_open and call.changes == len(self.watching.seen)

    @rule(seconds=st.floats(0, 40))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @precondition(lambda self: not self.circuit.refuses())
    @rule()
    def begin(self) -> None:
        assert not any(self.is_trial(call) for call in self.under_way)
        self.under_way.append(Call(self.circuit.begin(), self.circuit.is_open, len(self.watching.seen)))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), how=st.sampled_from(["succeeded", "failed", "dropped"]))
    def end(self, data: st.DataObject, how: str) -> None:
        call = data.draw(st.sampled_from(self.under_way))
        self.under_way.remove(call)
        closes = self.is_trial(call) and how == "succeeded"
        was_open = self.circuit.is_open
        getattr(self.circuit, how)(call.ticket)
        if was_open:
            assert self.circuit.is_open is not closes

    @rule(answered=st.booleans())
    def probe(self, answered: bool) -> None:
        was_open = self.circuit.is_open
        self.circuit.probed(answered=answered)
        assert self.circuit.is_open or not was_open

    @invariant()
    def it_never_refuses_for_longer_than_it_may(self) -> None:
        refuses = self.circuit.refuses()
        assert 0 <= refuses <= RULES.longest_open_seconds
        assert self.circuit.is_open or refuses == 0

    @invariant()
    def it_tells_of_each_change(self) -> None:
        assert self.circuit.is_open == bool(self.watching.seen and self.watching.seen[-1] != "closed")


TestStates = States.TestCase
TestStates.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


@given(outcomes=st.lists(st.booleans(), max_size=100))
def test_a_closed_circuit_counts_failures_in_a_row_exactly(outcomes: list[bool]):
    circuit = Circuit(CircuitRules(failures=3, least_calls=1000), clock=Clock(), chance=lambda: 0.0)
    row = 0
    for ok in outcomes:
        row = 0 if ok else row + 1
        (succeed if ok else fail)(circuit)
        assert circuit.is_open == (row >= 3)
        if circuit.is_open:
            break
