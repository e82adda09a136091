"""Signing identity tokens: the only place that holds private keys."""

import base64
import binascii
import hashlib
import time
from collections.abc import Callable, Sequence

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.identity.principal import Principal
from shared.identity.token import AUDIENCE, ISSUER, LIFETIME_SECONDS, SigningKeys

SEED_BYTES = 32


class IdentitySigner:
    """Signs identity tokens with the first of several Ed25519 keys; all of them verify."""

    def __init__(self, keys: Sequence[Ed25519PrivateKey], clock: Callable[[], float] = time.time) -> None:
        if not keys:
            raise ValueError("there is no signing key")
        self._clock = clock
        self._signing = keys[0]
        self.public_keys: SigningKeys = {key_id(key): key.public_key() for key in keys}
        self._kid = next(iter(self.public_keys))

    def sign(self, principal: Principal) -> tuple[str, float]:
        """Returns an identity token and when it ends, in seconds since 1970."""
        now = int(self._clock())
        expires_at = now + LIFETIME_SECONDS
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": principal.user_id,
            "email": principal.email,
            "kid_of_key": principal.api_key_id,
            "scopes": sorted(principal.scopes),
            "env": principal.environment,
            "iat": now,
            "exp": expires_at,
        }
        return jwt.encode(claims, self._signing, algorithm="EdDSA", headers={"kid": self._kid}), float(expires_at)


def key_id(key: Ed25519PrivateKey) -> str:
    """Names a key by the first 16 hexadecimal digits of its public half's SHA-256."""
    return hashlib.sha256(key.public_key().public_bytes_raw()).hexdigest()[:16]


def parse_signing_keys(text: str) -> list[Ed25519PrivateKey]:
    """Reads keys: base64url seeds of 32 bytes, separated by commas or white space, the signing one first.

    Raises ValueError that says which of them is wrong, without repeating it.
    """
    keys = []
    for number, seed in enumerate(text.replace(",", " ").split(), start=1):
        try:
            raw = base64.b64decode(seed + "=" * (-len(seed) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            raw = b""
        if len(raw) != SEED_BYTES:
            raise ValueError(f"key {number} is not a base64url seed of {SEED_BYTES} bytes")
        keys.append(Ed25519PrivateKey.from_private_bytes(raw))
    if not keys:
        raise ValueError("holds no key; it needs at least one base64url seed of 32 bytes")
    return keys
