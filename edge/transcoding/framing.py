"""How the messages of a stream become one HTTP body, and how an error in the middle of it is told."""

from collections.abc import Callable, Sequence
from typing import Protocol

from edge.transcoding.errors import ErrorStyle, RpcFailure
from edge.transcoding.headers import Header


class Frames(Protocol):
    """The framing of one response; made anew for each, since it may count."""

    @property
    def headers(self) -> Sequence[Header]:
        """Content type, and what the framing needs beside it."""
        ...

    @property
    def heartbeat(self) -> bytes:
        """What may be sent in a silence; empty where the framing has no such thing."""
        ...

    def message(self, data: bytes) -> bytes:
        """Return a JSON message as a record."""
        ...

    def end(self) -> bytes:
        """Return what a stream that ended well has at its end."""
        ...

    def error(self, failure: RpcFailure, style: ErrorStyle, request_id: str) -> bytes | None:
        """Return the record of an error; None where only closing the connection can tell."""
        ...


class NdjsonFrames:
    """One JSON message a line."""

    headers: Sequence[Header] = ((b"content-type", b"application/x-ndjson"),)
    heartbeat = b""

    def message(self, data: bytes) -> bytes:
        """Return a line."""
        return data + b"\n"

    def end(self) -> bytes:
        """Return nothing."""
        return b""

    def error(self, failure: RpcFailure, style: ErrorStyle, request_id: str) -> bytes | None:
        """Return the style's record as a line."""
        return style.record(failure.status, failure.http_status, request_id) + b"\n"


class EnvelopeFrames:
    """grpc-gateway's lines: `{"result": message}`, and `{"error": status}` at the end of a stream that failed."""

    headers: Sequence[Header] = ((b"content-type", b"application/json"),)
    heartbeat = b""

    def message(self, data: bytes) -> bytes:
        """Return a line."""
        return b'{"result":' + data + b"}\n"

    def end(self) -> bytes:
        """Return nothing."""
        return b""

    def error(self, failure: RpcFailure, style: ErrorStyle, request_id: str) -> bytes | None:
        """Return the style's error body under `error`."""
        return b'{"error":' + style.body(failure.status, failure.http_status, request_id)[1] + b"}\n"


class ArrayFrames:
    """One JSON array; an array that is left open tells of an error."""

    headers: Sequence[Header] = ((b"content-type", b"application/json"),)
    heartbeat = b""

    def __init__(self) -> None:
        self._opening = b"["

    def message(self, data: bytes) -> bytes:
        """Return an element with what stands before it."""
        record = self._opening + data
        self._opening = b","
        return record

    def end(self) -> bytes:
        """Return the closing bracket."""
        return b"]" if self._opening == b"," else b"[]"

    def error(self, failure: RpcFailure, style: ErrorStyle, request_id: str) -> bytes | None:  # noqa: ARG002 - the protocol's
        """Return None."""
        return None


class SseFrames:
    """Server-sent events (WHATWG HTML, 9.2): one message an event, numbered from 1 where `ids` says so."""

    headers: Sequence[Header] = (
        (b"content-type", b"text/event-stream"),
        (b"cache-control", b"no-cache"),
        # nginx buffers a proxied response unless told not to.
        (b"x-accel-buffering", b"no"),
    )
    heartbeat = b": heartbeat\n\n"

    def __init__(self, *, ids: bool, end_marker: str = "") -> None:
        self._ids = ids
        self._count = 0
        self._end = b"data: " + end_marker.encode() + b"\n\n" if end_marker else b""

    def message(self, data: bytes) -> bytes:
        """Return an event."""
        if not self._ids:
            return b"data: " + data + b"\n\n"
        self._count += 1
        return b"id: %d\ndata: %b\n\n" % (self._count, data)

    def end(self) -> bytes:
        """Return the end marker's event, if there is a marker."""
        return self._end

    def error(self, failure: RpcFailure, style: ErrorStyle, request_id: str) -> bytes | None:
        """Return an event of the style's name with its record."""
        record = style.record(failure.status, failure.http_status, request_id)
        name = b"event: " + style.event.encode() + b"\n" if style.event else b""
        return name + b"data: " + record + b"\n\n"


FramesFactory = Callable[[], Frames]
