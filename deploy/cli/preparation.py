"""What `gaia db init` does."""

import base64
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from deploy.local.database import (
    SERVICES,
    connected,
    describe,
    ensure_database,
    ensure_roles,
    existing_roles,
    new_password,
    role_of,
    with_login,
)
from deploy.local.errors import StackError
from deploy.local.home import write_secret
from deploy.migrations.runner import migrate
from services.auth.bootstrap import ensure_user_with_key
from services.auth.signing import SEED_BYTES

KEY_NAME = "administrator"
SCOPES = ("admin",)
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_ENVIRONMENT = re.compile("[a-z][a-z0-9]{0,15}")  # as GAIA_ENV: it stands in every key


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the operator has to know: URLs with passwords that were made up, and the new key; both are kept nowhere."""

    new_urls: Mapping[str, str]
    unchanged: Sequence[str]
    """Services whose role was there and keeps its password."""
    key: str | None


async def prepare(url: str, *, email: str, environment: str, passwords: Mapping[str, str]) -> Prepared:
    """Creates the database if it is missing, the services' roles, the schema, the administrator and a key.

    A role gets the password given for its service; one that is new and has none given gets a made-up one. Raises
    StackError, and MigrationError.
    """
    _check(email, environment)
    await ensure_database(url)
    async with connected(url) as connection:
        there = await existing_roles(connection)
        made_up = {service: new_password() for service in SERVICES if service not in there and service not in passwords}
        try:
            await ensure_roles(connection, {**passwords, **made_up})
        except asyncpg.InsufficientPrivilegeError as error:
            raise StackError(
                f"DATABASE_URL: its user may not create roles on {describe(url)}; let an administrator of the server "
                f"create {', '.join(map(role_of, SERVICES))}, or use a user with CREATEROLE"
            ) from error
    migrate(url)
    async with connected(url) as connection:
        key = await ensure_user_with_key(
            connection, email=email, environment=environment, key_name=KEY_NAME, scopes=SCOPES
        )
    return Prepared(
        new_urls={service: with_login(url, role_of(service), password) for service, password in made_up.items()},
        unchanged=[service for service in SERVICES if service in there and service not in passwords],
        key=key,
    )


def _check(email: str, environment: str) -> None:
    """Raises StackError before anything is changed for what would only be found out afterwards."""
    if not _EMAIL.fullmatch(email):
        raise StackError(f"--user: {email!r} is no email address; it must be like admin@gaia.dev")
    if not _ENVIRONMENT.fullmatch(environment):
        raise StackError(
            f"--env: {environment!r} must begin with a letter and hold at most 16 lower-case letters and digits"
        )


def store_key(path: Path, key: str) -> None:
    """Writes the key where only its owner can read it. Raises StackError."""
    _store(path, key)


def store_signing_keys(path: Path) -> None:
    """Makes a file with a new signing key, if there is none. Raises StackError."""
    if not path.exists():
        _store(path, new_signing_key())


def new_signing_key() -> str:
    """Makes an Ed25519 seed as auth reads it."""
    return base64.urlsafe_b64encode(os.urandom(SEED_BYTES)).decode()


def _store(path: Path, secret: str) -> None:
    try:
        write_secret(path, secret + "\n")
    except OSError as error:
        raise StackError(f"cannot write {path}: {error.strerror}") from error
