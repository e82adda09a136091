"""The store in Postgres."""

import datetime as dt
import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import asyncpg

from services.auth.models import ApiKey, Credential, KeyChanges, NewApiKey, Secret, User
from services.auth.permissions import dump_permissions, parse_permissions
from shared.db.paging import Place
from shared.db.pool import Database, Row
from shared.db.queries import load_queries
from shared.errors import AlreadyExists, NotFound

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

    async def create_user(self, email: str, name: str) -> User:
        """Stores a user."""
        try:
            row = await self._database.row(SQL["create_user"], email, name)
        except asyncpg.UniqueViolationError as error:
            raise AlreadyExists(f"a user with the email address {email} exists") from error
        assert row is not None
        return _user(row)

    async def get_user(self, user_id: uuid.UUID) -> User | None:
        """Returns a user."""
        row = await self._database.row(SQL["get_user"], user_id)
        return _user(row) if row else None

    async def list_users(self, after: Place, limit: int) -> Sequence[User]:
        """Returns users, the newest first."""
        rows = await self._database.rows(SQL["list_users"], after.created_at, after.id, limit)
        return [_user(row) for row in rows]

    async def update_user(self, user_id: uuid.UUID, *, name: str | None, is_active: bool | None) -> User | None:
        """Changes what is not None."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(SQL["update_user"], user_id, name, is_active)
            if row is not None and is_active is False:
                await connection.execute(SQL["revoke_keys_of_user"], user_id)
        return _user(row) if row else None

    async def create_key(self, key: NewApiKey) -> ApiKey:
        """Stores a key."""
        try:
            row = await self._database.row(SQL["create_key"], *_columns(key))
        except asyncpg.ForeignKeyViolationError as error:
            raise NotFound(f"there is no user {key.user_id}") from error
        assert row is not None
        return _api_key(row)

    async def get_key(self, key_id: uuid.UUID) -> ApiKey | None:
        """Returns a key."""
        row = await self._database.row(SQL["get_key"], key_id)
        return _api_key(row) if row else None

    async def list_keys(self, user_id: uuid.UUID, after: Place, limit: int) -> Sequence[ApiKey]:
        """Returns a user's keys, the newest first."""
        rows = await self._database.rows(SQL["list_keys"], user_id, after.created_at, after.id, limit)
        return [_api_key(row) for row in rows]

    async def update_key(self, key_id: uuid.UUID, changes: KeyChanges) -> ApiKey | None:
        """Changes a key."""
        row = await self._database.row(
            SQL["update_key"],
            key_id,
            changes.name,
            None if changes.permissions is None else json.dumps(dump_permissions(changes.permissions)),
            changes.is_active,
            changes.expires_at,
            changes.clear_expires_at,
        )
        return _api_key(row) if row else None

    async def rotate_key(
        self, key_id: uuid.UUID, secret: Secret, previous_expires_at: dt.datetime | None
    ) -> ApiKey | None:
        """Gives a key another secret."""
        row = await self._database.row(
            SQL["rotate_key"], key_id, secret.digest, secret.prefix, secret.last_four, previous_expires_at
        )
        return _api_key(row) if row else None

    async def touch_keys(self, used: Mapping[uuid.UUID, dt.datetime]) -> None:
        """Notes when keys were last used."""
        async with self._database.transaction() as connection:
            await connection.execute(SQL["lock_keys"], list(used))
            await connection.execute(SQL["touch_keys"], list(used), list(used.values()))


async def insert_key(connection: "asyncpg.Connection[Row]", key: NewApiKey) -> None:
    """Stores a key on a connection of one's own, as `bootstrap` needs it."""
    await connection.execute(SQL["create_key"], *_columns(key))


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


def _api_key(row: Row) -> ApiKey:
    columns = dict(row)
    return ApiKey(permissions=parse_permissions(json.loads(columns.pop("permissions"))), **columns)


def _credential(row: Row | None) -> Credential | None:
    if row is None:
        return None
    return Credential(
        api_key_id=row["api_key_id"],
        user_id=row["user_id"],
        email=row["email"],
        digest=row["key_hash"],
        previous_digest=row["previous_hash"],
        previous_expires_at=row["previous_expires_at"],
        permissions=parse_permissions(json.loads(row["permissions"])),
        key_is_active=row["key_is_active"],
        user_is_active=row["user_is_active"],
        expires_at=row["expires_at"],
        revocation_sequence=row["revocation_sequence"],
    )
