"""Which failures are worth another try, and when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chat.providers import errors
from services.chat.resilience.budget import RetryBudget
from services.chat.resilience.policy import SHORTEST_TRY_SECONDS, RetryPolicy
from services.chat.resilience.verdicts import answered
from shared.errors import BadUpstream, GaiaError, InvalidArgument, ResourceExhausted, Unavailable

POLICY = RetryPolicy(retries=2, first_wait=1.0, longest_wait=5.0, chance=lambda: 1.0)

TRANSIENT = [
    errors.from_status("p", 500, ""),
    errors.from_status("p", 502, ""),
    errors.from_status("p", 503, ""),
    errors.from_status("p", 529, ""),
    errors.unreachable("p"),
    errors.cut("p"),
    errors.nonsense("p", "nonsense"),
]
FOR_ANOTHER_ENDPOINT = [
    errors.from_status("p", 401, ""),
    errors.from_status("p", 403, ""),
    errors.from_status("p", 302, ""),
    errors.from_status("p", 504, ""),
    errors.timed_out("p"),
]
THE_REQUESTS_OWN = [errors.from_status("p", 400, ""), errors.from_status("p", 404, ""), InvalidArgument("no")]


def name(failure: GaiaError) -> str:
    return f"{type(failure).__name__} {failure.metadata.get('provider_status', failure.reason)}"


class TestWaits:
    @pytest.mark.parametrize("failure", TRANSIENT, ids=name)
    def test_a_passing_failure_is_tried_again_after_a_wait_that_doubles(self, failure):
        assert [POLICY.wait(failure, made, elsewhere=False, left=60) for made in range(3)] == [1, 2, None]

    @pytest.mark.parametrize("failure", FOR_ANOTHER_ENDPOINT, ids=name)
    def test_a_lasting_one_only_where_another_endpoint_is_there(self, failure):
        assert POLICY.wait(failure, 0, elsewhere=False, left=60) is None
        assert POLICY.wait(failure, 0, elsewhere=True, left=60) == 0

    @pytest.mark.parametrize("failure", THE_REQUESTS_OWN, ids=name)
    def test_the_requests_own_never(self, failure):
        assert POLICY.wait(failure, 0, elsewhere=True, left=60) is None

    @pytest.mark.parametrize("failure", [*TRANSIENT, errors.from_status("p", 429, "")], ids=name)
    def test_another_endpoint_is_asked_at_once(self, failure):
        assert POLICY.wait(failure, 1, elsewhere=True, left=60) == 0
        assert POLICY.wait(failure, 2, elsewhere=True, left=60) is None

    def test_a_provider_that_is_left_alone_is(self):
        assert POLICY.wait(errors.left_alone("p", 4), 0, elsewhere=False, left=60) is None

    @pytest.mark.parametrize("status", [429, 503, 529])
    def test_what_the_provider_asked_for_comes_first(self, status):
        assert POLICY.wait(errors.from_status("p", status, "", retry_after=3), 0, elsewhere=False, left=60) == 4
        assert POLICY.wait(errors.from_status("p", status, "", retry_after=0), 0, elsewhere=False, left=60) == 1
        assert POLICY.wait(errors.from_status("p", status, "", retry_after=6), 0, elsewhere=False, left=60) is None

    def test_a_limit_without_a_time_is_given_a_second(self):
        assert POLICY.wait(errors.from_status("p", 429, ""), 0, elsewhere=False, left=60) == 2

    @given(
        chance=st.floats(0, 1),
        retries=st.integers(0, 12),
        told=st.none() | st.floats(0, 100),
        left=st.floats(-5, 100),
        elsewhere=st.booleans(),
    )
    def test_no_wait_is_too_long_or_goes_beyond_the_deadline(self, chance, retries, told, left, elsewhere):
        policy = RetryPolicy(retries=10, chance=lambda: chance)
        wait = policy.wait(errors.from_status("p", 503, "", retry_after=told), retries, elsewhere=elsewhere, left=left)
        if wait is None:
            assert retries >= 10 or left < 10 + SHORTEST_TRY_SECONDS or (told or 0) > policy.longest_wait
        else:
            assert 0 <= wait <= 2 * policy.longest_wait
            assert wait + SHORTEST_TRY_SECONDS <= left
            assert elsewhere or wait >= float(f"{told or 0:g}")


class TestBudget:
    def test_a_hiccup_is_paid_from_what_is_saved(self):
        budget = RetryBudget(ratio=0.2, most=3)
        assert [budget.spend() for _ in range(4)] == [True, True, True, False]

    def test_in_an_outage_one_in_five_requests_is_retried(self):
        budget = RetryBudget(ratio=0.2, most=10)
        retried = 0
        for _ in range(1000):
            budget.earn()
            retried += budget.spend()
        assert 199 <= retried <= 210

    def test_it_saves_up_only_so_much(self):
        budget = RetryBudget(ratio=0.2, most=2)
        for _ in range(100):
            budget.earn()
        assert [budget.spend() for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    ("failure", "says"),
    [
        (ResourceExhausted("limit"), True),
        (errors.from_status("p", 400, ""), True),
        (errors.from_status("p", 404, ""), True),
        (errors.from_status("p", 401, ""), False),
        (errors.timed_out("p"), False),
        (Unavailable("down"), False),
        (BadUpstream("nonsense"), False),
        (InvalidArgument("was never sent"), None),
    ],
    ids=lambda value: name(value) if isinstance(value, GaiaError) else str(value),
)
def test_an_endpoint_that_refuses_or_limits_is_well(failure, says):
    assert answered(failure) is says
