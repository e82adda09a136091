"""Using a Postgres that is not ours: DATABASE_URL names its owner, the services get roles of their own if they can."""

import json
from collections.abc import Callable, Mapping

import asyncpg

from deploy.local.database import (
    SERVICES,
    can_log_in,
    connected,
    describe,
    ensure_database,
    ensure_roles,
    existing_roles,
    new_password,
    role_of,
    with_login,
)
from deploy.local.home import Home, write_secret


async def prepare_roles(url: str, home: Home, given: Mapping[str, str], note: Callable[[str], None]) -> dict[str, str]:
    """Returns a URL for each service: with its own role, or the given URL where that cannot be had.

    A password comes from `given` or from an earlier start; a role that is there already under another password is
    somebody else's and is left alone. Raises StackError when the server cannot be reached.
    """
    await ensure_database(url)
    kept = _read_passwords(home, url)
    passwords = {service: given.get(service) or kept.get(service) or new_password() for service in SERVICES}
    urls = {service: with_login(url, role_of(service), passwords[service]) for service in SERVICES}
    async with connected(url) as connection:
        there = await existing_roles(connection)
        missing = {service: passwords[service] for service in SERVICES if service not in there}
        try:
            await ensure_roles(connection, missing)
        except asyncpg.InsufficientPrivilegeError:
            note(f"DATABASE_URL: its user may not create roles on {describe(url)}, so all services use it")
            return dict.fromkeys(SERVICES, url)
    for service in sorted(there):
        if not await can_log_in(urls[service]):
            note(
                f"DATABASE_URL: the role {role_of(service)} on {describe(url)} has another password, so {service} "
                f"uses the given user; set GAIA_{service.upper()}_DB_PASSWORD to use the role"
            )
            urls[service] = url
    _keep_passwords(home, url, passwords)
    return urls


def _read_all(home: Home) -> dict[str, dict[str, str]]:
    try:
        kept: dict[str, dict[str, str]] = json.loads(home.database_passwords.read_text())
    except (OSError, ValueError):
        return {}  # the roles that are there will be found to have another password
    return kept


def _read_passwords(home: Home, url: str) -> dict[str, str]:
    return _read_all(home).get(describe(url), {})


def _keep_passwords(home: Home, url: str, passwords: Mapping[str, str]) -> None:
    write_secret(home.database_passwords, json.dumps({**_read_all(home), describe(url): dict(passwords)}, indent=1))
