"""A request for something that is no conversation, once it is checked."""

from decimal import Decimal
from typing import Any, Protocol, Self

import orjson

from services.chat.catalogue import ModelSpec
from services.chat.media.kinds import Kind
from services.chat.media.payload import Payload
from services.chat.pricing import PriceList
from services.chat.turn import Usage
from shared.errors import PermissionDenied

EVENTS = "text/event-stream"
JSON = "application/json"


class Asked(Protocol):
    """A checked request. Everything that it does not know is passed on to the provider as it is."""

    @property
    def kind(self) -> Kind:
        """What is to be made."""
        ...

    @property
    def model(self) -> str:
        """Name of the model, as the client calls it."""
        ...

    @property
    def is_stream(self) -> bool:
        """Whether the response goes to the client as it comes."""
        ...

    @property
    def tokens(self) -> int:
        """About how many tokens the provider will read, for limits of a rate."""
        ...

    @property
    def least(self) -> Usage | None:
        """What is used by the mere asking, where it can be told from the request; None where it cannot."""
        ...

    def payload(self, model: ModelSpec) -> Payload:
        """Returns the request for the provider, which knows the model by its own id."""
        ...

    def most(self, model: ModelSpec, prices: PriceList) -> Decimal:
        """Returns the most that the call can cost, in USD. Raises PermissionDenied where there is no bound."""
        ...

    def accepts(self, content_type: str) -> bool:
        """Whether that can be the type of the response."""
        ...

    def telling(self, prices: PriceList | None) -> Self:
        """Returns the request as it has the provider say what is used; the same one where nothing has to be changed."""
        ...

    def given(self, content_type: str) -> str:
        """Returns the type of what the client gets of a response; another one where it asked for no events."""
        ...

    def content_of(self, event: Any) -> bytes:
        """Returns what an event (JSON) holds for a client that asked for no events.

        Raises ValueError, TypeError or LookupError for what is no event of this kind.
        """
        ...

    def usage_of(self, content_type: str, body: bytes) -> Usage | None:
        """Returns what a whole response, or an event of a stream, says that was used; None where it says nothing.

        Raises ValueError, TypeError or LookupError for what is no response of this kind.
        """
        ...

    def is_last(self, event: Any) -> bool:
        """Whether an event (JSON) of a stream says that the stream is whole."""
        ...


class AsItComes:
    """Of requests whose responses say by themselves what was used, if at all, and go to the client as they come."""

    __slots__ = ()

    def telling(self, prices: PriceList | None) -> Self:  # noqa: ARG002 - the protocol's
        """The same."""
        return self

    def given(self, content_type: str) -> str:
        """The same."""
        return content_type

    def content_of(self, event: Any) -> bytes:  # noqa: ARG002 - the protocol's
        """Nobody asks for it."""
        return b""


def no_bound(model: ModelSpec, what: str, instead: str = "") -> PermissionDenied:
    """The error for a call that no budget can hold; `instead` is what one can hold."""
    other = f"ask {instead}, or " if instead else ""
    return PermissionDenied(
        f"what {what} of {model.id} can cost at the most is not known before it is made, and a budget must hold this "
        f"call; {other}use a key without a budget where neither its user nor the platform has one",
        reason="COST_UNBOUNDED",
        metadata={"model": model.id},
    )


def read_json(body: bytes) -> dict[str, Any]:
    """Reads an object. Raises ValueError for anything else."""
    read = orjson.loads(body)
    if not isinstance(read, dict):
        raise ValueError("no object")
    return read
