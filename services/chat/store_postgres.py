"""The store in Postgres."""

import uuid
from collections.abc import Sequence
from pathlib import Path

import asyncpg
import orjson

from services.chat.conversations_postgres import storable
from services.chat.records import Loaded, Stored
from services.chat.turn import Role, say
from shared.db.pool import Database, Row
from shared.db.queries import load_queries
from shared.errors import Unauthenticated

SQL = load_queries(Path(__file__).with_name("queries.sql"))
MAX_MESSAGES = 500
"""Most messages of a conversation that are read for one turn."""


class PostgresStore:
    """Implements `services.chat.store.Store`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def load(
        self, user_id: uuid.UUID, conversation_id: uuid.UUID | None, persona_id: str, max_characters: int
    ) -> Loaded | None:
        """Returns a user's conversation; without an id the default one."""
        arguments = (user_id, persona_id, max_characters, MAX_MESSAGES)
        if conversation_id is None:
            row = await self._database.row(SQL["load_default_conversation"], *arguments)
        else:
            row = await self._database.row(SQL["load_conversation"], *arguments, conversation_id)
        if row is None:
            return None
        pairs = zip(row["roles"], row["contents"], strict=True)
        # An empty message is one whose content was not kept; no provider takes it.
        messages = [say(Role(role), content) for role, content in pairs if content]
        return Loaded(row["id"], row["system_prompt"], messages)

    async def add_to_default(self, user_id: uuid.UUID, request_id: str, messages: Sequence[Stored]) -> uuid.UUID:
        """Adds to the default conversation."""
        row = await self._add(SQL["add_to_default_conversation"], user_id, request_id, messages)
        assert row is not None
        return _id(row)

    async def add_to(
        self, user_id: uuid.UUID, conversation_id: uuid.UUID, request_id: str, messages: Sequence[Stored]
    ) -> bool:
        """Adds to a conversation."""
        row = await self._add(SQL["add_to_conversation"], user_id, request_id, messages, conversation_id)
        return row is not None

    async def add_to_new(self, user_id: uuid.UUID, request_id: str, messages: Sequence[Stored]) -> uuid.UUID:
        """Begins a conversation with the messages."""
        row = await self._add(SQL["add_to_new_conversation"], user_id, request_id, messages)
        assert row is not None
        return _id(row)

    async def add_completion(self, user_id: uuid.UUID, request_id: str, messages: Sequence[Stored]) -> uuid.UUID:
        """Stores a stateless call."""
        row = await self._add(SQL["add_completion"], user_id, request_id, messages)
        assert row is not None
        return _id(row)

    async def count_default(self, user_id: uuid.UUID) -> int:
        """Returns how many messages the default conversation has."""
        row = await self._database.row(SQL["count_default_messages"], user_id)
        assert row is not None
        return int(row["count"])

    async def clear_default(self, user_id: uuid.UUID) -> int:
        """Deletes the messages of the default conversation."""
        return await self._database.execute(SQL["clear_default_messages"], user_id)

    async def _add(
        self, query: str, user_id: uuid.UUID, request_id: str, messages: Sequence[Stored], *more: object
    ) -> Row | None:
        columns = (
            [message.role.value for message in messages],
            [storable(message.content) for message in messages],
            [_tool_calls(message) for message in messages],
            [message.provider for message in messages],
            [message.model for message in messages],
            [message.input_tokens for message in messages],
            [message.output_tokens for message in messages],
            [message.finish_reason for message in messages],
            [message.is_complete for message in messages],
        )
        try:
            return await self._database.row(query, user_id, request_id, *columns, *more)
        except asyncpg.ForeignKeyViolationError as error:
            raise Unauthenticated("this user does not exist any more") from error


def _id(row: Row) -> uuid.UUID:
    found: uuid.UUID = row["id"]
    return found


def _tool_calls(message: Stored) -> str | None:
    if not message.tool_calls:
        return None
    return orjson.dumps(
        [
            {"id": storable(call.id), "name": storable(call.name), "arguments": storable(call.arguments)}
            for call in message.tool_calls
        ]
    ).decode()
