"""Telling a JWT from an API key by its looks."""

import re

MAX_JWT_LENGTH = 8192
# A JSON object in base64url begins with `eyJ`; no key of Gaia's holds a dot.
_JWT = re.compile(r"eyJ[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


def looks_like_jwt(credential: str) -> bool:
    """Whether a credential has the form of a signed JWT (RFC 7515, compact serialisation). Nothing is verified."""
    return credential.startswith("eyJ") and len(credential) <= MAX_JWT_LENGTH and _JWT.fullmatch(credential) is not None
