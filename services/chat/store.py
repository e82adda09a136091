"""What the chat service needs of a store."""

import uuid
from typing import Protocol

from services.chat.records import Loaded


class Store(Protocol):
    """What is read for a turn. Every method raises Unavailable when the store does not answer."""

    async def load(
        self, user_id: uuid.UUID, conversation_id: uuid.UUID | None, persona_id: str, max_characters: int
    ) -> Loaded | None:
        """Returns a user's conversation, None for one that is not there; without an id the default conversation."""

    async def count_default(self, user_id: uuid.UUID) -> int:
        """Returns how many messages the default conversation has."""

    async def clear_default(self, user_id: uuid.UUID) -> int:
        """Deletes the messages of the default conversation and returns how many there were."""
