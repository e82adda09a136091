"""The first user and the first key of an installation, before anybody can call the service."""

import uuid
from collections.abc import Sequence
from typing import Any

import asyncpg

from services.auth.audit import SUCCESS, NewAuditEvent
from services.auth.keys import API_KEY, secret_of
from services.auth.models import NewApiKey
from services.auth.permissions import Permissions, dump_permissions, normalised
from services.auth.store_postgres import SQL, AnyConnection, insert_key, write_events
from services.auth.users import USER
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
        user_id = await ensure_user(connection, email)
        if await connection.fetchval(SQL["find_active_key_by_name"], user_id, key_name):
            return None
        key = api_key.generate(environment)
        permissions = normalised(Permissions(tuple(scopes)))
        event = operator_event(
            "api_key.create", API_KEY, user_id=str(user_id), permissions=dump_permissions(permissions)
        )
        await insert_key(connection, NewApiKey(user_id, key_name, secret_of(key), permissions, None, None), event)
        return key


async def ensure_user(connection: AnyConnection, email: str) -> uuid.UUID:
    """Makes sure, inside a transaction, that there is a user with this email address, and returns its id."""
    user_id: uuid.UUID | None = await connection.fetchval(SQL["find_user_by_email"], email)
    if user_id is None:
        user_id = await connection.fetchval(SQL["create_user"], email, "")
        await write_events(connection, [operator_event("user.create", USER).about(user_id)])
    return user_id


def operator_event(action: str, target_type: str, target_id: str = "", **details: Any) -> NewAuditEvent:
    """Describes what somebody does at the command line, whom the platform knows only as who may use the database."""
    return NewAuditEvent(action, target_type, target_id, SUCCESS, "", "", "", "", {"by": "operator", **details})
