"""The headers of requests: decoded, and read as gRPC means them (PROTOCOL-HTTP2.md, "Requests")."""

import re
from typing import Final

import grpc
import hpack
from hpack.table import HeaderTable

from shared.http2.codes import ConnectionFault, ErrorCode, StreamFault
from shared.http2.literals import NO_TABLE, decode_metadata, keep
from shared.http2.messages import ACCEPTED_ENCODINGS

MAX_DECODED_BYTES = 128 << 10
"""Of one header block; more, which a table could make of a few bytes, ends the connection."""

MAX_VALUES = 256
"""Of one name in one header; a comma between two is cheaper to send than a value is to read."""

Pairs = tuple[tuple[str, str | bytes], ...]

_STATIC: Final = ((b"", b""), *((bytes(name), bytes(value)) for name, value in HeaderTable.STATIC_TABLE))
# The bits by which a change of the table's size is known.
_TABLE_SIZE = 0x20
_KEPT_NAMES = 256
_KEPT_TIMEOUTS = 256
# What RFC 9113, section 6.5.2, adds to each field; and, rounded up, what a field of the static table is in all.
_FIELD_BYTES = 32
_STATIC_FIELD_BYTES = 64
_NAME = re.compile(rb"[0-9a-z_.-]+\Z")
_TRAILERS: Final = b"trailers"
_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])\Z")
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}
# They are the transport's, and no metadata.
_OWN = frozenset(
    (
        b":method",
        b":scheme",
        b":authority",
        b":path",
        b"content-type",
        b"content-length",
        b"te",
        b"grpc-timeout",
        b"grpc-encoding",
        b"grpc-accept-encoding",
        b"grpc-message-type",
    )
)
# RFC 9113, section 8.2.2.
_OF_HTTP1 = frozenset((b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"))


class RequestHead:
    """What a request's headers say.

    `timeout` in seconds, None for none; `encoding` is how messages are compressed. `http_status` is another than 200
    where it is no call of gRPC; `refusal` is why it cannot be carried out, None where it can.
    """

    __slots__ = ("encoding", "http_status", "metadata", "path", "refusal", "timeout")

    def __init__(self, path: str, metadata: Pairs) -> None:
        self.path = path
        self.metadata = metadata
        self.timeout: float | None = None
        self.encoding = "identity"
        self.http_status = 200
        self.refusal: tuple[grpc.StatusCode, str] | None = None


class RequestDecoder:
    """Decodes the blocks of one connection, each of which must come here, in their order."""

    def __init__(self, max_metadata_bytes: int) -> None:
        self._max = max_metadata_bytes
        self._too_large = (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"received metadata of more than {max_metadata_bytes} bytes",
        )
        self._decoder = hpack.Decoder(max_header_list_size=MAX_DECODED_BYTES)
        self._names: dict[bytes, str] = {}
        self._timeouts: dict[bytes, float] = {}

    def decode(self, block: bytes) -> RequestHead:
        """Return what a block says; raises `ConnectionFault` for one that is none, `StreamFault` for a bad request."""
        fields = plain_fields(block, tableless=self._decoder.header_table_size == 0)
        if fields is None:
            fields = self._with_table(block)
            large = sum(len(name) + len(value) + _FIELD_BYTES for name, value in fields) > self._max
        else:
            large = len(block) + _STATIC_FIELD_BYTES * len(fields) > self._max
        # What it says beside is not worth its reading.
        return self.too_large() if large else self._read(fields)

    def too_large(self) -> RequestHead:
        """Return what stands for headers that are too large to be read, or of which only the beginning was kept."""
        head = RequestHead("", ())
        head.refusal = self._too_large
        return head

    def pass_over(self, block: bytes) -> bool:
        """Take in a block of which only the beginning is there; returns False where the rest could have a meaning.

        Without a table, there is none that the rest could change.
        """
        if block[:1] == NO_TABLE and block[1:2] and block[1] & 0xE0 != _TABLE_SIZE:
            self._decoder.header_table_size = 0
        return self._decoder.header_table_size == 0

    def skip(self, block: bytes) -> bool:
        """Take in a block that nobody wants to know about; tells whether it is a request, or raises `ConnectionFault`.

        Trailers have no pseudo-headers (RFC 9113, section 8.1).
        """
        fields = plain_fields(block, tableless=self._decoder.header_table_size == 0)
        if fields is None:
            fields = self._with_table(block)
        return any(name.startswith(b":") for name, _ in fields)

    def _with_table(self, block: bytes) -> list[tuple[bytes, bytes]]:
        try:
            return [(bytes(name), bytes(value)) for name, value in self._decoder.decode(block, raw=True)]
        except hpack.OversizedHeaderListError:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM, f"headers of more than {MAX_DECODED_BYTES} bytes"
            ) from None
        except hpack.HPACKError as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"a header block that is none: {error}") from error

    def _read(self, fields: list[tuple[bytes, bytes]]) -> RequestHead:
        own: dict[bytes, bytes] = {}
        metadata: list[tuple[str, str | bytes]] = []
        names = self._names
        for name, value in fields:
            known = names.get(name)
            if known is not None:
                metadata.append((known, _text(value)))
            elif name in _OWN:
                if name in own:
                    raise _malformed("a header twice")
                own[name] = value
            elif name.endswith(b"-bin"):
                self._check_name(name)
                # Several values of one name may come as one (PROTOCOL-HTTP2.md, "Custom-Metadata").
                values = value.split(b",")
                if len(values) > MAX_VALUES:
                    raise _too_many(len(values))
                metadata += [decode_metadata(name, one.strip()) for one in values]
            else:
                self._check_name(name)
                metadata.append((keep(names, name, name.decode(), _KEPT_NAMES), _text(value)))
        if b":path" not in own or b":scheme" not in own or b":method" not in own:
            raise _malformed("a request without its path, its scheme or its method")
        last = fields[3 if b":authority" in own else 2][0]
        if not fields[0][0][:1] == fields[1][0][:1] == fields[2][0][:1] == last[:1] == b":":
            raise _malformed("a pseudo-header behind others")
        if not own[b":path"] or own.get(b"te", _TRAILERS) != _TRAILERS:
            raise _malformed("an empty path, or transfer codings")
        head = RequestHead(_text(own[b":path"]), tuple(metadata))
        if own[b":method"] != b"POST":
            head.http_status = 405
        elif not _is_grpc(own.get(b"content-type", b"")):
            head.http_status = 415
        if (timeout := own.get(b"grpc-timeout")) is not None:
            self._read_timeout(head, timeout)
        if (encoding := own.get(b"grpc-encoding")) is not None:
            head.encoding = encoding.decode("latin-1")
            if head.encoding not in ACCEPTED_ENCODINGS:
                head.refusal = (grpc.StatusCode.UNIMPLEMENTED, "messages are compressed in a way that is not known")
        return head

    def _read_timeout(self, head: RequestHead, text: bytes) -> None:
        head.timeout = self._timeouts.get(text)
        if head.timeout is not None:
            return
        match = _TIMEOUT.match(text)
        if match is None:
            head.refusal = (
                grpc.StatusCode.INTERNAL,
                "grpc-timeout: must be up to 8 digits and one of H, M, S, m, u, n",
            )
            return
        head.timeout = keep(self._timeouts, text, int(match[1]) * _UNITS[match[2]], _KEPT_TIMEOUTS)

    def _check_name(self, name: bytes) -> None:
        if not _NAME.match(name):
            raise _malformed("a header whose name is not of a-z, 0-9, '-', '_' and '.'")
        if name in _OF_HTTP1:
            raise _malformed("a header of HTTP/1's connections")


def plain_fields(block: bytes, *, tableless: bool) -> list[tuple[bytes, bytes]] | None:
    """Return the fields of a block that neither reads nor changes a dynamic table, nor uses Huffman's code; or None.

    gRPC's own clients and the edge send such blocks, once they know that there is no table; with `tableless`, what
    would be put into one is plain, too. What is no block at all gives None as well.
    """
    fields: list[tuple[bytes, bytes]] = []
    at, end = 0, len(block)
    changing = 0x20 if tableless else 0x60
    try:
        while at < end:
            first = block[at]
            at += 1
            if first & 0x80:
                if not 0x80 < first < 0x80 + len(_STATIC):
                    return None
                fields.append(_STATIC[first & 0x7F])
                continue
            if first & 0x40 and tableless:
                index, most = first & 0x3F, 0x3F
            elif first & changing:
                return None
            else:
                index, most = first & 0x0F, 0x0F
            if index == most:
                index += block[at]
                at += 1
                if block[at - 1] & 0x80 or index >= len(_STATIC):
                    return None
            if index:
                name = _STATIC[index][0]
            else:
                size = block[at]
                if size >= 0x7F:
                    return None
                at += 1 + size
                name = block[at - size : at]
            size = block[at]
            at += 1
            if size & 0x80:
                return None
            if size == 0x7F:
                size, at = _long_size(block, at)
            at += size
            fields.append((name, block[at - size : at]))
    except IndexError:
        return None
    return fields if at == end else None


def _long_size(block: bytes, at: int) -> tuple[int, int]:
    """Return a size that is more than a byte tells, and where the string begins; raises IndexError."""
    size, shift = 0x7F, 0
    while shift < 28:
        more = block[at]
        at += 1
        size += (more & 0x7F) << shift
        if more < 0x80:
            return size, at
        shift += 7
    raise IndexError


def _text(value: bytes) -> str:
    text = value.decode("utf-8", "replace")
    if not text.isprintable():
        raise _malformed("a header whose value is not printable")
    return text


def _is_grpc(content_type: bytes) -> bool:
    return content_type.startswith(b"application/grpc") and content_type[16:17] in (b"", b"+", b";")


def _too_many(values: int) -> StreamFault:
    return StreamFault(
        ErrorCode.ENHANCE_YOUR_CALM, grpc.StatusCode.RESOURCE_EXHAUSTED, f"{values} values of one name, in one header"
    )


def _malformed(reason: str) -> StreamFault:
    return StreamFault(ErrorCode.PROTOCOL_ERROR, grpc.StatusCode.INTERNAL, reason)
