"""The conversations that a user has, as a list to look through."""

import datetime as dt
import unicodedata
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.db.paging import Place
from shared.errors import InvalidArgument, NotFound

MAX_TITLE = 200
MAX_QUERY = 500
TITLE_CHARACTERS = 60
"""About what a line of a phone's list shows."""
PREVIEW_CHARACTERS = 160
_JOINERS = frozenset("\u200d\ufe0f")
_SKIN_TONES = frozenset(map(chr, range(0x1F3FB, 0x1F400)))
_FLAG_LETTERS = frozenset(map(chr, range(0x1F1E6, 0x1F200)))
UNTITLED = "New conversation"
"""Shown until the first message makes a title."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation. `given_title` is empty where the user gave none; the texts are beginnings, empty for none."""

    id: uuid.UUID
    given_title: str
    created_at: dt.datetime
    updated_at: dt.datetime
    first_question: str = ""
    newest: str = ""

    @property
    def title(self) -> str:
        """The title to show."""
        return self.given_title or brief(self.first_question, TITLE_CHARACTERS) or UNTITLED

    @property
    def preview(self) -> str:
        """The beginning of the newest message, in one line."""
        return brief(self.newest, PREVIEW_CHARACTERS)


@dataclass(frozen=True, slots=True)
class Said:
    """A message of a conversation. Model, provider and tokens are a reply's."""

    id: uuid.UUID
    role: str
    content: str
    created_at: dt.datetime
    model: str | None = None
    provider: str | None = None
    tokens_used: int | None = None
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class Page:
    """Some messages of a conversation, and whether there are more behind them."""

    messages: Sequence[Said]
    has_more: bool


class ConversationStore(Protocol):
    """What is needed of a store. Every method raises Unavailable when the store does not answer."""

    async def create(self, user_id: uuid.UUID, title: str) -> Conversation:
        """Begins a conversation."""

    async def ensure_default(self, user_id: uuid.UUID) -> uuid.UUID:
        """Returns the id of the default conversation, which is made when need be."""

    async def list(self, user_id: uuid.UUID, after: Place, limit: int) -> Sequence[Conversation]:
        """Returns a user's conversations, the one that was used last first."""

    async def search(self, user_id: uuid.UUID, words: str, after: Place, limit: int) -> Sequence[Conversation]:
        """Returns those of them that have the words, in the same order."""

    async def get(self, user_id: uuid.UUID, conversation_id: uuid.UUID) -> Conversation | None:
        """Returns one of a user's conversations."""

    async def messages(
        self, user_id: uuid.UUID, conversation_id: uuid.UUID, after: uuid.UUID, limit: int
    ) -> Page | None:
        """Returns messages after one of them, from the first where there is no such; None for no conversation.

        A page holds as many as fit a reply, at most `limit` and at least one.
        """

    async def rename(self, user_id: uuid.UUID, conversation_id: uuid.UUID, title: str) -> bool:
        """Gives a title; False where the conversation is not there."""

    async def delete(self, user_id: uuid.UUID, conversation_id: uuid.UUID) -> bool:
        """Deletes a conversation; False where it is not there."""


class Conversations:
    """The rules about a user's conversations. Those of others are not there: NotFound."""

    def __init__(self, store: ConversationStore) -> None:
        self._store = store

    async def create(self, user_id: str, title: str) -> Conversation:
        """Begins a conversation. Raises InvalidArgument for the title."""
        return await self._store.create(uuid.UUID(user_id), _checked_title(title))

    async def list(self, user_id: str, after: Place, limit: int) -> Sequence[Conversation]:
        """Returns a page, the one that was used last first."""
        return await self._store.list(uuid.UUID(user_id), after, limit)

    async def search(self, user_id: str, words: str, after: Place, limit: int) -> Sequence[Conversation]:
        """Returns a page of those that have the words. Raises InvalidArgument."""
        words = words.strip()
        if not words:
            raise InvalidArgument.field("q", "must hold the words to look for")
        if len(words) > MAX_QUERY:
            raise InvalidArgument.field("q", f"must have at most {MAX_QUERY} characters, not {len(words)}")
        return await self._store.search(uuid.UUID(user_id), words, after, limit)

    async def get(self, user_id: str, conversation_id: str) -> Conversation:
        """Returns a conversation."""
        found = await self._store.get(uuid.UUID(user_id), parse_conversation_id(conversation_id))
        if found is None:
            raise no_conversation(conversation_id)
        return found

    async def messages(self, user_id: str, conversation_id: str, after: uuid.UUID, limit: int) -> Page:
        """Returns messages after one of them, from the first where there is no such."""
        wanted = parse_conversation_id(conversation_id)
        found = await self._store.messages(uuid.UUID(user_id), wanted, after, limit)
        if found is None:
            raise no_conversation(conversation_id)
        return found

    async def update(self, user_id: str, conversation_id: str, fields: Collection[str], title: str) -> Conversation:
        """Changes the named fields, of which there is one: `title`. Raises InvalidArgument."""
        if not fields:
            raise InvalidArgument.field("update_mask", "names no field; name title")
        if wrong := sorted(set(fields) - {"title"}):
            raise InvalidArgument.field("update_mask", f"{', '.join(wrong)} cannot be changed; only title can")
        wanted = parse_conversation_id(conversation_id)
        if not await self._store.rename(uuid.UUID(user_id), wanted, _checked_title(title)):
            raise no_conversation(conversation_id)
        return await self.get(user_id, conversation_id)

    async def delete(self, user_id: str, conversation_id: str) -> None:
        """Deletes a conversation with its messages."""
        if not await self._store.delete(uuid.UUID(user_id), parse_conversation_id(conversation_id)):
            raise no_conversation(conversation_id)


def brief(text: str, characters: int) -> str:
    """Returns the beginning of a text in one line, cut behind a word where one ends in its second half."""
    line = " ".join(text.split())
    if len(line) <= characters:
        return line
    cut = line[: characters - 1]
    at = cut.rfind(" ")
    if at > characters // 2:
        return cut[:at].rstrip() + "…"
    whole = characters - 1
    # A family of joined people, a flag or a letter with its marks is one sign to its reader; a long chain is not.
    while whole > characters // 2 and _belong_together(line[whole - 1], line[whole]):
        whole -= 1
    return line[:whole].rstrip() + "…"


def _belong_together(left: str, right: str) -> bool:
    is_added = unicodedata.category(right).startswith("M") or right in _JOINERS or right in _SKIN_TONES
    return is_added or left in _JOINERS or (left in _FLAG_LETTERS and right in _FLAG_LETTERS)


def parse_conversation_id(text: str) -> uuid.UUID:
    """Reads an id. Raises NotFound for one that cannot be: there is no such conversation."""
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise no_conversation(text) from error


def no_conversation(text: str) -> NotFound:
    """The error for a conversation that is not there, or is somebody else's."""
    return NotFound(f"there is no conversation {text[:64]}", reason="UNKNOWN_CONVERSATION")


def _checked_title(title: str) -> str:
    title = title.strip()
    if len(title) > MAX_TITLE:
        raise InvalidArgument.field("title", f"must have at most {MAX_TITLE} characters, not {len(title)}")
    return title
