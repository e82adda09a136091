"""Which failures of a provider are worth another try, and when.

                                                      there again          at another endpoint
    ResourceExhausted                                 after Retry-After    at once
    Unavailable: overloaded, down, unreachable        after a while        at once
    Unavailable: the circuits of all are open         never                never
    BadUpstream: 5xx, nonsense, cut off               after a while        at once
    BadUpstream: Gaia's key refused, other statuses   never                at once
    DeadlineExceeded: silent for too long             never                at once
    anything else: the request's own fault            never                never

Asking for a reply changes nothing at the provider, so every request can be made again. A reply of which the client has
seen something is never begun again; that is up to the caller. What the provider does in the background is begun again
only where it said that it did not begin it.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from services.chat.providers.errors import CIRCUIT_OPEN, told_wait
from services.chat.resilience.verdicts import FAULTS
from shared.errors import BadUpstream, GaiaError, ResourceExhausted, Unavailable

SHORTEST_TRY_SECONDS = 0.25
"""Time that a retry must have left before the deadline: less would only end in it."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounds of the retries of one request at one provider; seconds.

    A wait is drawn between 0 and a bound (full jitter), which begins at `first_wait` and doubles with each retry, to
    `longest_wait` at most. It comes on top of what the provider asked for; what is longer than `longest_wait` is not
    waited for, the client can do that itself. `chance` is a random number from 0 to 1.
    """

    retries: int = 2
    first_wait: float = 0.25
    longest_wait: float = 5.0
    chance: Callable[[], float] = random.random

    def wait(self, failure: GaiaError, retries: int, *, elsewhere: bool, left: float) -> float | None:
        """Returns after how many seconds to ask the provider again, None for not at all.

        `retries` were made so far, `elsewhere` says that an endpoint is there that was not asked yet, `left` is the
        time to the deadline.
        """
        if retries >= self.retries or not isinstance(failure, FAULTS):
            return None
        if elsewhere:
            return 0.0 if left >= SHORTEST_TRY_SECONDS else None
        least = _least_wait(failure)
        if least is None:
            return None
        bound = min(self.first_wait * 2.0**retries, self.longest_wait)
        wait = least + self.chance() * bound
        return wait if least <= self.longest_wait and wait + SHORTEST_TRY_SECONDS <= left else None


class RefusedOnly(RetryPolicy):
    """Makes a request again only after an answer that refused it: without one, nobody knows what was begun."""

    def wait(self, failure: GaiaError, retries: int, *, elsewhere: bool, left: float) -> float | None:
        """Returns after how many seconds to ask the provider again, None for not at all."""
        if "provider_status" not in failure.metadata:
            return None
        return super().wait(failure, retries, elsewhere=elsewhere, left=left)

    @classmethod
    def of(cls, policy: RetryPolicy) -> Self:
        """Makes one with the bounds of another policy."""
        return cls(policy.retries, policy.first_wait, policy.longest_wait, policy.chance)


def _least_wait(failure: GaiaError) -> float | None:
    """Returns the least wait before the same endpoint may be asked again, None where that is no use."""
    if isinstance(failure, ResourceExhausted):
        told = told_wait(failure)
        return failure.retry_after if told is None else told
    if isinstance(failure, Unavailable) and failure.reason != CIRCUIT_OPEN:
        return told_wait(failure) or 0.0
    if isinstance(failure, BadUpstream):
        status = failure.metadata.get("provider_status", "500")
        return 0.0 if status.startswith("5") else None
    return None
