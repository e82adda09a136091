"""The frames of gRPC-Web (gRPC's doc/PROTOCOL-WEB.md): flags in a byte, a length in four, a message or the trailers."""

import base64
import binascii
import struct
from collections.abc import Sequence
from urllib.parse import quote

from google.rpc import status_pb2

from edge.transcoding.coded_body import ACCEPTED, CODINGS, expanded
from edge.transcoding.errors import Code, Status, failure
from edge.transcoding.headers import Header

_TRAILERS = 0x80
_COMPRESSED = 0x01
_PREFIX_BYTES = 5
_ENCODING = b"grpc-encoding"
_ACCEPT: Header = (b"grpc-accept-encoding", b"identity, " + ACCEPTED)
# PROTOCOL-HTTP2.md: Status-Message is percent-encoded, printable ASCII without "%" staying as it is.
_MESSAGE_SAFE = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"


async def message_of(body: bytes, headers: Sequence[Header], limit: int) -> bytes:
    """Return the message of a request, expanded where its frame says that it is compressed.

    Raises INVALID_ARGUMENT for a body that is not one frame, for one that is not compressed as the headers say, and,
    with HTTP status 413, for a message of more than `limit` bytes; UNIMPLEMENTED for an encoding that is not known.
    """
    if (
        len(body) < _PREFIX_BYTES
        or body[0] > _COMPRESSED
        or struct.unpack(">I", body[1:_PREFIX_BYTES])[0] != len(body) - _PREFIX_BYTES
    ):
        raise failure(
            Code.INVALID_ARGUMENT,
            "the body of application/grpc-web is one frame: a byte 0, or 1 where the message is compressed, "
            "4 bytes of length, and the message",
        )
    data = body[_PREFIX_BYTES:]
    if not body[0]:
        return data
    encoding = next((value for name, value in headers if name == _ENCODING), b"identity").strip().lower()
    if encoding == b"identity":
        # gRPC would have it INTERNAL, but the fault is the caller's.
        raise failure(
            Code.INVALID_ARGUMENT, "the message is marked as compressed, and the header grpc-encoding does not say how"
        )
    if encoding not in CODINGS:
        raise failure(
            Code.UNIMPLEMENTED,
            f"header grpc-encoding: one of identity, {ACCEPTED.decode()} is taken",
            headers=(_ACCEPT,),
        )
    return await expanded(data, encoding, limit, name="message", header="grpc-encoding")


def frame(data: bytes) -> bytes:
    """Return a message's frame."""
    return _frame(0, data)


def trailer_frame(status: Status | None, headers: Sequence[Header] = ()) -> bytes:
    """Return the last frame: the status, OK for None, and other trailers."""
    lines = [b"grpc-status: %d" % (status.code if status is not None else 0)]
    if status is not None:
        lines.append(b"grpc-message: " + quote(status.message, safe=_MESSAGE_SAFE).encode())
        if status.details:
            rich = status_pb2.Status(code=status.code, message=status.message, details=status.details)
            lines.append(b"grpc-status-details-bin: " + base64.b64encode(rich.SerializeToString()))
    lines += [name + b": " + value for name, value in headers]
    return _frame(_TRAILERS, b"\r\n".join(lines) + b"\r\n")


def unbase64(body: bytes) -> bytes:
    """Return what a body of grpc-web-text stands for; raises INVALID_ARGUMENT."""
    try:
        # A client may code each frame by itself, so that padding can stand in the middle.
        return b"".join(base64.b64decode(part + b"=" * (-len(part) % 4), validate=True) for part in body.split(b"="))
    except binascii.Error:
        raise failure(Code.INVALID_ARGUMENT, "the body of application/grpc-web-text is base64") from None


def _frame(flags: int, data: bytes) -> bytes:
    return struct.pack(">BI", flags, len(data)) + data
