"""Personas: who a model is to be in a user's conversations."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from shared.errors import FailedPrecondition, InvalidArgument, NotFound, Violation

DEFAULT_ID = "default"
"""Id of the persona that every user has, and what chats name that name none."""
DEFAULT_NAME = "Default"
DEFAULT_DESCRIPTION = "Answers in the model's own manner."
MAX_ID = 64
MAX_NAME = 100
MAX_DESCRIPTION = 2_000
MAX_SYSTEM_PROMPT = 32_000
"""About 8,000 tokens: more would crowd out the conversation in the smallest windows in use."""
MAX_JSON_BYTES = 16 << 10
MAX_PERSONAS = 200
"""Most active personas of one user."""
MAX_LISTED = 500


@dataclass(frozen=True, slots=True)
class Persona:
    """A persona. The times are None for a default persona that nobody has stored."""

    id: str
    name: str
    description: str = ""
    system_prompt: str = ""
    personality_traits: Mapping[str, Any] = field(default_factory=dict)
    capabilities: Mapping[str, Any] = field(default_factory=dict)
    is_active: bool = True
    created_at: dt.datetime | None = None
    updated_at: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """New values of a persona's fields; None leaves a field as it is."""

    name: str | None = None
    description: str | None = None
    system_prompt: str | None = None
    personality_traits: Mapping[str, Any] | None = None
    capabilities: Mapping[str, Any] | None = None
    is_active: bool | None = None


BUILT_IN = Persona(DEFAULT_ID, DEFAULT_NAME, DEFAULT_DESCRIPTION)
"""The default persona of those who have stored none."""


class PersonaStore(Protocol):
    """What is needed of a store.

    Every method raises Unavailable when the store does not answer; those that write raise AlreadyExists for a name.
    """

    async def list(self, user_id: uuid.UUID, limit: int, *, active_only: bool) -> tuple[Sequence[Persona], int]:
        """Returns a user's newest personas, and how many there are."""

    async def get(self, user_id: uuid.UUID, persona_id: str) -> Persona | None:
        """Returns one of a user's personas."""

    async def current(self, user_id: uuid.UUID) -> Persona | None:
        """Returns the persona that a user has set, else the stored default one."""

    async def create(self, user_id: uuid.UUID, persona: Persona, at_most: int) -> Persona | None:
        """Stores a persona; None where the user has so many active ones."""

    async def update(self, user_id: uuid.UUID, persona_id: str, change: Change, at_most: int) -> Persona | None:
        """Changes a persona; None where it is not there, or would become active beside so many."""

    async def restore_default(self, user_id: uuid.UUID, persona: Persona) -> Persona:
        """Stores the default persona where there is none, and makes it active."""

    async def set_current(self, user_id: uuid.UUID, persona_id: str) -> Persona | None:
        """Chooses an active persona. None where it is not there; then none is chosen if it is the default one."""


class Personas:
    """The rules about a user's personas. Those of others are not there: NotFound."""

    def __init__(self, store: PersonaStore) -> None:
        self._store = store

    async def list(self, user_id: str, *, active_only: bool) -> tuple[Sequence[Persona], int]:
        """Returns the newest personas, and how many there are."""
        return await self._store.list(uuid.UUID(user_id), MAX_LISTED, active_only=active_only)

    async def current(self, user_id: str) -> Persona:
        """Returns the persona of chats that name none."""
        return await self._store.current(uuid.UUID(user_id)) or BUILT_IN

    async def get(self, user_id: str, persona_id: str) -> Persona:
        """Returns a persona."""
        found = await self._store.get(uuid.UUID(user_id), persona_id)
        return found or _built_in(persona_id)

    async def create(self, user_id: str, wanted: Change) -> Persona:
        """Stores a persona. Raises InvalidArgument, AlreadyExists for the name, FailedPrecondition for one too many."""
        name = (wanted.name or "").strip()
        _check(Change(name, wanted.description, wanted.system_prompt, wanted.personality_traits, wanted.capabilities))
        persona = Persona(
            str(uuid.uuid4()),
            name,
            wanted.description or "",
            wanted.system_prompt or "",
            wanted.personality_traits or {},
            wanted.capabilities or {},
        )
        stored = await self._store.create(uuid.UUID(user_id), persona, MAX_PERSONAS)
        if stored is None:
            raise _too_many()
        return stored

    async def update(self, user_id: str, persona_id: str, change: Change) -> Persona:
        """Changes a persona. Raises InvalidArgument, AlreadyExists for a name, FailedPrecondition for one too many."""
        name = None if change.name is None else change.name.strip()
        change = Change(
            name,
            change.description,
            change.system_prompt,
            change.personality_traits,
            change.capabilities,
            change.is_active,
        )
        _check(change)
        owner = uuid.UUID(user_id)
        changed = await self._store.update(owner, persona_id, change, MAX_PERSONAS)
        if changed is None and persona_id == DEFAULT_ID:
            # Every user has it, stored or not.
            await self._store.restore_default(owner, BUILT_IN)
            changed = await self._store.update(owner, persona_id, change, MAX_PERSONAS)
        if changed is None and change.is_active and await self._store.get(owner, persona_id):
            raise _too_many()
        if changed is None:
            raise no_persona(persona_id)
        return changed

    async def delete(self, user_id: str, persona_id: str) -> Persona:
        """Makes a persona inactive."""
        return await self.update(user_id, persona_id, Change(is_active=False))

    async def set_current(self, user_id: str, persona_id: str) -> Persona:
        """Chooses the persona of chats that name none. Raises InvalidArgument where no id is given."""
        if not persona_id:
            raise InvalidArgument.field("persona_id", "is missing")
        found = await self._store.set_current(uuid.UUID(user_id), persona_id)
        return found or _built_in(persona_id)

    async def restore_default(self, user_id: str) -> Persona:
        """Stores the default persona where there is none, and makes it active."""
        return await self._store.restore_default(uuid.UUID(user_id), BUILT_IN)


def no_persona(persona_id: str) -> NotFound:
    """The error for a persona that is not there, or is somebody else's."""
    return NotFound(f"there is no persona {persona_id[:MAX_ID]}", reason="UNKNOWN_PERSONA")


def _too_many() -> FailedPrecondition:
    return FailedPrecondition(
        f"there are {MAX_PERSONAS} active personas, the most that a user may have; delete one first",
        reason="TOO_MANY_PERSONAS",
    )


def _built_in(persona_id: str) -> Persona:
    if persona_id != DEFAULT_ID:
        raise no_persona(persona_id)
    return BUILT_IN


def _check(change: Change) -> None:
    violations = []
    if change.name is not None and not 0 < len(change.name) <= MAX_NAME:
        violations.append(Violation("name", f"must have 1 to {MAX_NAME} characters, not {len(change.name)}"))
    for where, text, longest in (
        ("description", change.description, MAX_DESCRIPTION),
        ("system_prompt", change.system_prompt, MAX_SYSTEM_PROMPT),
    ):
        if text is not None and len(text) > longest:
            violations.append(Violation(where, f"must have at most {longest} characters, not {len(text)}"))
    for where, value in (("personality_traits", change.personality_traits), ("capabilities", change.capabilities)):
        if value is not None and (size := len(orjson.dumps(value))) > MAX_JSON_BYTES:
            violations.append(Violation(where, f"must be at most {MAX_JSON_BYTES} bytes of JSON, not {size}"))
    if violations:
        raise InvalidArgument.of(*violations)
