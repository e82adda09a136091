"""The headers and trailers of answers (PROTOCOL-HTTP2.md, "Responses")."""

from typing import Final
from urllib.parse import quote

import grpc

from shared.http2.literals import CONTENT_TYPE, NO_TABLE, indexed, literal, string
from shared.http2.messages import ACCEPTED_ENCODINGS

MAX_DETAILS_BYTES = 4 << 10
"""Of a status's details as they travel. gRPC's clients may refuse 8 KiB of metadata, and would see no status at all."""

_ACCEPTED: Final = literal(b"grpc-accept-encoding") + string(",".join(ACCEPTED_ENCODINGS).encode())
HEAD: Final = NO_TABLE + b"\x88" + indexed(CONTENT_TYPE, b"application/grpc") + _ACCEPTED
"""What comes before the metadata of an answer.

It says first that no dynamic table is used; said in each answer, and to every client, it is the same for all.
"""

_STATUS = 8
_GRPC_STATUS: Final = literal(b"grpc-status")
_GRPC_MESSAGE: Final = literal(b"grpc-message")
_STATUSES: Final = {status: _GRPC_STATUS + string(b"%d" % status.value[0]) for status in grpc.StatusCode}
OK_TRAILERS: Final = _STATUSES[grpc.StatusCode.OK]
# "Percent-Encoded": all that is printable but the sign itself.
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) != "%")


def trailers(status: grpc.StatusCode, details: str, metadata: bytes) -> bytes:
    """Return the block that ends a call, with metadata that are encoded."""
    if not details:
        return _STATUSES[status] + metadata
    text = quote(details, safe=_PLAIN)
    if len(text) > MAX_DETAILS_BYTES:
        # Not in the middle of a character that was encoded.
        text = text[:MAX_DETAILS_BYTES]
        cut = text.rfind("%", -2)
        text = text[:cut] if cut >= 0 else text
    return b"".join((_STATUSES[status], _GRPC_MESSAGE, string(text.encode()), metadata))


def refusal(http_status: int) -> bytes:
    """Return the block that answers what is no call of gRPC."""
    allow = literal(b"allow") + string(b"POST") if http_status == 405 else b""
    return NO_TABLE + indexed(_STATUS, b"%d" % http_status) + allow
