"""Reading server-sent events (WHATWG HTML, 9.2.6) out of bytes as they arrive. Only `data` is of interest."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
"""May stand before the first event, and belongs to none."""
MAX_EVENT_BYTES = 8 * 1024 * 1024
"""A single event larger than this is no delta of a reply."""


class EventTooLarge(Exception):
    """An event is larger than `MAX_EVENT_BYTES`."""


class EventReader:
    """Splits a stream of bytes into the data of its events, wherever the bytes were cut."""

    def __init__(self) -> None:
        self._rest = b""
        self._has_begun = False

    def feed(self, chunk: bytes) -> list[bytes]:
        """Takes bytes and returns the data of the events that are whole now. Raises EventTooLarge."""
        text = self._rest + chunk
        if not self._has_begun:
            if len(text) < len(BYTE_ORDER_MARK):
                self._rest = text
                return []
            self._has_begun = True
            text = text.removeprefix(BYTE_ORDER_MARK)
        if b"\r" in text:
            # A carriage return at the end may be half of a line end: it waits.
            tail = b"\r" if text.endswith(b"\r") else b""
            text = text[: len(text) - len(tail)].replace(b"\r\n", b"\n").replace(b"\r", b"\n") + tail
        *whole, self._rest = text.split(b"\n\n")
        if len(self._rest) > MAX_EVENT_BYTES:
            raise EventTooLarge
        return [data for event in whole if (data := _data(event))]

    @property
    def rest(self) -> bytes:
        """What came since the last event that was whole."""
        return self._rest

    def end(self) -> list[bytes]:
        """Returns the data of a last event whose blank line is missing, as some servers end."""
        rest, self._rest = self._rest.rstrip(b"\r\n"), b""
        data = _data(rest)
        return [data] if data else []


def _data(event: bytes) -> bytes:
    if event.startswith(b"data: ") and b"\n" not in event:
        return event[6:]
    lines = [line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines)
