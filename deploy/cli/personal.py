"""`gaia users export|erase`: all that is kept of a user, given out or taken away."""

import asyncio
import base64
import contextlib
import datetime as dt
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from deploy.cli.options import AsJson

if TYPE_CHECKING:
    import asyncpg

# Whether an entry of the audit trail is of what a user did, or of what was done to them or to one of their keys.
_ABOUT = (
    "(actor_user_id = $1 OR target_id = $1::text OR details->>'user_id' = $1::text "
    "OR target_id IN (SELECT id::text FROM api_keys WHERE user_id = $1))"
)
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
    "background_calls": "SELECT * FROM background_calls WHERE user_id = $1 ORDER BY created_at",
    "kept_ids": "SELECT * FROM kept_ids WHERE user_id = $1 ORDER BY created_at",
    "idempotency_records": "SELECT key, created_at, answer FROM idempotency_records WHERE user_id = $1 "
    "ORDER BY created_at",
    "ledger": "SELECT * FROM ledger WHERE user_id = $1 ORDER BY created_at",
    "reservations": "SELECT * FROM reservations WHERE user_id = $1 ORDER BY created_at",
    "budget_balances": "SELECT * FROM budget_balances WHERE owner = $1 "
    "OR owner IN (SELECT id FROM api_keys WHERE user_id = $1) ORDER BY month, kind, owner",
    "audit_events": f"SELECT * FROM audit_events WHERE {_ABOUT} ORDER BY created_at",  # noqa: S608 - stands here
}
# The ledger stays, as accounts must: its rows hold no name and no word, and the id leads to nobody any more. What goes
# on in the background is paid for all the same, so that its row stays until it is over, without a word. The audit trail
# stays, too, which nothing but this changes: what its entries tell of the user but by ids is taken out.
ERASED = (
    "ALTER TABLE audit_events DISABLE TRIGGER audit_events_append_only",
    f"UPDATE audit_events SET address = '', details = details - 'name' WHERE {_ABOUT}",  # noqa: S608 - stands here
    "ALTER TABLE audit_events ENABLE TRIGGER audit_events_append_only",
    "DELETE FROM idempotency_records WHERE user_id = $1",
    "DELETE FROM kept_ids WHERE user_id = $1",
    "UPDATE background_calls SET said = '[]' WHERE user_id = $1",
    "DELETE FROM users WHERE id = $1",
)


def export(
    user: Annotated[str, typer.Argument(help="An email address or an id.")],
    output: Annotated[Path | None, typer.Option(help="File to write, mode 0600; default: standard output.")] = None,
) -> None:
    """Writes all that is kept of a user as NDJSON: one row a line, with its table.

    DATABASE_URL is the owner's, or the local stack runs. The bytes of assets are listed by their path, not included;
    answers that are kept for repeated requests are in base64.
    """
    from deploy.cli.database import owner_database_url
    from deploy.cli.output import note

    rows = asyncio.run(_export(owner_database_url(), user, output))
    if output is not None:
        note(f"wrote {rows} rows to {output}")


def erase(
    user: Annotated[str, typer.Argument(help="An email address or an id.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Deletes a user with keys, personas, conversations and the entries of assets. It cannot be undone.

    DATABASE_URL is the owner's, or the local stack runs. The ledger and the audit trail keep their rows, without names
    and addresses, and by an id that leads nowhere any more. Calls that still go on are booked, but what they bring is
    not kept. Stored bytes of assets are listed, to be deleted in the store.
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


async def _export(url: str, user: str, output: Path | None) -> int:
    """Writes the rows as they are read, however many there are, and returns how many."""
    import asyncpg
    import orjson

    connection = await asyncpg.connect(url)
    try:
        await connection.set_type_codec("jsonb", schema="pg_catalog", encoder=str, decoder=orjson.loads)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            user_id = await _user_id(connection, user)
            rows = 0
            with _opened(output) as file:
                for table, query in EXPORTED.items():
                    async for row in connection.cursor(query, user_id):
                        file.write(orjson.dumps({"table": table, **dict(row)}, default=_plain) + b"\n")
                        rows += 1
            return rows
    finally:
        await connection.close()


@contextlib.contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    """Opens the file for its owner alone, whatever rights it had before, or else standard output."""
    import os
    import sys

    if output is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.truncate()
        yield file


async def _erased(url: str, user: str) -> dict[str, Any]:
    import asyncpg

    from services.auth.bootstrap import operator_event
    from services.auth.store_postgres import write_events
    from services.auth.users import USER

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
                await connection.execute(statement, *([user_id] if "$1" in statement else []))
            await write_events(connection, [operator_event("user.erase", USER, str(user_id))])
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
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} has no JSON")
