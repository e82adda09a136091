"""Storing imported keys, all of them or none."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from services.auth.bootstrap import ensure_user, operator_event
from services.auth.importing import ImportedKey
from services.auth.keys import API_KEY
from services.auth.permissions import dump_permissions
from services.auth.store_postgres import SQL, write_events
from shared.errors import NotFound


@dataclass(frozen=True, slots=True)
class Imported:
    """How many keys are new, how many were there already and stay as they are, and how many users are new."""

    keys: int
    known: int
    users: int


async def import_keys(
    connection: "asyncpg.Connection[asyncpg.Record]",
    keys: Sequence[ImportedKey],
    *,
    create_users: bool,
    dry_run: bool = False,
) -> Imported:
    """Stores keys, and users who are not there yet, with their entries in the audit trail, in one transaction.

    Keys whose hash is known are left as they are, so that an import can be run again. With `dry_run` everything is
    tried and nothing kept. Raises NotFound that names users who are not there when they may not be created.
    """
    transaction = connection.transaction()
    await transaction.start()
    try:
        imported = await _store(connection, keys, create_users=create_users)
    except BaseException:
        await transaction.rollback()
        raise
    await (transaction.rollback() if dry_run else transaction.commit())
    return imported


async def _store(
    connection: "asyncpg.Connection[asyncpg.Record]", keys: Sequence[ImportedKey], *, create_users: bool
) -> Imported:
    emails = list(dict.fromkeys(key.email.lower() for key in keys))
    rows = await connection.fetch(SQL["find_users_by_email"], emails)
    users: dict[str, uuid.UUID] = {row["email"]: row["id"] for row in rows}
    missing = [email for email in emails if email not in users]
    if missing and not create_users:
        shown = ", ".join(missing[:10]) + (" …" if len(missing) > 10 else "")
        raise NotFound(f"{len(missing)} users are not there: {shown}")
    for email in missing:
        users[email] = await ensure_user(connection, email)
    digests = [key.digest for key in keys]
    known = {row["key_hash"] for row in await connection.fetch(SQL["find_key_hashes"], digests)}
    new = [(uuid.uuid4(), key) for key in keys if key.digest not in known]
    await connection.executemany(
        SQL["import_key"],
        [
            (
                key_id,
                users[key.email.lower()],
                key.name,
                key.digest,
                key.prefix,
                key.last_four,
                json.dumps(dump_permissions(key.permissions)),
                key.is_active,
                key.expires_at,
            )
            for key_id, key in new
        ],
    )
    await write_events(
        connection,
        [
            operator_event(
                "api_key.import",
                API_KEY,
                str(key_id),
                user_id=str(users[key.email.lower()]),
                permissions=dump_permissions(key.permissions),
            )
            for key_id, key in new
        ],
    )
    return Imported(len(new), len(keys) - len(new), len(missing))
