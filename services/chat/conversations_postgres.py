"""The conversations of users in Postgres."""

import uuid
from collections.abc import Sequence
from pathlib import Path

import asyncpg

from services.chat.conversations import Conversation, Page, Said
from services.chat.searching import search_terms
from shared.db.paging import Place
from shared.db.pool import Database, Row
from shared.db.queries import load_queries
from shared.errors import Unauthenticated

MAX_PAGE_CHARACTERS = 500_000
"""Most characters of a page of messages, but for its last one: with four bytes each well below what gRPC passes on."""

SQL = load_queries(Path(__file__).with_name("conversations.sql"))


class PostgresConversations:
    """Implements `services.chat.conversations.ConversationStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, user_id: uuid.UUID, title: str) -> Conversation:
        """Begins a conversation."""
        row = await self._insert(SQL["create_conversation"], user_id, storable(title))
        return Conversation(row["id"], row["title"], row["created_at"], row["updated_at"])

    async def ensure_default(self, user_id: uuid.UUID) -> uuid.UUID:
        """Returns the id of the default conversation."""
        row = await self._insert(SQL["ensure_default_conversation"], user_id)
        found: uuid.UUID = row["id"]
        return found

    async def list(self, user_id: uuid.UUID, after: Place, limit: int) -> Sequence[Conversation]:
        """Returns a user's conversations."""
        rows = await self._database.rows(SQL["list_conversations"], user_id, after.created_at, after.id, limit)
        return [_conversation(row) for row in rows]

    async def search(self, user_id: uuid.UUID, words: str, after: Place, limit: int) -> Sequence[Conversation]:
        """Returns those that have the words."""
        arguments = (user_id, after.created_at, after.id, limit, storable(search_terms(words)))
        return [_conversation(row) for row in await self._database.rows(SQL["search_conversations"], *arguments)]

    async def get(self, user_id: uuid.UUID, conversation_id: uuid.UUID) -> Conversation | None:
        """Returns one of a user's conversations."""
        row = await self._database.row(SQL["get_conversation"], user_id, conversation_id)
        return None if row is None else _conversation(row)

    async def messages(
        self, user_id: uuid.UUID, conversation_id: uuid.UUID, after: uuid.UUID, limit: int
    ) -> Page | None:
        """Returns messages after one of them."""
        arguments = (user_id, conversation_id, after, limit + 1, MAX_PAGE_CHARACTERS)
        rows = await self._database.rows(SQL["list_messages"], *arguments)
        if not rows:
            return None
        fitting = [_said(row) for row in rows[:limit] if row["fits"]]
        has_more = len(fitting) < len(rows) and rows[0]["id"] is not None
        return Page(fitting, has_more)

    async def rename(self, user_id: uuid.UUID, conversation_id: uuid.UUID, title: str) -> bool:
        """Gives a title."""
        return await self._database.execute(SQL["rename_conversation"], user_id, conversation_id, storable(title)) > 0

    async def delete(self, user_id: uuid.UUID, conversation_id: uuid.UUID) -> bool:
        """Deletes a conversation."""
        return await self._database.execute(SQL["delete_conversation"], user_id, conversation_id) > 0

    async def _insert(self, query: str, *arguments: object) -> Row:
        try:
            row = await self._database.row(query, *arguments)
        except asyncpg.ForeignKeyViolationError as error:
            raise Unauthenticated("this user does not exist any more") from error
        assert row is not None
        return row


def storable(text: str) -> str:
    """Returns a text as Postgres takes it: without NUL, in whose place the replacement character stands."""
    return text.replace("\x00", "\ufffd")


def _conversation(row: Row) -> Conversation:
    return Conversation(
        row["id"],
        row["title"],
        row["created_at"],
        row["updated_at"],
        row["first_question"] or "",
        row["newest"] or "",
    )


def _said(row: Row) -> Said:
    known = [count for count in (row["input_tokens"], row["output_tokens"]) if count is not None]
    return Said(
        row["id"],
        row["role"],
        row["content"],
        row["created_at"],
        row["model"],
        row["provider"],
        sum(known) if known else None,
        row["is_complete"],
    )
