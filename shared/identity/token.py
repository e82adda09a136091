"""Identity tokens: short JWTs, signed by auth with EdDSA (RFC 8037), that every service verifies.

`shared.identity.claims` lists what they say. The header's `kid` names the signing key.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.errors import Unauthenticated
from shared.identity.claims import AUDIENCE, ISSUER, LIFETIME_SECONDS, IdentityClaims, decode_claims
from shared.identity.jwt_form import MAX_JWT_LENGTH
from shared.identity.principal import Principal
from shared.identity.revocations import Revocation, RevocationFeed

CLOCK_SKEW_SECONDS = 5
MAX_TOKEN_LENGTH = MAX_JWT_LENGTH
"""Room for a principal with as many models as a key can have; gRPC metadata takes 32 KiB."""
_CACHE_SIZE = 4096
_REFETCH_SECONDS = 1.0
"""Least time between two fetches of signing keys, so that forged key ids cannot flood auth."""
NEVER = float("-inf")
T = TypeVar("T")
SigningKeys = Mapping[str, Ed25519PublicKey]
INVALID_TOKEN = "the identity token is not valid; authenticate again"  # noqa: S105 - a message, not a token


@dataclass(frozen=True, slots=True)
class CheckedIdentity:
    """What auth says of a token now. `sequence` is the newest revocation that this takes into account."""

    principal: Principal
    sequence: int


@dataclass(slots=True)
class _Verified:
    """A token that was good as of a revocation's number. Times are monotonic seconds."""

    principal: Principal
    sequence: int
    ends_at: float
    checked_at: float


class TokenVerifier:
    """Verifies identity tokens, caching those that are valid until they end.

    A token is believed as it stands while the revocation feed vouches for it. Otherwise `check` asks auth: so a revoked
    key ends when its revocation arrives, and never later than `TRUST_SECONDS`.

    `fetch_keys` returns auth's signing keys by `kid`; it is asked when an unknown `kid` appears, at most once a second.
    `clock` is the wall's, for the times in tokens; what is cached lives by `monotonic`, so that a clock that is set
    neither lengthens nor ends it. For metrics: `hits` were answered from the cache, `misses` had to be verified,
    `refused` of them were not valid.
    """

    def __init__(
        self,
        environment: str,
        fetch_keys: Callable[[], Awaitable[SigningKeys]],
        check: Callable[[str], Awaitable[CheckedIdentity]],
        feed: RevocationFeed,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._environment = environment
        self._fetch_keys = fetch_keys
        self._check = check
        self._feed = feed
        self._clock = clock
        self._monotonic = monotonic
        self._keys: SigningKeys = {}
        self._fetched_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None
        self._verified: OrderedDict[str, _Verified] = OrderedDict()
        self._refused: OrderedDict[str, float] = OrderedDict()
        self.hits = self.misses = self.refused = 0
        feed.listen(self._forget)

    def cached(self, token: str) -> Principal | None:
        """Returns the principal of a token verified before and still vouched for, without any I/O."""
        entry = self._verified.get(token)
        if entry is None or entry.ends_at <= self._monotonic():
            return None
        if not self._feed.vouches_for(entry.principal, entry.sequence, entry.checked_at):
            return None
        self.hits += 1
        return entry.principal

    def __len__(self) -> int:
        """How many tokens are cached."""
        return len(self._verified)

    async def verify(self, token: str) -> Principal:
        """Returns the principal of a token. Raises Unauthenticated, or Unavailable when auth cannot be asked."""
        if principal := self.cached(token):
            return principal
        self.misses += 1
        try:
            return await self._verify(token)
        except Unauthenticated:
            self.refused += 1
            raise

    async def _verify(self, token: str) -> Principal:
        now = self._monotonic()
        if len(token) > MAX_TOKEN_LENGTH or self._refused.get(token, 0.0) > now:
            raise Unauthenticated(INVALID_TOKEN)
        claims, expires_at = await self.decode(token)
        # Bounded by what a token may live, so that a wall clock set back lengthens nothing.
        ends_at = now + min(expires_at - self._clock(), LIFETIME_SECONDS + 2 * CLOCK_SKEW_SECONDS)
        entry = _Verified(claims.principal, claims.sequence, ends_at, NEVER)
        if not self._feed.vouches_for(entry.principal, entry.sequence, NEVER):
            try:
                checked = await self._check(token)
            except Unauthenticated:
                _keep(self._refused, token, ends_at, _CACHE_SIZE)
                raise
            entry = _Verified(checked.principal, checked.sequence, ends_at, now)
        _keep(self._verified, token, entry, _CACHE_SIZE)
        return entry.principal

    async def decode(self, token: str) -> tuple[IdentityClaims, float]:
        """Returns what a well-signed token says and when it ends (wall clock), clock skew included.

        Raises Unauthenticated for a token that is forged, expired, of another environment, issuer or audience. Does not
        ask whether what it says still holds.
        """
        try:
            kid = jwt.get_unverified_header(token).get("kid", "")
        except jwt.InvalidTokenError as error:
            raise Unauthenticated(INVALID_TOKEN) from error
        key = self._keys.get(kid) or await self._refetch(kid)
        if key is None:
            raise Unauthenticated(INVALID_TOKEN)
        try:
            encoded = jwt.decode(
                token,
                key,
                algorithms=["EdDSA"],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={"require": ["exp", "iat", "sub", "aud", "iss"], "verify_exp": False, "verify_iat": False},
            )
            issued_at, expires_at = float(encoded["iat"]), float(encoded["exp"])
            claims = decode_claims(encoded)
        except (jwt.InvalidTokenError, TypeError, ValueError, OverflowError) as error:
            raise Unauthenticated(INVALID_TOKEN) from error
        now = self._clock()
        in_time = issued_at - CLOCK_SKEW_SECONDS <= now < expires_at + CLOCK_SKEW_SECONDS
        is_ours = claims.principal.environment == self._environment
        if not in_time or not is_ours or expires_at - issued_at > LIFETIME_SECONDS:
            raise Unauthenticated(INVALID_TOKEN)
        return claims, expires_at + CLOCK_SKEW_SECONDS

    def _forget(self, event: Revocation) -> None:
        if event.reset:
            self._verified.clear()
            self._refused.clear()

    async def _refetch(self, kid: str) -> Ed25519PublicKey | None:
        if self._fetching is None:
            if self._monotonic() - self._fetched_at < _REFETCH_SECONDS:
                return self._keys.get(kid)
            self._fetching = asyncio.ensure_future(self._fetch())
        # shield: a caller that leaves must not fail the others that wait for the same keys
        await asyncio.shield(self._fetching)
        return self._keys.get(kid)

    async def _fetch(self) -> None:
        try:
            self._keys = await self._fetch_keys()
            # Only an answer counts: while auth is away, an unknown key id must not look like a bad token.
            self._fetched_at = self._monotonic()
        finally:
            self._fetching = None


def _keep(cache: "OrderedDict[str, T]", token: str, value: T, size: int) -> None:
    cache[token] = value
    cache.move_to_end(token)
    while len(cache) > size:
        cache.popitem(last=False)
