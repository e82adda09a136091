"""What is sent to a provider, and what comes back: bytes both ways."""

from collections.abc import AsyncGenerator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from services.chat.media.kinds import Kind


@dataclass(frozen=True, slots=True)
class Form:
    """A form with one file. `fields` are names and texts, in order."""

    fields: Sequence[tuple[str, str]]
    file: bytes
    filename: str
    content_type: str


Payload = bytes | Form
"""JSON, or a form."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """A response that has begun; `content_type` is without parameters, `chunks` is the body as it comes."""

    content_type: str
    chunks: AsyncGenerator[bytes]


@runtime_checkable
class MediaProvider(Protocol):
    """An adapter of a provider that makes more than replies; see `services.chat.providers.base.Provider`."""

    @property
    def kinds(self) -> AbstractSet[Kind]:
        """What it makes."""
        ...

    def make(self, kind: Kind, payload: Payload) -> AbstractAsyncContextManager[Incoming]:
        """Sends a request, and yields the response while the block runs."""
        ...
