"""Preparing a database for Gaia: the database itself, and a role for each service."""

import re
import secrets
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TypeAlias
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from deploy.local.errors import StackError

SERVICES = ("auth", "chat", "asset")
OWNER = "gaia_owner"
_UNREADABLE = "an address that cannot be read; special characters in a password must be percent-encoded"
CONNECT_SECONDS = 5.0

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"  # asyncpg's classes take type arguments in stubs only

_CANNOT_CONNECT = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError)
# A table that only this service's role may read: whether the schema was made when the role was there already.
_TABLES = {"auth": "users", "chat": "conversations", "asset": "assets"}


def role_of(service: str) -> str:
    """Names the role of a service."""
    return f"gaia_{service}"


def new_password() -> str:
    """Makes a password of 192 bits that needs no quoting in a URL."""
    return secrets.token_urlsafe(24)


@asynccontextmanager
async def connected(url: str, setting: str = "DATABASE_URL") -> AsyncIterator[Connection]:
    """Lends a connection. Raises StackError that names the setting and the server, never the password."""
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    except _CANNOT_CONNECT as error:
        raise StackError(f"{setting}: cannot connect to {describe(url)}: {_reason(error)}") from error
    try:
        yield connection
    finally:
        await connection.close(timeout=CONNECT_SECONDS)


def describe(url: str) -> str:
    """Names the server and the database of a URL, without user and password."""
    try:
        address = urlsplit(url)
        host, port = address.hostname or "a Unix socket", address.port
    except ValueError:
        return _UNREADABLE
    if "@" in address.path:
        return _UNREADABLE  # a password with a slash in it, not encoded
    return f"{host}{f':{port}' if port else ''}{address.path}"


def with_login(url: str, role: str, password: str) -> str:
    """Returns the URL with another user and password."""
    address = urlsplit(url)
    place = address.netloc.rpartition("@")[2]
    return urlunsplit(address._replace(netloc=f"{quote(role, safe='')}:{quote(password, safe='')}@{place}"))


async def ensure_database(url: str) -> bool:
    """Creates the database that the URL names if the server does not have it; True when it was created.

    Raises StackError when the server cannot be reached or refuses.
    """
    name = urlsplit(url).path.removeprefix("/")
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    except asyncpg.InvalidCatalogNameError:
        pass
    except _CANNOT_CONNECT as error:
        raise StackError(f"DATABASE_URL: cannot connect to {describe(url)}: {_reason(error)}") from error
    else:
        await connection.close(timeout=CONNECT_SECONDS)
        return False
    async with connected(urlunsplit(urlsplit(url)._replace(path="/postgres"))) as connection:
        try:
            await _execute(connection, "CREATE DATABASE %I", name)
        except asyncpg.DuplicateDatabaseError:
            return False  # somebody else was quicker
        except asyncpg.InsufficientPrivilegeError as error:
            raise StackError(
                f"DATABASE_URL: the database {name} does not exist and its user may not create it; create it first"
            ) from error
    return True


async def close_to_public(connection: Connection, database: str) -> None:
    """Keeps roles out of a database that have no right of their own in it."""
    await _execute(connection, "REVOKE ALL ON DATABASE %I FROM PUBLIC", database)


async def ensure_owner(connection: Connection, database: str, password: str) -> None:
    """Makes sure, as superuser, of the role that owns the schema, with this password, and of its database."""
    await _ensure_login(connection, OWNER, password)
    if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", database):
        await _execute(connection, "CREATE DATABASE %I OWNER %I", database, OWNER)
        await close_to_public(connection, database)


async def ensure_roles(connection: Connection, passwords: Mapping[str, str]) -> None:
    """Makes sure of the role of each service given, with its password, and that it may connect.

    Idempotent. Raises asyncpg.InsufficientPrivilegeError when the user may not.
    """
    database = await connection.fetchval("SELECT current_database()")
    for service, password in passwords.items():
        await _ensure_login(connection, role_of(service), password)
        await _execute(connection, "GRANT CONNECT ON DATABASE %I TO %I", database, role_of(service))


async def existing_roles(connection: Connection) -> set[str]:
    """Returns the services whose role the server has already."""
    names = await connection.fetch("SELECT rolname FROM pg_roles WHERE rolname = ANY($1)", [*map(role_of, SERVICES)])
    return {service for service in SERVICES if role_of(service) in {row["rolname"] for row in names}}


async def without_rights(connection: Connection, services: Iterable[str]) -> list[str]:
    """Returns the services whose role cannot read its tables, such as one made after the schema was."""
    return [
        service
        for service in services
        if not await connection.fetchval(
            "SELECT coalesce(has_table_privilege($1, to_regclass($2), 'SELECT'), false)",
            role_of(service),
            _TABLES[service],
        )
    ]


async def can_log_in(url: str) -> bool:
    """Whether the URL's user and password are right."""
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return False
    await connection.close(timeout=CONNECT_SECONDS)
    return True


async def _ensure_login(connection: Connection, role: str, password: str) -> None:
    exists = await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role)
    await _execute(connection, f"{'ALTER' if exists else 'CREATE'} ROLE %I LOGIN PASSWORD %L", role, password)


async def _execute(connection: Connection, statement: str, *arguments: str) -> None:
    """Runs a statement that takes no bound parameters; the server itself quotes names (%I) and texts (%L)."""
    placeholders = ", ".join(f"${number}::text" for number in range(2, len(arguments) + 2))
    await connection.execute(
        await connection.fetchval(f"SELECT format($1::text, {placeholders})", statement, *arguments)
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {CONNECT_SECONDS:g} s"
    if isinstance(error, ValueError):
        return "the URL is wrong"  # the library's message may repeat a part of it
    text = re.sub(r"\s+", " ", str(error)).strip()
    return text or type(error).__name__
