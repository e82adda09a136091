"""The store in Postgres."""

import datetime as dt
import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import asyncpg

from services.auth.audit import AuditEvent, AuditFilter, NewAuditEvent
from services.auth.models import Account, ApiKey, Credential, KeyChanges, NewApiKey, Secret, User, UserChanges
from services.auth.permissions import dump_permissions, parse_permissions
from shared.db.paging import Place
from shared.db.pool import Connection, Database, Row
from shared.db.queries import load_queries
from shared.errors import AlreadyExists, NotFound

AnyConnection: TypeAlias = "Connection | asyncpg.Connection[Row]"
"""A connection, whether a pool lent it or not."""
_AUDIT_CONDITIONS = {
    "actor_user_id": "actor_user_id =",
    "actor_key_id": "actor_key_id =",
    "action": "action =",
    "target_id": "target_id =",
    "result": "result =",
    "address": "address =",
    "start_time": "created_at >=",
    "end_time": "created_at <",
}
SQL = load_queries(Path(__file__).with_name("queries.sql"))


class PostgresStore:
    """Implements `services.auth.store.Store`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_credential(self, digest: str) -> Credential | None:
        """Returns what is stored of the key with this SHA-256."""
        return _credential(await self._database.row(SQL["find_credential"], digest))

    async def find_credential_by_id(self, api_key_id: uuid.UUID) -> Credential | None:
        """Returns what is stored of the key with this id."""
        return _credential(await self._database.row(SQL["find_credential_by_id"], api_key_id))

    async def find_account(self, *, email: str | None = None, user_id: uuid.UUID | None = None) -> Account | None:
        """Returns a user by email address, without regard to case, or by id."""
        if user_id is not None:
            row = await self._database.row(SQL["find_account_by_id"], user_id)
        else:
            row = await self._database.row(SQL["find_account_by_email"], email)
        return Account(**dict(row)) if row else None

    async def create_user(self, email: str, name: str, event: NewAuditEvent) -> User:
        """Stores a user."""
        try:
            async with self._database.transaction() as connection:
                row = await connection.fetchrow(SQL["create_user"], email, name)
                assert row is not None
                await write_events(connection, [event.about(row["id"])])
        except asyncpg.UniqueViolationError as error:
            raise AlreadyExists(f"a user with the email address {email} exists") from error
        return _user(row)

    async def get_user(self, user_id: uuid.UUID) -> User | None:
        """Returns a user."""
        row = await self._database.row(SQL["get_user"], user_id)
        return _user(row) if row else None

    async def list_users(self, after: Place, limit: int) -> Sequence[User]:
        """Returns users, the newest first."""
        rows = await self._database.rows(SQL["list_users"], after.created_at, after.id, limit)
        return [_user(row) for row in rows]

    async def update_user(self, user_id: uuid.UUID, changes: UserChanges, event: NewAuditEvent) -> User | None:
        """Changes a user."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                SQL["update_user"],
                user_id,
                changes.name,
                changes.is_active,
                changes.monthly_budget_usd,
                changes.clear_budget,
            )
            if row is None:
                return None
            if changes.is_active is False:
                await connection.execute(SQL["revoke_keys_of_user"], user_id)
            await write_events(connection, [event])
        return _user(row)

    async def create_key(self, key: NewApiKey, event: NewAuditEvent) -> ApiKey:
        """Stores a key."""
        try:
            async with self._database.transaction() as connection:
                row = await connection.fetchrow(SQL["create_key"], *_columns(key))
                assert row is not None
                await write_events(connection, [event.about(row["id"])])
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound(f"there is no user {key.user_id}") from error
        return _api_key(row)

    async def get_key(self, key_id: uuid.UUID) -> ApiKey | None:
        """Returns a key."""
        row = await self._database.row(SQL["get_key"], key_id)
        return _api_key(row) if row else None

    async def list_keys(self, user_id: uuid.UUID, after: Place, limit: int) -> Sequence[ApiKey]:
        """Returns a user's keys, the newest first."""
        rows = await self._database.rows(SQL["list_keys"], user_id, after.created_at, after.id, limit)
        return [_api_key(row) for row in rows]

    async def update_key(self, key_id: uuid.UUID, changes: KeyChanges, event: NewAuditEvent) -> ApiKey | None:
        """Changes a key."""
        return await self._change_key(
            event,
            SQL["update_key"],
            key_id,
            changes.name,
            None if changes.permissions is None else json.dumps(dump_permissions(changes.permissions)),
            changes.is_active,
            changes.expires_at,
            changes.clear_expires_at,
        )

    async def delete_key(self, key_id: uuid.UUID, event: NewAuditEvent) -> bool:
        """Deletes a key."""
        async with self._database.transaction() as connection:
            if await connection.fetchval(SQL["delete_key"], key_id) is None:
                return False
            await write_events(connection, [event])
        return True

    async def rotate_key(
        self, key_id: uuid.UUID, secret: Secret, previous_expires_at: dt.datetime | None, event: NewAuditEvent
    ) -> ApiKey | None:
        """Gives a key another secret."""
        return await self._change_key(
            event, SQL["rotate_key"], key_id, secret.digest, secret.prefix, secret.last_four, previous_expires_at
        )

    async def _change_key(self, event: NewAuditEvent, query: str, *arguments: object) -> ApiKey | None:
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(query, *arguments)
            if row is None:
                return None
            await write_events(connection, [event])
        return _api_key(row)

    async def touch_keys(self, used: Mapping[uuid.UUID, dt.datetime]) -> None:
        """Notes when keys were last used."""
        async with self._database.transaction() as connection:
            await connection.execute(SQL["lock_keys"], list(used))
            await connection.execute(SQL["touch_keys"], list(used), list(used.values()))

    async def add_audit_events(self, events: Sequence[NewAuditEvent]) -> None:
        """Writes entries that belong to no act that is stored."""
        async with self._database.connection() as connection:
            await write_events(connection, events)

    async def list_audit_events(self, wanted: AuditFilter, after: Place, limit: int) -> Sequence[AuditEvent]:
        """Returns entries, the newest first."""
        query, arguments = audit_query(wanted, after, limit)
        return [_event(row) for row in await self._database.rows(query, *arguments)]


async def insert_key(connection: AnyConnection, key: NewApiKey, event: NewAuditEvent) -> uuid.UUID:
    """Stores a key on a connection of one's own, inside a transaction, and returns its id."""
    key_id: uuid.UUID = await connection.fetchval(SQL["create_key"], *_columns(key))
    await write_events(connection, [event.about(key_id)])
    return key_id


async def write_events(connection: AnyConnection, events: Sequence[NewAuditEvent]) -> None:
    """Writes entries of the audit trail on a connection of one's own, so that they share its transaction.

    They repeat what callers sent, so what Postgres does not take of it is replaced: an entry is never refused for it.
    """
    await connection.executemany(
        SQL["add_audit_event"],
        [
            (
                event.action,
                event.result,
                event.actor_user_id or None,
                event.actor_key_id or None,
                event.target_type,
                _storable(event.target_id),
                _storable(event.request_id),
                _storable(event.address),
                json.dumps(event.details).replace(r"\u0000", r"\ufffd"),
            )
            for event in events
        ],
    )


def _storable(text: str) -> str:
    return text.replace("\0", "\ufffd")


def audit_query(wanted: AuditFilter, after: Place, limit: int) -> tuple[str, list[object]]:
    """Returns the query of a page of the trail, with a condition for each thing that is wanted, and its arguments.

    The conditions are constants and the values bound parameters: each combination is a statement that its index serves.
    """
    arguments: list[object] = [after.created_at, after.id, limit]
    conditions = []
    for name, condition in _AUDIT_CONDITIONS.items():
        value = getattr(wanted, name)
        if value is not None:
            arguments.append(value)
            conditions.append(f" AND {condition} ${len(arguments)}")
    return SQL["list_audit_events"].replace("/* conditions */", "".join(conditions)), arguments


def _columns(key: NewApiKey) -> tuple[object, ...]:
    return (
        key.user_id,
        key.name,
        key.secret.digest,
        key.secret.prefix,
        key.secret.last_four,
        json.dumps(dump_permissions(key.permissions)),
        key.expires_at,
        key.created_by,
    )


def _user(row: Row) -> User:
    return User(**dict(row))


def _event(row: Row) -> AuditEvent:
    columns = dict(row)
    return AuditEvent(details=json.loads(columns.pop("details")), **columns)


def _api_key(row: Row) -> ApiKey:
    columns = dict(row)
    return ApiKey(permissions=parse_permissions(json.loads(columns.pop("permissions"))), **columns)


def _credential(row: Row | None) -> Credential | None:
    if row is None:
        return None
    permissions = parse_permissions(json.loads(row["permissions"] or "{}"))
    if row["api_key_id"] is None:
        return None
    return Credential(
        api_key_id=row["api_key_id"],
        user_id=row["user_id"],
        email=row["email"],
        digest=row["key_hash"],
        previous_digest=row["previous_hash"],
        previous_expires_at=row["previous_expires_at"],
        permissions=permissions,
        key_is_active=row["key_is_active"],
        user_is_active=row["user_is_active"],
        expires_at=row["expires_at"],
        user_monthly_budget_usd=row["user_monthly_budget_usd"],
        revocation_sequence=row["revocation_sequence"],
    )
