"""Identity tokens: short JWTs, signed by auth with EdDSA (RFC 8037), that every service verifies.

Claims: `iss` (`gaia-auth`), `aud` (`gaia`), `sub` (user id), `email`, `kid_of_key` (API key id), `scopes`, `env`,
`iat`, `exp`. The header's `kid` names the signing key.
"""

import time
from collections.abc import Awaitable, Callable, Mapping

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.errors import Unauthenticated
from shared.identity.principal import Principal

ISSUER = "gaia-auth"
AUDIENCE = "gaia"
LIFETIME_SECONDS = 60
CLOCK_SKEW_SECONDS = 5
MAX_TOKEN_LENGTH = 4096
_CACHE_SIZE = 4096
_REFETCH_SECONDS = 1.0
"""Least time between two fetches of signing keys, so that forged key ids cannot flood auth."""

SigningKeys = Mapping[str, Ed25519PublicKey]
INVALID_TOKEN = "the identity token is not valid; authenticate again"  # noqa: S105 - a message, not a token


class TokenVerifier:
    """Verifies identity tokens, caching those that are valid until they end.

    `fetch_keys` returns auth's signing keys by `kid`; it is asked when an unknown `kid` appears, at most once a second.
    """

    def __init__(
        self,
        environment: str,
        fetch_keys: Callable[[], Awaitable[SigningKeys]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._environment = environment
        self._fetch_keys = fetch_keys
        self._clock = clock
        self._keys: SigningKeys = {}
        self._fetched_at = float("-inf")
        self._verified: dict[str, tuple[Principal, float]] = {}
        self._revoked: dict[str, float] = {}

    def cached(self, token: str) -> Principal | None:
        """Returns the principal of a token verified before and still good, without any I/O."""
        entry = self._verified.get(token)
        if entry is None or entry[1] <= self._clock():
            return None
        return entry[0]

    async def verify(self, token: str) -> Principal:
        """Returns the principal of a token. Raises Unauthenticated, or Unavailable when auth cannot be asked."""
        if principal := self.cached(token):
            return principal
        if len(token) > MAX_TOKEN_LENGTH:
            raise Unauthenticated(INVALID_TOKEN)
        try:
            kid = jwt.get_unverified_header(token).get("kid", "")
        except jwt.InvalidTokenError as error:
            raise Unauthenticated(INVALID_TOKEN) from error
        key = self._keys.get(kid) or await self._refetch(kid)
        if key is None:
            raise Unauthenticated(INVALID_TOKEN)
        principal, expires_at = self._decode(token, key)
        if self._is_revoked(principal.api_key_id) or self._is_revoked(principal.user_id):
            raise Unauthenticated(INVALID_TOKEN)
        if len(self._verified) >= _CACHE_SIZE:
            self._verified.clear()
        self._verified[token] = (principal, expires_at)
        return principal

    def revoke(self, identifier: str) -> None:
        """Refuses, from now on, tokens issued so far for an API key or a user."""
        now = self._clock()
        self._revoked = {known: until for known, until in self._revoked.items() if until > now}
        self._revoked[identifier] = now + LIFETIME_SECONDS + CLOCK_SKEW_SECONDS
        self._verified = {
            token: entry
            for token, entry in self._verified.items()
            if identifier not in (entry[0].api_key_id, entry[0].user_id)
        }

    def _is_revoked(self, identifier: str) -> bool:
        return self._revoked.get(identifier, 0.0) > self._clock()

    async def _refetch(self, kid: str) -> Ed25519PublicKey | None:
        now = self._clock()
        if now - self._fetched_at >= _REFETCH_SECONDS:
            self._keys = await self._fetch_keys()
            self._fetched_at = now
        return self._keys.get(kid)

    def _decode(self, token: str, key: Ed25519PublicKey) -> tuple[Principal, float]:
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=["EdDSA"],
                audience=AUDIENCE,
                issuer=ISSUER,
                leeway=CLOCK_SKEW_SECONDS,
                options={"require": ["exp", "iat", "sub", "aud", "iss"]},
            )
            if claims["env"] != self._environment:
                raise Unauthenticated(INVALID_TOKEN)
            principal = Principal(
                user_id=claims["sub"],
                email=claims["email"],
                api_key_id=claims["kid_of_key"],
                scopes=frozenset(claims["scopes"]),
                environment=claims["env"],
            )
        except (jwt.InvalidTokenError, KeyError, TypeError) as error:
            raise Unauthenticated(INVALID_TOKEN) from error
        return principal, float(claims["exp"]) + CLOCK_SKEW_SECONDS
