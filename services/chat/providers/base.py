"""What every provider adapter offers, and how its own errors are told."""

from collections.abc import AsyncGenerator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from services.chat.catalogue import ModelSpec
from services.chat.turn import Delta, Dialect, Reply, Turn

Query = Sequence[tuple[str, str]]
"""Names and values that are told beside an id."""


class Provider(Protocol):
    """An LLM provider.

    Every method raises the errors of `services.chat.providers.errors`, and ends its HTTP request when its task is
    cancelled or its generator is closed.
    """

    @property
    def id(self) -> str:
        """Id, as the catalogue has it."""
        ...

    @property
    def dialects(self) -> AbstractSet[Dialect]:
        """The dialects it speaks: a client's request in one of them is passed on as it is, as the turn's original."""
        ...

    @property
    def takes(self) -> AbstractSet[str]:
        """Names of those fields of a Turn, beside its messages and `max_tokens`, that it heeds.

        `schema_bounds` are bounds in the schemas that a reply is held to, `image_detail` how closely to look at one.
        """
        ...

    async def complete(self, turn: Turn, model: ModelSpec) -> Reply:
        """Returns the whole reply."""
        ...

    def stream(self, turn: Turn, model: ModelSpec) -> AsyncGenerator[Delta]:
        """Yields the reply as it arrives. A stream that ends early raises; only a whole reply ends normally."""
        ...

    async def probe(self) -> None:
        """Asks for something that costs nothing. Returns when the provider answered and took the key.

        Raises its errors otherwise; what it says to the question itself is nothing to go by.
        """
        ...

    async def close(self) -> None:
        """Closes its connections."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a response is that its provider keeps: `reply` holds what is there, and its body all that was told.

    One that is over neither failed nor cancelled is whole. `error` is the provider's code of what failed; `total_ms` is
    how long it took, None where that is not told.
    """

    reply: Reply
    is_over: bool
    has_failed: bool = False
    was_cancelled: bool = False
    total_ms: float | None = None
    error: str = ""


@runtime_checkable
class KeepsResponses(Protocol):
    """A provider that keeps responses, and makes them in the background. Raises NotFound for one it does not know."""

    async def retrieve(self, response_id: str, query: Query = ()) -> Progress:
        """Returns a response as it is now."""
        ...

    async def cancel(self, response_id: str) -> Progress:
        """Ends a response that is being made in the background; one that is over stays as it is."""
        ...

    def follow(self, response_id: str, query: Query = ()) -> AsyncGenerator[Delta]:
        """Yields the events of a response, those to come too."""
        ...
