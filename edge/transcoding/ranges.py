"""Parts of a body of bytes: Range requests (RFC 9110, section 14), for one range of bytes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from edge.transcoding.errors import Code, failure
from edge.transcoding.headers import Header, RequestHead

ACCEPT_RANGES: Header = (b"accept-ranges", b"bytes")

_RANGE = re.compile(rb"bytes=([0-9]{0,18})-([0-9]{0,18})\Z")


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes `first` to `last`, both included; `first` may lie behind the body's end, then nothing can be sent."""

    first: int
    last: int


def requested_range(header: bytes | None, length: int) -> ByteRange | None:
    """Return the range that a Range header asks for of a body of `length` bytes, None where it is to be ignored.

    Ignored, as RFC 9110 allows, are other units, malformed ranges and several at once.
    """
    match = _RANGE.match(header.replace(b" ", b"")) if header is not None else None
    if match is None:
        return None
    first, last = match.groups()
    if first:
        if last and int(last) < int(first):
            return None
        return ByteRange(int(first), min(int(last), length - 1) if last else length - 1)
    # The last n bytes.
    return ByteRange(max(0, length - int(last)), length - 1) if last and int(last) else None


def range_of_request(head: RequestHead, reply_headers: Sequence[Header], length: int) -> ByteRange | None:
    """Return the range that a request asks for, None for the whole body; raises a failure of HTTP status 416.

    A range that depends on If-Range is given only for the backend's own strong ETag, or its Last-Modified.
    """
    asked = requested_range(head.range, length)
    if asked is None:
        return None
    if head.if_range is not None:
        validators = [value for name, value in reply_headers if name in (b"etag", b"last-modified")]
        if head.if_range.startswith(b"W/") or head.if_range not in validators:
            return None
    if asked.first >= length:
        raise failure(
            Code.OUT_OF_RANGE,
            f"header Range: the body has {length} bytes, the range begins at {asked.first}",
            http_status=416,
            headers=((b"content-range", b"bytes */%d" % length),),
        )
    return asked


def requested_offset(head: RequestHead) -> int:
    """Return where the range begins that a request asks for, as far as can be told without the body's length."""
    match = _RANGE.match(head.range.replace(b" ", b"")) if head.range is not None else None
    if match is None or not match[1] or (match[2] and int(match[2]) < int(match[1])):
        return 0
    return int(match[1])


def range_headers(part: ByteRange, length: int) -> list[Header]:
    """Return the headers of a 206 response."""
    return [(b"content-range", b"bytes %d-%d/%d" % (part.first, part.last, length)), ACCEPT_RANGES]
