"""What every provider adapter offers, and how its own errors are told."""

from collections.abc import AsyncGenerator
from collections.abc import Set as AbstractSet
from typing import Protocol

from services.chat.catalogue import ModelSpec
from services.chat.turn import Delta, Dialect, Reply, Turn


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
