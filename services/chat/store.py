"""What the chat service needs of a store."""

import uuid
from collections.abc import Sequence
from typing import Protocol

from services.chat.records import Loaded, Stored


class Store(Protocol):
    """Conversations and personas. Every method raises Unavailable when the store does not answer.

    Every `add_…` stores all of its messages in one transaction, committed when it returns.
    """

    async def load(
        self, user_id: uuid.UUID, conversation_id: uuid.UUID | None, persona_id: str, max_characters: int
    ) -> Loaded | None:
        """Returns a user's conversation, None for one that is not there; without an id the default conversation."""

    async def add_to_default(self, user_id: uuid.UUID, request_id: str, messages: Sequence[Stored]) -> uuid.UUID:
        """Adds to the default conversation, which is made when need be, and returns its id."""

    async def add_to(
        self, user_id: uuid.UUID, conversation_id: uuid.UUID, request_id: str, messages: Sequence[Stored]
    ) -> bool:
        """Adds to a conversation; returns False where it is not there any more."""

    async def add_to_new(self, user_id: uuid.UUID, request_id: str, messages: Sequence[Stored]) -> uuid.UUID:
        """Begins a conversation with the messages and returns its id."""

    async def add_completion(self, user_id: uuid.UUID, request_id: str, messages: Sequence[Stored]) -> uuid.UUID:
        """Stores a stateless call as a conversation of its own and returns its id."""

    async def count_default(self, user_id: uuid.UUID) -> int:
        """Returns how many messages the default conversation has."""

    async def clear_default(self, user_id: uuid.UUID) -> int:
        """Deletes the messages of the default conversation and returns how many there were."""
