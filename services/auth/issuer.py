"""An issuer outside of Gaia whose JWTs are accepted beside API keys: its keys, and what its tokens say."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import jwt

from shared.errors import Unauthenticated
from shared.identity.token import CLOCK_SKEW_SECONDS

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures with public keys only: what verifies must not be able to sign."""
INVALID_JWT = "the token is not valid; get a new one from its issuer"
KEYS_SECONDS = 600.0
"""How long the issuer's keys are used before they are fetched again."""
REFETCH_SECONDS = 10.0
"""Least time between two fetches, so that made-up key ids cannot flood the issuer."""


class KeySource(Protocol):
    """Where an issuer's public keys come from."""

    async def fetch(self) -> Mapping[str, jwt.PyJWK]:
        """Returns the keys by `kid`. Raises Unavailable when the issuer does not answer as it should."""


@dataclass(frozen=True, slots=True)
class OutsideIdentity:
    """What a token of the issuer says: whom, with what scopes (None: nothing about them), until when (since 1970)."""

    email: str
    scopes: frozenset[str] | None
    expires_at: float


class OutsideIssuer:
    """Verifies the tokens of one issuer for one audience (OpenID Connect Core, section 3.1.3.7).

    `user_claim` holds the email address that names the user; an address that the issuer calls unverified names nobody.
    `scopes_claim` holds scopes, as a list or separated by spaces; empty: tokens say nothing about scopes.
    """

    def __init__(
        self,
        name: str,
        audience: str,
        keys: KeySource,
        *,
        user_claim: str = "email",
        scopes_claim: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._audience = audience
        self._source = keys
        self._user_claim = user_claim
        self._scopes_claim = scopes_claim
        self._clock = clock
        self._keys: Mapping[str, jwt.PyJWK] = {}
        self._fetched_at = float("-inf")
        self._fetching: asyncio.Task[None] | None = None

    def issued(self, token: str) -> bool:
        """Whether a token says that it is of this issuer; nothing is verified."""
        try:
            claims = jwt.decode(token, options={"verify_signature": False})
        except jwt.InvalidTokenError:
            return False
        return claims.get("iss") == self.name

    async def verify(self, token: str) -> OutsideIdentity:
        """Returns what a token says. Raises Unauthenticated, or Unavailable when its keys cannot be had."""
        try:
            kid = jwt.get_unverified_header(token).get("kid", "")
        except jwt.InvalidTokenError as error:
            raise Unauthenticated(INVALID_JWT) from error
        key = await self._key(kid)
        if key is None:
            raise Unauthenticated(INVALID_JWT)
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                audience=self._audience,
                issuer=self.name,
                leeway=CLOCK_SKEW_SECONDS,
                options={"require": ["exp", "iat", "iss", "aud", "sub"]},
            )
            expires_at = float(claims["exp"])
        except (jwt.InvalidTokenError, TypeError, ValueError, OverflowError) as error:
            raise Unauthenticated(INVALID_JWT) from error
        email = claims.get(self._user_claim)
        if not isinstance(email, str) or "@" not in email or claims.get("email_verified") is False:
            raise Unauthenticated(f"the token's claim {self._user_claim} holds no verified email address")
        return OutsideIdentity(email.strip(), self._scopes(claims), expires_at)

    def _scopes(self, claims: Mapping[str, Any]) -> frozenset[str] | None:
        if not self._scopes_claim:
            return None
        listed = claims.get(self._scopes_claim)
        if isinstance(listed, str):
            return frozenset(listed.split())
        return frozenset(one for one in listed if isinstance(one, str)) if isinstance(listed, list) else frozenset()

    async def _key(self, kid: str) -> jwt.PyJWK | None:
        age = self._clock() - self._fetched_at
        known = self._keys.get(kid)
        if self._fetching is None and (age > KEYS_SECONDS or (known is None and age > REFETCH_SECONDS)):
            self._fetching = asyncio.ensure_future(self._fetch())
        if known is None and self._fetching is not None:
            # shield: a caller that leaves must not fail the others that wait for the same keys
            await asyncio.shield(self._fetching)
            return self._keys.get(kid)
        # A known key serves while newer ones are on their way, and while the issuer is away.
        return known

    async def _fetch(self) -> None:
        try:
            self._keys = await self._source.fetch()
            self._fetched_at = self._clock()
        finally:
            self._fetching = None
