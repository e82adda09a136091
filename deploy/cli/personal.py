"""`gaia users export|erase`: all that is kept of a user, given out or taken away."""

import asyncio
import datetime as dt
import uuid
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deploy.cli.options import AsJson

if TYPE_CHECKING:
    import asyncpg

# Each table with what says whose a row is. Secrets are not part of what is given out.
EXPORTED = {
    "user": "SELECT id, email, name, is_active, monthly_budget_usd, created_at, updated_at FROM users WHERE id = $1",
    "api_keys": "SELECT id, name, permissions, is_active, expires_at, prefix, last_four, last_used_at, created_at "
    "FROM api_keys WHERE user_id = $1 ORDER BY created_at",
    "personas": "SELECT * FROM personas WHERE user_id = $1 ORDER BY created_at",
    "conversations": "SELECT * FROM conversations WHERE user_id = $1 ORDER BY created_at",
    "chat_messages": "SELECT m.* FROM chat_messages m JOIN conversations c ON c.id = m.conversation_id "
    "WHERE c.user_id = $1 ORDER BY m.position",
    "assets": "SELECT * FROM assets WHERE user_id = $1 ORDER BY created_at",
    "kept_ids": "SELECT * FROM kept_ids WHERE user_id = $1 ORDER BY created_at",
    "ledger": "SELECT * FROM ledger WHERE user_id = $1 ORDER BY created_at",
}
# The ledger stays, as accounts must: its rows hold no name and no word, and the id leads to nobody any more.
ERASED = (
    "DELETE FROM idempotency_records WHERE user_id = $1",
    "DELETE FROM kept_ids WHERE user_id = $1",
    "DELETE FROM users WHERE id = $1",
)


def export(
    user: Annotated[str, typer.Argument(help="An email address or an id.")],
    output: Annotated[Path | None, typer.Option(help="File to write, mode 0600; default: standard output.")] = None,
) -> None:
    """Writes all that is kept of a user as NDJSON: one row a line, with its table.

    DATABASE_URL is the owner's, or the local stack runs. The bytes of assets are listed by their path, not included.
    """
    import os
    import sys

    from deploy.cli.database import owner_database_url
    from deploy.cli.output import note

    lines = asyncio.run(_exported(owner_database_url(), user))
    if output is None:
        sys.stdout.writelines(lines)
        return
    with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.writelines(lines)
    note(f"wrote {len(lines)} rows to {output}")


def erase(
    user: Annotated[str, typer.Argument(help="An email address or an id.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Deletes a user with keys, personas, conversations and the entries of assets. It cannot be undone.

    DATABASE_URL is the owner's, or the local stack runs. The ledger and the audit trail keep their rows, which name
    nobody but by an id that leads nowhere any more. Stored bytes of assets are listed, to be deleted in the store.
    """
    from deploy.cli.database import owner_database_url
    from deploy.cli.output import note, show_json

    if not yes:
        typer.confirm(f"Delete {user} and all that is kept of them, for good?", abort=True)
    erased = asyncio.run(_erased(owner_database_url(), user))
    if as_json:
        show_json(erased)
        return
    note(f"erased {erased['user_id']}: {erased['conversations']} conversations, {erased['api_keys']} keys")
    for path in erased["asset_paths"]:
        print(path)


async def _exported(url: str, user: str) -> list[str]:
    import asyncpg
    import orjson

    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            user_id = await _user_id(connection, user)
            lines = []
            for table, query in EXPORTED.items():
                for row in await connection.fetch(query, user_id):
                    line = {"table": table, **dict(row)}
                    lines.append(orjson.dumps(line, default=_plain).decode() + "\n")
            return lines
    finally:
        await connection.close()


async def _erased(url: str, user: str) -> dict[str, Any]:
    import asyncpg

    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            user_id = await _user_id(connection, user)
            counts = {
                table: await connection.fetchval(f"SELECT count(*) FROM {table} WHERE user_id = $1", user_id)  # noqa: S608 - the names stand here
                for table in ("conversations", "api_keys", "personas")
            }
            paths = await connection.fetch("SELECT storage_path FROM assets WHERE user_id = $1", user_id)
            for statement in ERASED:
                await connection.execute(statement, user_id)
            return {"user_id": str(user_id), **counts, "asset_paths": [row["storage_path"] for row in paths]}
    finally:
        await connection.close()


async def _user_id(connection: "asyncpg.Connection", user: str) -> uuid.UUID:
    from deploy.local.errors import StackError

    by_email = "SELECT id FROM users WHERE lower(email) = lower($1)"
    found: uuid.UUID | None
    try:
        found = await connection.fetchval("SELECT id FROM users WHERE id = $1", uuid.UUID(user))
    except ValueError:
        found = await connection.fetchval(by_email, user)
    if found is None:
        raise StackError(f"there is no user {user}; `gaia users list` shows all")
    return found


def _plain(value: object) -> Any:
    if isinstance(value, uuid.UUID | Decimal):
        return str(value)
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no JSON")
