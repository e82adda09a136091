"""Header blocks of gRPC over HTTP/2: requests encoded from parts that are ready, responses decoded once.

Requests use no dynamic table, so that a part of a block can be kept and put into any request. Servers are told to use
none either (SETTINGS_HEADER_TABLE_SIZE 0), so that a response's block means the same each time: `FieldDecoder` keeps
what blocks meant by their bytes.
"""

from dataclasses import dataclass
from urllib.parse import unquote

import grpc
import hpack

from edge.transcoding.transport.channel import Metadata
from shared.http2.codes import (
    STATUSES,
    ConnectionFault,
    ErrorCode,
    StreamFault,
    status_of_http,
)
from shared.http2.literals import CONTENT_TYPE, MetadataEncoder, decode_metadata, indexed, keep, literal, string
from shared.http2.messages import ACCEPTED_ENCODINGS

USER_AGENT = b"grpc-python-http2/1.0"

_KEPT_TIMEOUTS = 256
_KEPT_BLOCKS = 512
_KEPT_BLOCK_BYTES = 512
# RFC 7541, appendix A: names and fields of the static table.
_METHOD_POST = b"\x83"
_SCHEME = {False: b"\x86", True: b"\x87"}
_PATH, _AUTHORITY, _USER_AGENT = 4, 1, 58
# They are the transport's, and no metadata.
_OWN = frozenset(
    (b"content-type", b"grpc-encoding", b"grpc-accept-encoding", b"grpc-status", b"grpc-message", b"te", b"trailer")
)


class FieldEncoder:
    """Encodes the headers of requests to one server, of which `authority` is the name."""

    def __init__(self, authority: str, *, secure: bool) -> None:
        self._start = _METHOD_POST + _SCHEME[secure] + indexed(_AUTHORITY, authority.encode())
        self._end = b"".join(
            (
                indexed(CONTENT_TYPE, b"application/grpc"),
                indexed(_USER_AGENT, USER_AGENT),
                literal(b"te") + string(b"trailers"),
                literal(b"grpc-accept-encoding") + string(",".join(ACCEPTED_ENCODINGS).encode()),
            )
        )
        self._metadata = MetadataEncoder()
        self._timeouts: dict[float, bytes] = {}

    def of_method(self, path: str) -> bytes:
        """Return what all requests to a method have in common."""
        return self._start + indexed(_PATH, path.encode()) + self._end

    def encode(self, method: bytes, timeout: float | None, metadata: Metadata) -> bytes:
        """Return a request's block; raises ValueError for metadata that are none."""
        parts = [method]
        if timeout is not None:
            parts.append(self._timeouts.get(timeout) or self._timeout(timeout))
        parts.append(self._metadata.encode(metadata))
        return b"".join(parts)

    def _timeout(self, timeout: float) -> bytes:
        return keep(self._timeouts, timeout, literal(b"grpc-timeout") + string(timeout_text(timeout)), _KEPT_TIMEOUTS)


@dataclass(frozen=True, slots=True)
class Fields:
    """What a response's header block says.

    `interim` for an informational response, `refusal` where it is no answer of a gRPC server. `status` is the gRPC
    status where there is one, with its `message`; `encoding` is how messages are compressed.
    """

    interim: bool
    refusal: tuple[grpc.StatusCode, str] | None
    status: grpc.StatusCode | None
    message: str
    encoding: str
    metadata: tuple[tuple[str, str | bytes], ...]


class FieldDecoder:
    """Decodes the header blocks of responses; what short ones meant is kept, for a bounded number of them."""

    def __init__(self, max_bytes: int) -> None:
        self._max = max_bytes
        self._known: dict[bytes, Fields] = {}

    def decode(self, block: bytes) -> Fields:
        """Return what a block says; raises `ConnectionFault` for one that is none, `StreamFault` for one too large."""
        return self._known.get(block) or self._decode(block)

    def _decode(self, block: bytes) -> Fields:
        decoder = hpack.Decoder(max_header_list_size=self._max)
        decoder.max_allowed_table_size = decoder.header_table_size = 0
        try:
            fields = fields_of([(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)])
        except hpack.OversizedHeaderListError:
            # Without a dynamic table there is no state that the rest of the block could have changed.
            raise StreamFault(
                ErrorCode.CANCEL,
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"received metadata of more than {self._max} bytes",
            ) from None
        except hpack.HPACKError as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"a header block that is none: {error}") from error
        if len(block) <= _KEPT_BLOCK_BYTES:
            keep(self._known, block, fields, _KEPT_BLOCKS)
        return fields


def fields_of(headers: list[tuple[bytes, bytes]]) -> Fields:
    """Return what a response's headers, or its trailers, say."""
    http_status, content_type, encoding, message = b"", b"", b"identity", b""
    status: grpc.StatusCode | None = None
    metadata: list[tuple[str, str | bytes]] = []
    for name, value in headers:
        if name == b":status":
            http_status = value
        elif name == b"content-type":
            content_type = value
        elif name == b"grpc-encoding":
            encoding = value
        elif name == b"grpc-message":
            message = value
        elif name == b"grpc-status":
            status = STATUSES.get(int(value)) if _is_number(value) else None
            if status is None:
                status, message = grpc.StatusCode.UNKNOWN, message or b"the server ended the call by an unknown status"
        elif name not in _OWN and not name.startswith(b":"):
            metadata.append(decode_metadata(name, value))
    return Fields(
        interim=http_status.startswith(b"1"),
        refusal=_refusal(http_status, content_type) if http_status and status is None else None,
        status=status,
        message=unquote(message.decode("latin-1"), errors="replace"),
        encoding=encoding.decode("latin-1"),
        metadata=tuple(metadata),
    )


def timeout_text(seconds: float) -> bytes:
    """Return a timeout as the header `grpc-timeout` has it: at most 8 digits and a unit, rounded up."""
    for unit, scale in ((b"u", 1e6), (b"m", 1e3), (b"S", 1.0)):
        count = -int(-seconds * scale // 1)
        if count < 100_000_000:
            return b"%d%b" % (max(count, 1), unit)
    return b"99999999S"


def _refusal(http_status: bytes, content_type: bytes) -> tuple[grpc.StatusCode, str] | None:
    if http_status == b"200" and content_type.startswith(b"application/grpc"):
        return None
    number = int(http_status) if _is_number(http_status) else 0
    kind = content_type[:64].decode("latin-1")
    shown = "".join(c for c in kind if c.isprintable()) or "none"
    return status_of_http(number), f"the server's answer is not gRPC: HTTP status {number}, content type {shown}"


def _is_number(value: bytes) -> bool:
    return value.isdigit() and len(value) < 6
