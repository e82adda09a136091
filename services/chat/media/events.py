"""What a response says while it passes by: what was used, and that it is whole."""

from services.chat.media.asked import EVENTS, JSON, Asked, read_json
from services.chat.providers import errors
from services.chat.providers.sse import MAX_EVENT_BYTES, EventReader, EventTooLarge
from services.chat.turn import Usage

_FAULTS = (ValueError, TypeError, LookupError, AttributeError)


class Overheard:
    """Reads along. `usage` is what was said so far; sound says nothing, and just ends.

    JSON is read at its end, if it is no larger than an event may be.
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

    def feed(self, content_type: str, chunk: bytes) -> None:
        """Takes a piece of the body. Raises BadUpstream where it cannot be understood."""
        self._content_type = content_type
        self._size += len(chunk)
        if content_type == JSON and self._size <= MAX_EVENT_BYTES:
            self._json += chunk
        if content_type != EVENTS:
            return
        try:
            events = self._reader.feed(chunk)
        except EventTooLarge as error:
            raise errors.nonsense(self._provider, "an event of several megabytes") from error
        for data in events:
            self._hear(data)

    def end(self) -> None:
        """Takes the end of the body. Raises BadUpstream where it came too early."""
        if not self._size:
            raise errors.nonsense(self._provider, "an empty answer")
        if self._content_type == JSON and self._size <= MAX_EVENT_BYTES:
            self._read(JSON, bytes(self._json))
        if self._content_type == EVENTS:
            for data in self._reader.end():
                self._hear(data)
            if not self._is_whole:
                raise errors.cut(self._provider)

    def _hear(self, data: bytes) -> None:
        if data == b"[DONE]":
            return
        try:
            event = read_json(data)
        except ValueError as error:
            raise errors.nonsense(self._provider, "an event that is none") from error
        if event.get("error") is not None or event.get("type") == "error":
            raise errors.from_stream(self._provider, event.get("error") or event)
        self._read(EVENTS, data)
        self._is_whole = self._is_whole or self._asked.is_last(event)

    def _read(self, content_type: str, data: bytes) -> None:
        try:
            self.usage = self._asked.usage_of(content_type, data) or self.usage
        except _FAULTS as error:
            raise errors.nonsense(self._provider, "something that is no answer") from error
