"""The store in Postgres."""

import uuid
from pathlib import Path

from services.chat.records import Loaded
from services.chat.tokens import with_counts
from services.chat.turn import Role, say
from shared.db.pool import Database
from shared.db.queries import load_queries

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
        messages = [say(Role(role), content) for role, content in zip(row["roles"], row["contents"], strict=True)]
        counted = with_counts(messages, row["read"], row["written"])
        # An empty message is one whose content was not kept; no provider takes it.
        messages = [message for message in counted if message.text]
        return Loaded(row["id"], row["system_prompt"], messages)

    async def count_default(self, user_id: uuid.UUID) -> int:
        """Returns how many messages the default conversation has."""
        row = await self._database.row(SQL["count_default_messages"], user_id)
        assert row is not None
        return int(row["count"])

    async def clear_default(self, user_id: uuid.UUID) -> int:
        """Deletes the messages of the default conversation."""
        return await self._database.execute(SQL["clear_default_messages"], user_id)
