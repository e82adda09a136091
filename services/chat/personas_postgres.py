"""Personas in Postgres."""

import contextlib
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from services.chat.conversations_postgres import storable
from services.chat.personas import DEFAULT_ID, Change, Persona
from shared.db.pool import Database, Row
from shared.db.queries import load_queries
from shared.errors import AlreadyExists, Unauthenticated

_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")
"""The escape in JSON, and not a backslash before the letters."""

SQL = load_queries(Path(__file__).with_name("personas.sql"))


class PostgresPersonas:
    """Implements `services.chat.personas.PersonaStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, user_id: uuid.UUID, limit: int, *, active_only: bool) -> tuple[Sequence[Persona], int]:
        """Returns a user's newest personas, and how many there are."""
        rows = await self._database.rows(SQL["list_personas"], user_id, active_only, limit)
        return [_persona(row) for row in rows], rows[0]["total"] if rows else 0

    async def get(self, user_id: uuid.UUID, persona_id: str) -> Persona | None:
        """Returns one of a user's personas."""
        row = await self._database.row(SQL["get_persona"], user_id, storable(persona_id))
        return None if row is None else _persona(row)

    async def current(self, user_id: uuid.UUID) -> Persona | None:
        """Returns the persona that a user has set, else the stored default one."""
        row = await self._database.row(SQL["get_current_persona"], user_id)
        return None if row is None else _persona(row)

    async def create(self, user_id: uuid.UUID, persona: Persona, at_most: int) -> Persona | None:
        """Stores a persona; None where the user has so many active ones."""
        with _faults(persona.name):
            row = await self._database.row(
                SQL["create_persona"],
                user_id,
                persona.id,
                storable(persona.name),
                storable(persona.description),
                storable(persona.system_prompt),
                _json(persona.personality_traits),
                _json(persona.capabilities),
                at_most,
            )
        return None if row is None else _persona(row)

    async def update(self, user_id: uuid.UUID, persona_id: str, change: Change, at_most: int) -> Persona | None:
        """Changes a persona; None where it is not there, or would become active beside so many."""
        texts = (change.name, change.description, change.system_prompt)
        with _faults(change.name):
            row = await self._database.row(
                SQL["update_persona"],
                user_id,
                storable(persona_id),
                *(None if text is None else storable(text) for text in texts),
                None if change.personality_traits is None else _json(change.personality_traits),
                None if change.capabilities is None else _json(change.capabilities),
                change.is_active,
                at_most,
            )
        return None if row is None else _persona(row)

    async def restore_default(self, user_id: uuid.UUID, persona: Persona) -> Persona:
        """Stores the default persona where there is none, and makes it active."""
        arguments = (persona.name, persona.description, persona.system_prompt)
        with _faults(persona.name):
            row = await self._database.row(SQL["restore_default_persona"], user_id, *arguments)
        assert row is not None
        return _persona(row)

    async def set_current(self, user_id: uuid.UUID, persona_id: str) -> Persona | None:
        """Chooses an active persona. None where it is not there; then none is chosen if it is the default one."""
        async with self._database.transaction() as connection:
            await connection.execute(SQL["lock_personas"], user_id)
            found = await connection.fetchrow(SQL["get_persona"], user_id, storable(persona_id))
            if (found is None or not found["is_active"]) and persona_id != DEFAULT_ID:
                return None
            await connection.execute(SQL["unset_current_persona"], user_id)
            row = await connection.fetchrow(SQL["set_current_persona"], user_id, storable(persona_id))
        return None if row is None else _persona(row)


@contextlib.contextmanager
def _faults(name: str | None) -> Iterator[None]:
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        taken = "another active persona has its name" if name is None else f"an active persona has the name {name}"
        raise AlreadyExists(f"{taken}; choose another one", reason="NAME_TAKEN") from error
    except asyncpg.ForeignKeyViolationError as error:
        raise Unauthenticated("this user does not exist any more") from error


def _json(value: Mapping[str, Any]) -> str:
    # jsonb takes no NUL, in names and values neither.
    return _NUL.sub(r"\1\\ufffd", orjson.dumps(value).decode())


def _persona(row: Row) -> Persona:
    return Persona(
        row["id"],
        row["name"],
        row["description"],
        row["system_prompt"],
        orjson.loads(row["personality_traits"]),
        orjson.loads(row["capabilities"]),
        row["is_active"],
        row["created_at"],
        row["updated_at"],
    )
