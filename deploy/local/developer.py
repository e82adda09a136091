"""The developer's user and key, and the seed that identities are signed with: made once, kept in the home."""

import base64
import hashlib
import os
import platform

from deploy.local.database import Connection, connected
from deploy.local.errors import StackError
from deploy.local.home import Home, write_secret
from services.auth.bootstrap import ensure_user_with_key
from services.auth.signing import SEED_BYTES
from shared.identity import api_key

EMAIL = "dev@gaia.local"
SCOPES = ("admin",)


def ensure_signing_keys(home: Home) -> None:
    """Makes the file of auth's signing keys if it is missing."""
    if not home.signing_keys.exists():
        write_secret(home.signing_keys, base64.urlsafe_b64encode(os.urandom(SEED_BYTES)).decode() + "\n")


async def ensure_developer_key(url: str, home: Home, environment: str) -> None:
    """Makes sure that the home holds a key of dev@gaia.local that works; a new one ends the one that was lost.

    `url` is the owner's. Raises StackError when the database cannot be reached.
    """
    async with connected(url) as connection:
        if await _works(connection, _read_key(home), environment):
            return
        name = _key_name(home)
        await connection.execute(
            "UPDATE api_keys k SET is_active = false, updated_at = now() FROM users u"
            " WHERE u.id = k.user_id AND lower(u.email) = lower($1) AND k.name = $2 AND k.is_active",
            EMAIL,
            name,
        )
        key = await ensure_user_with_key(connection, email=EMAIL, environment=environment, key_name=name, scopes=SCOPES)
    if key is None:  # only another start with the same name, between the two statements
        raise StackError("a key of this home was made by somebody else at the same moment; start again")
    write_secret(home.dev_api_key, key + "\n")


def _key_name(home: Home) -> str:
    """Names the key after this home, so that developers who share a database do not end each other's keys."""
    place = hashlib.sha256(f"{platform.node()}:{home.path}".encode()).hexdigest()[:12]
    return f"local development ({place})"


def _read_key(home: Home) -> str:
    try:
        return home.dev_api_key.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


async def _works(connection: Connection, key: str, environment: str) -> bool:
    if not api_key.is_well_formed(key) or api_key.public_prefix(key) != f"gaia_{environment}_":
        return False
    return bool(
        await connection.fetchval(
            "SELECT EXISTS (SELECT FROM api_keys k JOIN users u ON u.id = k.user_id WHERE k.key_hash = $1"
            " AND k.is_active AND u.is_active AND (k.expires_at IS NULL OR k.expires_at > now()))",
            api_key.digest(key),
        )
    )
