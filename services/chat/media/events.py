"""What a response says while it passes by: what was used, and that it is whole."""

from services.chat.media.asked import EVENTS, JSON, Asked, read_json
from services.chat.providers import errors
from services.chat.providers.sse import MAX_EVENT_BYTES, EventReader, EventTooLarge
from services.chat.turn import Usage

_FAULTS = (ValueError, TypeError, LookupError, AttributeError)


class Overheard:
    """Reads along. `usage` is what was said so far; sound says nothing, and just ends.

    JSON is read at its end, if it is no larger than an event may be. Of events that the client did not ask for, it gets
    what they hold; of everything else what came.
    """

    def __init__(self, asked: Asked, provider: str) -> None:
        self.usage: Usage | None = None
        self._asked = asked
        self._provider = provider
        self._reader = EventReader()
        self._content_type = ""
        self._json = bytearray()
        self._size = 0
        self._is_whole = False
        self._is_empty = True

    def feed(self, content_type: str, chunk: bytes) -> bytes:
        """Takes a piece of the body, and returns what the client gets of it.

        Raises BadUpstream where it cannot be understood.
        """
        self._content_type = content_type
        self._size += len(chunk)
        if content_type == JSON and self._size <= MAX_EVENT_BYTES:
            self._json += chunk
        if content_type != EVENTS:
            return chunk
        try:
            events = self._reader.feed(chunk)
        except EventTooLarge as error:
            raise errors.nonsense(self._provider, "an event of several megabytes") from error
        held = b"".join(map(self._hear, events))
        return held if self._is_unwrapped else chunk

    def end(self) -> bytes:
        """Takes the end of the body, and returns what the client gets beside.

        Raises BadUpstream where it came too early.
        """
        if not self._size:
            raise errors.nonsense(self._provider, "an empty answer")
        if self._content_type == JSON and self._size <= MAX_EVENT_BYTES:
            self._read(JSON, bytes(self._json))
        if self._content_type != EVENTS:
            return b""
        held = b"".join(map(self._hear, self._reader.end()))
        if not self._is_whole:
            raise errors.cut(self._provider)
        if not self._is_unwrapped:
            return b""
        if self._is_empty:
            raise errors.nonsense(self._provider, "events that hold nothing")
        return held

    @property
    def _is_unwrapped(self) -> bool:
        return self._asked.given(self._content_type) != self._content_type

    def _hear(self, data: bytes) -> bytes:
        """Reads an event; returns what it holds, where that is wanted."""
        if data == b"[DONE]":
            return b""
        try:
            event = read_json(data)
        except ValueError as error:
            raise errors.nonsense(self._provider, "an event that is none") from error
        if event.get("error") is not None or event.get("type") == "error":
            raise errors.from_stream(self._provider, event.get("error") or event)
        self._read(EVENTS, data)
        self._is_whole = self._is_whole or self._asked.is_last(event)
        if not self._is_unwrapped:
            return b""
        try:
            held = self._asked.content_of(event)
        except _FAULTS as error:
            raise errors.nonsense(self._provider, "an event without its content") from error
        self._is_empty = self._is_empty and not held
        return held

    def _read(self, content_type: str, data: bytes) -> None:
        try:
            self.usage = self._asked.usage_of(content_type, data) or self.usage
        except _FAULTS as error:
            raise errors.nonsense(self._provider, "something that is no answer") from error
