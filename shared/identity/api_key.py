"""The format of API keys: `gaia_<env>_<32 random characters><6 characters of CRC-32>`, all base62.

The random part holds 190 bits. The checksum is of everything before it: it rejects a typo before anything is asked, and
lets secret scanners tell a key from a look-alike.
"""

import hashlib
import re
import secrets
import zlib

PATTERN = r"gaia_[a-z][a-z0-9]{0,15}_[0-9A-Za-z]{38}"
"""Regular expression of a key, for secret scanners."""

MAX_LENGTH = 256
"""Longest key, of whatever origin."""

_FOREIGN = re.compile(rf"[\x21-\x7e]{{8,{MAX_LENGTH}}}")
_KEY = re.compile(PATTERN)
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_LENGTH = 32
_CHECKSUM_LENGTH = 6  # 62**6 > 2**32


def generate(environment: str) -> str:
    """Makes a new key for an environment."""
    body = f"gaia_{environment}_" + "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH))
    return body + _checksum(body)


def is_well_formed(key: str) -> bool:
    """Whether the text has the form of a key and its checksum is right. Asks nobody."""
    return _KEY.fullmatch(key) is not None and _checksum(key[:-_CHECKSUM_LENGTH]) == key[-_CHECKSUM_LENGTH:]


def is_plausible(key: str) -> bool:
    """Whether it is worth asking about the text. Asks nobody.

    What begins like a key of Gaia has to be well-formed. Keys of another platform, moved here by their SHA-256, have
    another form: any printable ASCII without spaces, up to `MAX_LENGTH` characters.
    """
    if key.startswith("gaia_"):
        return is_well_formed(key)
    return _FOREIGN.fullmatch(key) is not None


def digest(key: str) -> str:
    """SHA-256 of the key in hexadecimal: what is stored and what caches are indexed by."""
    return hashlib.sha256(key.encode()).hexdigest()


def public_prefix(key: str) -> str:
    """The part of a key that is no secret, `gaia_<env>_`."""
    return key[: key.rindex("_") + 1]


def _checksum(body: str) -> str:
    value, characters = zlib.crc32(body.encode()), []
    for _ in range(_CHECKSUM_LENGTH):
        value, digit = divmod(value, 62)
        characters.append(_ALPHABET[digit])
    return "".join(reversed(characters))
