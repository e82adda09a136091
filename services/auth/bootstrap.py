"""The first user and the first key of an installation, before anybody can call the service."""

from collections.abc import Sequence

import asyncpg

from services.auth.keys import secret_of
from services.auth.models import NewApiKey
from services.auth.permissions import Permissions, normalised
from services.auth.store_postgres import SQL, insert_key
from shared.identity import api_key


async def ensure_user_with_key(
    connection: "asyncpg.Connection[asyncpg.Record]",
    *,
    email: str,
    environment: str,
    key_name: str,
    scopes: Sequence[str],
) -> str | None:
    """Makes sure that the user exists and has a working key of this name; both are committed when this returns.

    Returns the key's text when it is new, None when there was one: its text is stored nowhere.
    """
    async with connection.transaction():
        user = await connection.fetchrow(SQL["find_user_by_email"], email)
        user = user or await connection.fetchrow(SQL["create_user"], email, "")
        assert user is not None
        if await connection.fetchval(SQL["find_active_key_by_name"], user["id"], key_name):
            return None
        key = api_key.generate(environment)
        permissions = normalised(Permissions(tuple(scopes)))
        await insert_key(connection, NewApiKey(user["id"], key_name, secret_of(key), permissions, None, None))
        return key
