"""Signing identity tokens: the only place that holds private keys."""

import base64
import binascii
import datetime as dt
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from shared.identity.claims import LIFETIME_SECONDS, IdentityClaims, encode_claims
from shared.identity.token import SigningKeys

SEED_BYTES = 32


@dataclass(frozen=True, slots=True)
class SignedToken:
    """An identity token: when it ends, in seconds since 1970, and how many seconds it lives from now on."""

    text: str
    expires_at: float
    lifetime: float


class IdentitySigner:
    """Signs identity tokens with the first of several Ed25519 keys; all of them verify."""

    def __init__(self, keys: Sequence[Ed25519PrivateKey], clock: Callable[[], float] = time.time) -> None:
        if not keys:
            raise ValueError("there is no signing key")
        self._clock = clock
        self._signing = keys[0]
        self.public_keys: SigningKeys = {key_id(key): key.public_key() for key in keys}
        self._kid = next(iter(self.public_keys))

    def sign(self, claims: IdentityClaims, not_after: dt.datetime | None = None) -> SignedToken:
        """Returns an identity token that ends in a minute, and with what it stands for, at `not_after`."""
        now = self._clock()
        expires_at = math.floor(now) + LIFETIME_SECONDS
        if not_after is not None:
            expires_at = min(expires_at, math.ceil(not_after.timestamp()))
        encoded = {**encode_claims(claims), "iat": math.floor(now), "exp": expires_at}
        token = jwt.encode(encoded, self._signing, algorithm="EdDSA", headers={"kid": self._kid})
        return SignedToken(token, float(expires_at), max(0.0, expires_at - now))


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
