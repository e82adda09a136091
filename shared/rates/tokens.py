"""Tokens a minute, of a key and of an address: asked for before a model is called, and settled when it was."""

from collections.abc import Sequence

from shared.errors import TokensExhausted
from shared.identity.principal import Principal
from shared.rates.addresses import subscriber_of
from shared.rates.limiter import RateLimiter, Verdict

Limit = tuple[str, str, int]
"""Who is limited, in words; the key that is counted under; how much a minute."""


class TokenLimit:
    """Holds callers to the `tokens_per_minute` of their keys, and addresses to `per_address` (0: no limit).

    Callers without a limit cost nothing. An address is the client's, as `telemetry.client_address` has it; an empty one
    is not counted.
    """

    def __init__(self, limiter: RateLimiter, *, per_address: int = 0) -> None:
        self._limiter = limiter
        self._per_address = per_address

    def holds(self, caller: Principal, address: str) -> bool:
        """Whether anything limits a caller at an address."""
        return caller.limits.tokens_per_minute is not None or bool(self._per_address and address)

    async def admit(self, caller: Principal, address: str, estimate: int) -> None:
        """Counts what a call will use at least, such as its prompt.

        Raises TokensExhausted, saying when to try again, when that is more than is left of this minute.
        """
        for who, key, limit in self._limits(caller, address):
            verdict = self._limiter.hit(key, limit, max(1, estimate))
            if not isinstance(verdict, Verdict):
                verdict = await verdict
            if not verdict.allowed:
                raise TokensExhausted(
                    f"{who} may use {limit} tokens a minute and has {verdict.remaining} left; "
                    f"the call needs {estimate}",
                    limit=limit,
                    remaining=verdict.remaining,
                    reset=verdict.reset,
                )

    async def settle(self, caller: Principal, address: str, estimate: int, used: int) -> None:
        """Counts what a call used beyond what it was admitted for; the next ones wait for it."""
        if used > max(1, estimate):
            for _, key, _ in self._limits(caller, address):
                await self._limiter.charge(key, used - max(1, estimate))

    def _limits(self, caller: Principal, address: str) -> Sequence[Limit]:
        limits: list[Limit] = []
        if self._per_address and address:
            counted = subscriber_of(address) or address
            limits.append(("this address", f"tokens/address/{counted}", self._per_address))
        if caller.limits.tokens_per_minute is not None:
            key = f"tokens/{caller.api_key_id or caller.user_id}"
            limits.append(("this key", key, caller.limits.tokens_per_minute))
        return limits
