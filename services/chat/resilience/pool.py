"""The endpoints of one provider, with keys or addresses of their own, that share its calls.

A call goes to the endpoint that has the fewest in flight for its weight; of equals, to the one whose turn it is. Passed
over are, in this order: those whose circuit is open, which are not asked at all; those that failed this request before;
those whose rate limit was met, until they asked to be tried again. A limit is never a reason to ask none: it may be on
tokens, and let a small request through, which only the provider knows.
"""

import contextlib
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing

from services.chat.catalogue import ModelSpec
from services.chat.providers import errors
from services.chat.providers.base import Provider
from services.chat.resilience.budget import RetryBudget
from services.chat.resilience.circuit import Circuit, CircuitRules
from services.chat.resilience.verdicts import FAULTS, answered
from services.chat.turn import Delta, Dialect, Reply, Turn
from shared.errors import GaiaError, ResourceExhausted

logger = logging.getLogger(__name__)

LONGEST_REST_SECONDS = 60.0
"""A limit that is said to last longer is looked at again after this time: it may have been raised."""
MOST_RESTS = 64
"""Models of one endpoint whose limits are remembered."""


class Endpoint:
    """One way to a provider: an adapter with its key and address. `number` counts from 1."""

    def __init__(self, adapter: Provider, number: int, weight: float, circuit: Circuit) -> None:
        self.adapter = adapter
        self.number = number
        self.weight = weight
        self.circuit = circuit
        self.in_flight = 0
        self.last_used = 0.0
        self.turn = 0.0
        self._rests: dict[str, float] = {}

    def rests_until(self, model: str, now: float) -> float:
        """Returns until when a model is best not asked here, 0 where it may be."""
        until = self._rests.get(model, 0.0)
        return until if until > now else 0.0

    def rest(self, model: str, until: float) -> None:
        """Notes that a model's limit was met."""
        if len(self._rests) >= MOST_RESTS and model not in self._rests:
            del self._rests[min(self._rests, key=self._rests.__getitem__)]
        self._rests[model] = until


class Lease:
    """One call at an endpoint, from its choice to `end`, before which `succeeded` or `failed` may say how it went.

    A request that fails again at the same endpoint counts once against it: one request that cannot be answered is not
    to close an endpoint for all.
    """

    __slots__ = ("_is_repeated", "_model", "_pool", "_ticket", "endpoint")

    def __init__(self, pool: "Pool", endpoint: Endpoint, model: str, *, is_repeated: bool) -> None:
        self.endpoint = endpoint
        self._pool = pool
        self._model = model
        self._is_repeated = is_repeated and not endpoint.circuit.is_open
        self._ticket: int | None = endpoint.circuit.begin()
        endpoint.in_flight += 1

    def succeeded(self) -> None:
        """The reply is whole."""
        if self._ticket is not None:
            self.endpoint.circuit.succeeded(self._ticket)
            self._ticket = None

    def failed(self, failure: GaiaError) -> None:
        """The call failed, by whoever's fault."""
        if self._ticket is None:
            return
        verdict = answered(failure)
        if verdict:
            self.endpoint.circuit.succeeded(self._ticket)
            self._ticket = None
        elif verdict is False and not self._is_repeated:
            self.endpoint.circuit.failed(self._ticket)
            self._ticket = None
        if isinstance(failure, ResourceExhausted):
            self._pool.met_limit(self.endpoint, self._model, failure.retry_after or 0.0)

    def end(self) -> None:
        """Gives the endpoint back. A call that was not said to have succeeded or failed says nothing about it."""
        endpoint = self.endpoint
        endpoint.in_flight -= 1
        endpoint.last_used = self._pool.clock()
        if self._ticket is not None:
            endpoint.circuit.dropped(self._ticket)


class Pool:
    """One provider behind its endpoints. Implements `services.chat.providers.base.Provider`.

    `endpoints` are adapters of the same provider with their weights; one of weight 2 gets twice the calls of one of
    weight 1. `budget` is what its retries are paid from.
    """

    def __init__(
        self,
        endpoints: Sequence[tuple[Provider, float]],
        rules: CircuitRules | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        first = endpoints[0][0]
        self.id: str = first.id
        self.dialects: AbstractSet[Dialect] = first.dialects
        self.takes: AbstractSet[str] = first.takes
        self.clock = clock
        self.budget = RetryBudget()
        self.endpoints: Sequence[Endpoint] = tuple(
            Endpoint(
                adapter,
                number,
                weight,
                Circuit(
                    rules or CircuitRules(),
                    _Log(first.id, number, len(endpoints)),
                    clock=clock,
                    chance=chance,
                ),
            )
            for number, (adapter, weight) in enumerate(endpoints, 1)
        )
        self._turn = 0.0

    def lease(self, model: ModelSpec, tried: Sequence[Endpoint] = ()) -> Lease:
        """Chooses an endpoint, rather one that is not among those `tried`; the caller ends the lease.

        Raises Unavailable with reason PROVIDER_CIRCUIT_OPEN where every circuit is open.
        """
        endpoints = self.endpoints
        if len(endpoints) == 1:
            if endpoints[0].circuit.refuses():
                raise self._left_alone()
            return Lease(self, endpoints[0], model.id, is_repeated=bool(tried))
        open_to_calls = [one for one in endpoints if not one.circuit.refuses()]
        if not open_to_calls:
            raise self._left_alone()
        now = self.clock()
        chosen = min(
            open_to_calls,
            key=lambda one: (
                one in tried,
                one.rests_until(model.id, now),
                one.in_flight / one.weight,
                max(one.turn, self._turn),
            ),
        )
        # Each call moves an endpoint's turn on by what it weighs; one that stood aside does not make up for it.
        self._turn = max(chosen.turn, self._turn)
        chosen.turn = self._turn + 1 / chosen.weight
        return Lease(self, chosen, model.id, is_repeated=chosen in tried)

    def lease_at(self, endpoint: Endpoint, model: str) -> Lease:
        """Begins a call at one endpoint; the caller ends the lease. Raises Unavailable where its circuit is open."""
        if seconds := endpoint.circuit.refuses():
            raise errors.left_alone(self.id, max(1.0, seconds))
        return Lease(self, endpoint, model, is_repeated=False)

    @contextlib.contextmanager
    def busy(self, adapter: object) -> Iterator[None]:
        """Keeps an endpoint's adapter from being taken for idle while the block runs."""
        endpoint = next(one for one in self.endpoints if one.adapter is adapter)
        endpoint.in_flight += 1
        try:
            yield
        finally:
            endpoint.in_flight -= 1

    def has_another(self, model: ModelSpec, tried: Sequence[Endpoint]) -> bool:
        """Whether an endpoint is there that is not among those tried, and may be asked for the model now."""
        if len(self.endpoints) == 1:
            return False
        now = self.clock()
        return any(
            one not in tried and not one.circuit.refuses() and not one.rests_until(model.id, now)
            for one in self.endpoints
        )

    def met_limit(self, endpoint: Endpoint, model: str, seconds: float) -> None:
        """Notes that an endpoint's limit for a model was met, which ends in so many seconds."""
        endpoint.rest(model, self.clock() + min(seconds, LONGEST_REST_SECONDS))

    async def complete(self, turn: Turn, model: ModelSpec) -> Reply:
        """Returns the whole reply of one endpoint."""
        lease = self.lease(model)
        try:
            reply = await lease.endpoint.adapter.complete(turn, model)
            lease.succeeded()
            return reply
        except GaiaError as failure:
            lease.failed(failure)
            raise
        finally:
            lease.end()

    async def stream(self, turn: Turn, model: ModelSpec) -> AsyncGenerator[Delta]:
        """Yields the reply of one endpoint as it arrives."""
        lease = self.lease(model)
        try:
            async with aclosing(lease.endpoint.adapter.stream(turn, model)) as deltas:
                async for delta in deltas:
                    yield delta
            lease.succeeded()
        except GaiaError as failure:
            lease.failed(failure)
            raise
        finally:
            lease.end()

    @property
    def in_flight(self) -> int:
        """How many calls have not ended, which closing it would break off."""
        return sum(endpoint.in_flight for endpoint in self.endpoints)

    @property
    def is_left_alone(self) -> bool:
        """Whether the circuits of all are open."""
        return all(endpoint.circuit.is_open for endpoint in self.endpoints)

    async def probe(self) -> None:
        """Asks every endpoint whether it answers. Raises the first failure, when all were asked."""
        failures: list[GaiaError] = []
        for endpoint in self.endpoints:
            try:
                await self.probe_endpoint(endpoint)
            except FAULTS as failure:
                failures.append(failure)
        if failures:
            raise failures[0]

    async def probe_endpoint(self, endpoint: Endpoint) -> None:
        """Asks an endpoint whether it answers, and tells its circuit. Raises its failure."""
        try:
            await endpoint.adapter.probe()
        except FAULTS as failure:
            endpoint.circuit.probed(answered=answered(failure) is not False)
            raise
        endpoint.circuit.probed(answered=True)

    async def close(self) -> None:
        """Closes the connections of all."""
        for endpoint in self.endpoints:
            await endpoint.adapter.close()

    def _left_alone(self) -> GaiaError:
        return errors.left_alone(self.id, max(1.0, min(one.circuit.refuses() for one in self.endpoints)))


class _Log:
    """Tells the operator what becomes of a circuit."""

    def __init__(self, provider: str, number: int, count: int) -> None:
        self._about = {"provider": provider, "endpoint": f"{number} of {count}"}

    def opened(self, seconds: float) -> None:
        logger.warning(
            "a provider failed too often and is left alone", extra={**self._about, "seconds": round(seconds, 1)}
        )

    def closed(self) -> None:
        logger.info("a provider answers again", extra=self._about)
