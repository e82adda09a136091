"""How much of a call its peer may send, as client and server alike keep count of it."""

import abc

from shared.http2.messages import MessageReader


class Receiving(abc.ABC):
    """The receiving half of a call. `window` is how many bytes the peer may send at the moment."""

    window: int
    _reader: MessageReader | None = None
    _granted = 0

    @abc.abstractmethod
    def _allow(self, size: int) -> None:
        """Let the peer send more, where the call still takes it; a size of 0 or less is none."""

    def _credit(self, reader: MessageReader) -> None:
        """Let the peer send as much as was read."""
        taken, reader.taken = reader.taken, 0
        # What a large message was let in for has been given already.
        given = min(self._granted, taken)
        self._granted -= given
        self._allow(taken - given)

    def _grant(self) -> None:
        """Let in the rest of a message that is larger than the window."""
        reader = self._reader
        if reader is None or reader or not reader.incomplete:
            return
        more = reader.missing() - self.window
        if more > 0:
            self._granted += more
            self._allow(more)
