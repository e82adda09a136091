"""Turning a credential into a principal."""

import datetime as dt
import hmac
from collections.abc import Callable
from dataclasses import dataclass

from services.auth.models import Credential
from services.auth.signing import IdentitySigner
from services.auth.store import Store
from shared.errors import Unauthenticated
from shared.identity import api_key
from shared.identity.authenticator import INVALID_KEY
from shared.identity.principal import Principal

MAX_KEY_LENGTH = 256


@dataclass(frozen=True, slots=True)
class SignedIdentity:
    """A principal with its identity token; `expires_at` in seconds since 1970."""

    principal: Principal
    token: str
    expires_at: float
    revocation_sequence: int


class CredentialCheck:
    """Checks API keys of one environment."""

    def __init__(self, environment: str, store: Store, signer: IdentitySigner, now: Callable[[], dt.datetime]) -> None:
        self._environment = environment
        self._store = store
        self._signer = signer
        self._now = now

    async def authenticate(self, key: str) -> SignedIdentity:
        """Returns the identity behind a key, from one indexed query.

        Raises Unauthenticated, the same for an unknown, revoked, expired or inactive key; a key with a wrong form or
        checksum is refused before anything is asked. Keys of another platform, moved here by their SHA-256, have
        another form: they are looked up too.
        """
        if not key or len(key) > MAX_KEY_LENGTH or (key.startswith("gaia_") and not api_key.is_well_formed(key)):
            raise Unauthenticated(INVALID_KEY)
        digest = api_key.digest(key)
        found = await self._store.find_credential(digest)
        if found is None or not hmac.compare_digest(found.digest, digest) or not self._is_live(found):
            raise Unauthenticated(INVALID_KEY)
        principal = Principal(
            user_id=str(found.user_id),
            email=found.email,
            api_key_id=str(found.api_key_id),
            scopes=frozenset(found.scopes),
            environment=self._environment,
        )
        token, expires_at = self._signer.sign(principal)
        return SignedIdentity(principal, token, expires_at, found.revocation_sequence)

    def _is_live(self, found: Credential) -> bool:
        expired = found.expires_at is not None and found.expires_at <= self._now()
        return found.key_is_active and found.user_is_active and not expired
