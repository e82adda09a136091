"""Tokens a minute of a key: asked for before a model is called, and settled when it is known what was used."""

from shared.errors import ResourceExhausted
from shared.identity.principal import Principal
from shared.rates.limiter import RateLimiter, Verdict


class TokenLimit:
    """Holds callers to the `tokens_per_minute` of their keys; callers without a limit cost nothing."""

    def __init__(self, limiter: RateLimiter) -> None:
        self._limiter = limiter

    async def admit(self, caller: Principal, estimate: int) -> None:
        """Counts what a call will use at least, such as its prompt.

        Raises ResourceExhausted, saying when to try again, when that is more than is left of this minute.
        """
        limit = caller.limits.tokens_per_minute
        if limit is None:
            return
        verdict = self._limiter.hit(_key(caller), limit, max(1, estimate))
        if not isinstance(verdict, Verdict):
            verdict = await verdict
        if not verdict.allowed:
            raise ResourceExhausted(
                f"this key may use {limit} tokens a minute and has {verdict.remaining} left; the call needs {estimate}",
                reason="TOKENS_PER_MINUTE",
                retry_after=float(verdict.reset),
            )

    async def settle(self, caller: Principal, estimate: int, used: int) -> None:
        """Counts what a call used beyond what it was admitted for; the next ones wait for it."""
        if caller.limits.tokens_per_minute is not None and used > max(1, estimate):
            await self._limiter.charge(_key(caller), used - max(1, estimate))


def _key(caller: Principal) -> str:
    return f"tokens/{caller.api_key_id or caller.user_id}"
