"""Turning a credential into a principal."""

import datetime as dt
import hmac
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

from services.auth.models import Credential
from services.auth.outside import OutsideUsers
from services.auth.signing import IdentitySigner, SignedToken
from services.auth.store import Store
from services.auth.usage import UseRecorder
from shared.errors import Unauthenticated
from shared.identity import api_key
from shared.identity.authenticator import INVALID_KEY
from shared.identity.claims import IdentityClaims
from shared.identity.principal import Principal
from shared.identity.token import INVALID_TOKEN, MAX_TOKEN_LENGTH, CheckedIdentity

_GENERATION_LENGTH = 16
_NO_DIGEST = "0" * 64
OUTSIDE = "outside"
"""Stands in identity tokens for the secret where there was none, but a token of the outside issuer."""


@dataclass(frozen=True, slots=True)
class SignedIdentity:
    """A principal with its identity token."""

    principal: Principal
    token: SignedToken
    revocation_sequence: int


class CredentialCheck:
    """Checks API keys of one environment, and JWTs of an outside issuer if there is one."""

    def __init__(
        self,
        environment: str,
        store: Store,
        signer: IdentitySigner,
        uses: UseRecorder,
        now: Callable[[], dt.datetime],
        outside: OutsideUsers | None = None,
    ) -> None:
        self._environment = environment
        self._store = store
        self._signer = signer
        self._uses = uses
        self._now = now
        self._outside = outside

    async def authenticate(self, key: str) -> SignedIdentity:
        """Returns the identity behind a key, from one indexed query.

        Raises Unauthenticated, the same for an unknown, revoked, expired or inactive key; a key with a wrong form or
        checksum is refused before anything is asked.
        """
        if not api_key.is_plausible(key):
            raise Unauthenticated(INVALID_KEY)
        digest = api_key.digest(key)
        found = await self._store.find_credential(digest)
        now = self._now()
        ends = _ends(found, digest, now)
        if found is None or ends is None or not _is_live(found, now):
            raise Unauthenticated(INVALID_KEY)
        end = min((moment for moment in (found.expires_at, *ends) if moment is not None), default=None)
        self._uses.record(found.api_key_id, now)
        return self._signed(self._principal(found), found.revocation_sequence, digest[:_GENERATION_LENGTH], end)

    async def authenticate_token(self, token: str) -> SignedIdentity:
        """Returns the identity behind a JWT of the outside issuer.

        Raises Unauthenticated, also where there is no such issuer, and Unavailable when it cannot be asked.
        """
        if self._outside is None or len(token) > MAX_TOKEN_LENGTH:
            raise Unauthenticated(INVALID_KEY)
        user, scopes, end = await self._outside.identify(token)
        principal = Principal(
            str(user.id),
            user.email,
            "",
            scopes,
            self._environment,
            user_monthly_budget_usd=user.monthly_budget_usd,
        )
        return self._signed(principal, user.revocation_sequence, OUTSIDE, end)

    def issued_outside(self, token: str) -> bool:
        """Whether a token says that it is of the outside issuer; nothing is verified."""
        return self._outside is not None and len(token) <= MAX_TOKEN_LENGTH and self._outside.issued(token)

    async def check(self, claims: IdentityClaims) -> CheckedIdentity:
        """Returns who a well-signed identity token stands for now, from one query.

        Raises Unauthenticated when its key, its user or the secret that it was made from has ended.
        """
        if claims.generation == OUTSIDE and not claims.principal.api_key_id:
            return await self._check_outside(claims)
        found = await self._store.find_credential_by_id(_parse(claims.principal.api_key_id))
        now = self._now()
        if found is None or not _is_live(found, now) or not _is_live_generation(found, claims.generation, now):
            raise Unauthenticated(INVALID_TOKEN)
        return CheckedIdentity(self._principal(found), found.revocation_sequence)

    async def _check_outside(self, claims: IdentityClaims) -> CheckedIdentity:
        user = await self._store.find_account(user_id=_parse(claims.principal.user_id))
        if self._outside is None or user is None or not user.is_active:
            raise Unauthenticated(INVALID_TOKEN)
        scopes = claims.principal.scopes & self._outside.scopes
        principal = replace(claims.principal, scopes=scopes, user_monthly_budget_usd=user.monthly_budget_usd)
        return CheckedIdentity(principal, user.revocation_sequence)

    def _signed(self, principal: Principal, sequence: int, generation: str, end: dt.datetime | None) -> SignedIdentity:
        token = self._signer.sign(IdentityClaims(principal, sequence, generation), end)
        return SignedIdentity(principal, token, sequence)

    def _principal(self, found: Credential) -> Principal:
        return Principal(
            user_id=str(found.user_id),
            email=found.email,
            api_key_id=str(found.api_key_id),
            scopes=frozenset(found.permissions.scopes),
            environment=self._environment,
            allowed_models=frozenset(found.permissions.allowed_models),
            limits=found.permissions.limits,
            user_monthly_budget_usd=found.user_monthly_budget_usd,
        )


def _ends(found: Credential | None, digest: str, now: dt.datetime) -> tuple[dt.datetime, ...] | None:
    """When the secret that was presented ends (empty: never); None when it is none of the key's.

    Both comparisons are made whatever was found, and each takes the same time wherever the texts differ.
    """
    current = found.digest if found else _NO_DIGEST
    previous = (found.previous_digest if found else None) or _NO_DIGEST
    is_current, is_previous = hmac.compare_digest(current, digest), hmac.compare_digest(previous, digest)
    if is_current:
        return ()
    end = found.previous_expires_at if found else None
    return (end,) if is_previous and end is not None and end > now else None


def _is_live(found: Credential, now: dt.datetime) -> bool:
    expired = found.expires_at is not None and found.expires_at <= now
    return found.key_is_active and found.user_is_active and not expired


def _is_live_generation(found: Credential, generation: str, now: dt.datetime) -> bool:
    if found.digest[:_GENERATION_LENGTH] == generation:
        return True
    end = found.previous_expires_at
    return (found.previous_digest or "")[:_GENERATION_LENGTH] == generation and end is not None and end > now


def _parse(api_key_id: str) -> uuid.UUID:
    try:
        return uuid.UUID(api_key_id)
    except ValueError as error:
        raise Unauthenticated(INVALID_TOKEN) from error
