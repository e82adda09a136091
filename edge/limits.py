"""Which limits a request is counted against, and what the client is told of them."""

from collections.abc import Awaitable, Sequence

from google.rpc import code_pb2
from starlette.types import Scope

from edge.transcoding.errors import failure
from edge.transcoding.headers import Header
from shared.identity.principal import Principal
from shared.rates.limiter import RateLimiter, Verdict

RESPONSE_HEADERS = "response_headers"
"""Where in a scope's state the transcoder finds headers to add to the response."""
_TOLD = "rate_verdict"

Limit = tuple[str, str, int]
"""What the limit is of, in words; the key it is counted under; how much a minute."""


class RequestLimits:
    """Counts requests by key and by address. `per_key` holds for keys without a limit of their own; 0 is no limit."""

    def __init__(self, limiter: RateLimiter, *, per_key: int = 0, per_address: int = 0) -> None:
        self._limiter = limiter
        self._per_key = per_key
        self.per_address = per_address

    def of_address(self, address: str, method: str = "", method_limit: int = 0) -> Sequence[Limit]:
        """The limits that an address is counted against, whoever calls."""
        limits: list[Limit] = []
        if self.per_address:
            limits.append(("from this address", f"address/{address}", self.per_address))
        if method_limit:
            limits.append(("of this kind from this address", f"method/{method}/{address}", method_limit))
        return limits

    def of_caller(self, principal: Principal) -> Sequence[Limit]:
        """The limits that a caller is counted against; both secrets of a rotating key count as one."""
        limit = principal.limits.requests_per_minute or self._per_key
        if not limit:
            return ()
        return (("with this key", f"key/{principal.api_key_id or principal.user_id}", limit),)

    def count(self, scope: Scope, limits: Sequence[Limit]) -> Awaitable[None] | None:
        """Counts a request; None when that is already done. Raises RpcFailure, 429, when there were too many."""
        tightest: Verdict | None = None
        for number, (what, key, limit) in enumerate(limits):
            verdict = self._limiter.hit(key, limit)
            if not isinstance(verdict, Verdict):
                return self._count_shared(scope, verdict, limits[number:])
            tightest = _tighter(scope, tightest, verdict, what)
        if tightest is not None:
            _tell(scope, tightest)
        return None

    async def _count_shared(self, scope: Scope, first: Awaitable[Verdict], limits: Sequence[Limit]) -> None:
        tightest = _tighter(scope, None, await first, limits[0][0])
        for what, key, limit in limits[1:]:
            verdict = self._limiter.hit(key, limit)
            tightest = _tighter(scope, tightest, verdict if isinstance(verdict, Verdict) else await verdict, what)
        _tell(scope, tightest)


def _tighter(scope: Scope, known: Verdict | None, verdict: Verdict, what: str) -> Verdict:
    if not verdict.allowed:
        _tell(scope, verdict)
        message = f"more than {verdict.limit} requests a minute {what}; wait {verdict.reset} s"
        headers = ((b"retry-after", b"%d" % verdict.reset),)
        raise failure(code_pb2.RESOURCE_EXHAUSTED, message, headers=headers)
    return verdict if known is None or verdict.remaining < known.remaining else known


def _tell(scope: Scope, verdict: Verdict) -> None:
    state = scope["state"]
    # A request is counted by address first and by key later: the tighter one is told.
    told = state.get(_TOLD)
    if told is not None and told.remaining <= verdict.remaining and verdict.allowed:
        return
    state[_TOLD] = verdict
    others = [header for header in state.get(RESPONSE_HEADERS, ()) if not header[0].startswith(b"x-ratelimit-")]
    state[RESPONSE_HEADERS] = [*others, *_headers(verdict)]


def _headers(verdict: Verdict) -> list[Header]:
    return [
        (b"x-ratelimit-limit", b"%d" % verdict.limit),
        (b"x-ratelimit-remaining", b"%d" % verdict.remaining),
        (b"x-ratelimit-reset", b"%d" % verdict.reset),
    ]
