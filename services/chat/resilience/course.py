"""The way of one request: tries at the chosen model's provider, then at those of models that may stand in for it."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from services.chat.catalogue import ModelSpec
from services.chat.providers.errors import CIRCUIT_OPEN, REFUSED
from services.chat.resilience.policy import RetryPolicy
from services.chat.resilience.pool import Endpoint, Lease, Pool
from services.chat.turn import Usage
from shared.errors import GaiaError


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try that failed: whom it asked, the error's reason, and the tokens that were reported before it failed.

    Where it was cut off while the provider was at work, the tokens are an estimate, and `is_estimate` says so. Where
    `was_asked` is False the provider was passed over, since its circuit is open.
    """

    model: ModelSpec
    reason: str
    usage: Usage | None = None
    was_asked: bool = True
    is_estimate: bool = False


class Course:
    """Where a request stands. `model` is asked next or now; `attempts` are those that failed and were made good for.

    `asked_at` is since when the provider is being asked (a time of `time.perf_counter`), None between two tries.

    `deadline` is a time of the running event loop's clock; `seeks` says that the request names what only one of the
    provider's endpoints keeps. Each model is tried in one place of the course only,
    however often it is named; `can_take` says whether a stand-in can be given the request at all.
    """

    def __init__(
        self,
        candidates: Sequence[ModelSpec],
        pools: Mapping[str, Pool],
        policy: RetryPolicy,
        deadline: float,
        can_take: Callable[[ModelSpec], bool],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        *,
        seeks: bool = False,
    ) -> None:
        self.model = candidates[0]
        self.attempts: list[Attempt] = []
        self.fallback_used = False
        self.asked_at: float | None = None
        self._candidates = candidates
        self._at = 0
        self._pools = pools
        self._policy = policy
        self._deadline = deadline
        self._can_take = can_take
        self._sleep = sleep
        self._seeks = seeks
        self._tried: list[Endpoint] = []
        self._retries = 0
        self._pool = pools[self.model.provider]
        self._pool.budget.earn()

    def lease(self) -> Lease:
        """Chooses an endpoint for the next try; see `Pool.lease`."""
        lease = self._pool.lease(self.model, self._tried)
        self._tried.append(lease.endpoint)
        self.asked_at = time.perf_counter()
        return lease

    def has_others(self) -> bool:
        """Whether a model is left that could stand in."""
        return self._next() is not None

    def go_on(self, failure: GaiaError, usage: Usage | None = None, *, is_estimate: bool = False) -> float | None:
        """Takes in that the try failed, and what it used.

        Returns the seconds to `pause` before the next one, None when there is none. `model` is another one then, where
        the provider is given up.
        """
        left = self._deadline - asyncio.get_running_loop().time()
        elsewhere = self._pool.has_another(self.model, self._tried)
        wait = self._policy.wait(failure, self._retries, elsewhere=elsewhere, left=left)
        retries = wait is not None and self._pool.budget.spend()
        following = None if retries or left <= 0 else self._next()
        if not retries and following is None:
            self._tell(failure)
            return None
        was_asked = failure.reason != CIRCUIT_OPEN
        self.attempts.append(Attempt(self.model, failure.reason or failure.code, usage, was_asked, is_estimate))
        self.asked_at = None
        if following is None:
            self._retries += 1
            return wait
        self._move(following)
        return 0.0

    def is_elsewhere(self, refusal: GaiaError) -> bool:
        """Whether another endpoint may know what this one refuses. Each is asked once; a refusal costs nothing."""
        return self._seeks and refusal.reason == REFUSED and self._pool.has_another(self.model, self._tried)

    async def pause(self, seconds: float) -> None:
        """Waits for the next try."""
        if seconds:
            await self._sleep(seconds)

    def _next(self) -> int | None:
        known = self._candidates[: self._at + 1]
        for number in range(self._at + 1, len(self._candidates)):
            model = self._candidates[number]
            if model not in known and model.provider in self._pools and self._can_take(model):
                return number
        return None

    def _move(self, number: int) -> None:
        self._at = number
        self.model = self._candidates[number]
        self.fallback_used = True
        self._tried, self._retries = [], 0
        self._pool = self._pools[self.model.provider]
        self._pool.budget.earn()

    def _tell(self, failure: GaiaError) -> None:
        """Lets the caller know how often was asked."""
        asked = sum(attempt.was_asked for attempt in self.attempts) + (failure.reason != CIRCUIT_OPEN)
        if asked > 1:
            failure.metadata["attempts"] = str(asked)
