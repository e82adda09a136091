"""What the dialects in front have in common: a checked request that can be passed on, translated, and answered."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from services.chat.records import Stored
from services.chat.turn import Delta, Dialect, Message, Reply, Role, Turn
from shared.errors import GaiaError

SAYS_NOTHING = "must say something: a text, an image, a tool's result"
"""What is wrong with messages of which none `says_something`."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What an answer is known by: the id of its call, and when that began. An answer told again has the first one's."""

    call_id: uuid.UUID
    created_at: dt.datetime

    @property
    def created(self) -> int:
        """When the call began, in seconds since 1970."""
        return int(self.created_at.timestamp())


class Writer(Protocol):
    """Encodes the deltas of one translated stream as server-sent events of a dialect."""

    def write(self, delta: Delta, model: str) -> bytes:
        """Returns the events of a delta, which may be none. Those that say that the reply is whole wait for `end`."""
        ...

    def end(self, reply: Reply) -> bytes:
        """Returns the events that end a whole reply, once it is stored."""
        ...


class Asked(Protocol):
    """A request of a dialect that was checked. `body` is what the client sent, all of it."""

    @property
    def dialect(self) -> Dialect:
        """The dialect it is in."""
        ...

    @property
    def field_names(self) -> Mapping[str, str]:
        """What the dialect calls fields of a Turn, as they are named when a provider does not heed them."""
        ...

    @property
    def body(self) -> Mapping[str, Any]:
        """What the client sent."""
        ...

    @property
    def model(self) -> str:
        """Name of the model, as the client calls it."""
        ...

    @property
    def stream(self) -> bool:
        """Whether the answer is a stream."""
        ...

    @property
    def keeps_content(self) -> bool:
        """Whether Gaia may keep what was said."""
        ...

    @property
    def max_output_tokens(self) -> int | None:
        """The most tokens of all replies to it together, as far as the client limits them."""
        ...

    @property
    def end_marker(self) -> bytes:
        """What follows the last event of a stream that ended well, such as `[DONE]`; empty for nothing."""
        ...

    def same_dialect(self) -> Turn:
        """Returns the turn for a provider that speaks this dialect: the request as it is, as the turn's original."""
        ...

    def translated(self) -> tuple[Turn, tuple[str, ...]]:
        """Returns the turn for any other provider, and the names of the preferences that were left out.

        Raises InvalidArgument that names all fields whose loss would change what the reply is.
        """
        ...

    def new_input(self) -> Sequence[Stored]:
        """Returns what is stored of it: what was said since the last reply, without content where none may be kept."""
        ...

    def encode(self, reply: Reply, model: str, stamp: Stamp) -> bytes:
        """Encodes a whole reply of a provider of another dialect as the body of the response."""
        ...

    def writer(self, stamp: Stamp) -> Writer:
        """Makes the writer of a stream by a provider of another dialect."""
        ...

    def error_record(self, error: GaiaError) -> bytes:
        """Encodes an error in the middle of a stream as an event."""
        ...


def says_something(said: Sequence[Message]) -> bool:
    """Whether there is anything beside instructions for a model to answer."""
    return any(one.role is not Role.SYSTEM and (one.text.strip() or one.tool_calls or one.tool_call_id) for one in said)
