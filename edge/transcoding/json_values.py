"""Cuts a streamed request body into the JSON values that it holds, without keeping more than one."""

import re
from collections.abc import Iterator

from edge.transcoding.errors import Code, RpcFailure, failure

_SPACE = re.compile(rb"[ \t\r\n]*")
_OUTSIDE_STRING = re.compile(rb'["\[\]{}]')
_INSIDE_STRING = re.compile(rb'["\\]')
_SCALAR_END = re.compile(rb"[ \t\r\n,\]]")


class JsonValues:
    """A sequence of JSON values, one after another or a line each, or one array of them.

    The values themselves are checked by whoever decodes them; what is checked here is what stands between them.
    `limit` bounds the bytes of one value; `lines` says that a `[` begins a value, not an array of them. Raises
    INVALID_ARGUMENT, for a value beyond the limit with HTTP status 413.
    """

    def __init__(self, limit: int, *, lines: bool = False) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._at = 0
        self._depth = 0
        self._in_string = False
        self._in_value = False
        self._in_array: bool | None = False if lines else None
        self._closed = False
        self._expects_comma = False
        self._after_comma = False
        self._count = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the values that are complete with these bytes."""
        self._buffer += data
        while True:
            if not self._in_value and not self._begin():
                return
            end = self._end()
            if end is None:
                if len(self._buffer) > self._limit:
                    raise self._too_large()
                return
            yield self._take(end)

    def finish(self) -> Iterator[bytes]:
        """Yield the value that the body's end completes, if any; raises where a value or the array is cut off."""
        yield from self.feed(b"\n")
        if self._in_value or (self._in_array and not self._closed):
            raise self._malformed("the body ends before its JSON does")

    def _begin(self) -> bool:
        """Find the next value's first byte; returns False where there is none yet."""
        while True:
            space = _SPACE.match(self._buffer)
            assert space is not None
            del self._buffer[: space.end()]
            if not self._buffer:
                return False
            first = bytes(self._buffer[:1])
            if self._closed:
                raise self._malformed("nothing may follow the array")
            if self._in_array is None:
                self._in_array = first == b"["
                if self._in_array:
                    del self._buffer[:1]
                    continue
            if self._in_array and not self._in_value_position(first):
                continue
            self._in_value, self._at = True, 0
            return True

    def _in_value_position(self, first: bytes) -> bool:
        """Take a comma or the closing bracket of the array; returns True where a value begins instead."""
        if first == b"]" and not self._after_comma:
            self._closed = True
        elif first == b"," and self._expects_comma:
            self._expects_comma, self._after_comma = False, True
        elif self._expects_comma or first in (b"]", b","):
            raise self._malformed("an array's values are separated by single commas")
        else:
            self._after_comma = False
            return True
        del self._buffer[:1]
        return False

    def _end(self) -> int | None:
        """Return where the value that has begun ends, None where its end has not arrived."""
        buffer = self._buffer
        if self._depth == 0 and not self._in_string and self._at == 0 and buffer[0] not in b'"[{':
            scalar = _SCALAR_END.search(buffer)
            return scalar.start() if scalar is not None else None
        while True:
            match = (_INSIDE_STRING if self._in_string else _OUTSIDE_STRING).search(buffer, self._at)
            if match is None:
                self._at = len(buffer)
                return None
            mark = match.group()
            if mark == b"\\":
                if match.end() == len(buffer):
                    # The escaped character has not arrived yet.
                    self._at = match.start()
                    return None
                self._at = match.end() + 1
                continue
            self._at = match.end()
            if mark == b'"':
                self._in_string = not self._in_string
            elif mark in (b"[", b"{"):
                self._depth += 1
            else:
                self._depth -= 1
            if self._depth <= 0 and not self._in_string:
                return self._at

    def _take(self, end: int) -> bytes:
        if end > self._limit:
            raise self._too_large()
        if end == 0:
            raise self._malformed("a JSON value was expected")
        value = bytes(self._buffer[:end])
        del self._buffer[:end]
        self._at = self._depth = 0
        self._in_value = False
        self._expects_comma = True
        self._count += 1
        return value

    def _malformed(self, reason: str) -> RpcFailure:
        return failure(Code.INVALID_ARGUMENT, f"request body, after message {self._count}: {reason}")

    def _too_large(self) -> RpcFailure:
        return failure(
            Code.INVALID_ARGUMENT,
            f"request body: message {self._count + 1} is larger than this route's limit of {self._limit} bytes",
            http_status=413,
        )
