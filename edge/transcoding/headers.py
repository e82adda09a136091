"""Headers: which of a request's become metadata, which metadata become a response's, and which never pass."""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edge.transcoding.errors import Code, failure
from edge.transcoding.options import HeaderRules

MetadataPair = tuple[str, str | bytes]
Header = tuple[bytes, bytes]

REQUEST_ID = "x-request-id"

CONDITION = "-if"
"""Behind the name of metadata: what the value depends on."""

_METADATA_PREFIX = b"grpc-metadata-"
_TRAILER_PREFIX = b"grpc-trailer-"
_FORWARDED_PREFIX = b"x-forwarded-"
_NAME = re.compile(r"[0-9a-z_.-]{1,128}\Z")
# gRPC over HTTP/2: ASCII-Value is printable ASCII and space.
_VALUE = re.compile(rb"[\x20-\x7e]*\Z")
_TEXT_VALUE = re.compile(r"[\x20-\x7e]*\Z")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._~:/+=-]{1,128}\Z")
# What frames HTTP and gRPC themselves; metadata of these names would corrupt a call or a response.
_FRAMING_NAMES = frozenset(
    (
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "date",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "server",
        "set-cookie",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    )
)
# The transcoder sets these itself, or passes the client's own header; the prefixed spelling never overrides them.
_OWNED_NAMES = frozenset((REQUEST_ID, "x-forwarded-for", "x-forwarded-host"))
# What gRPC-Web's clients say of themselves.
_WEB_NAMES = frozenset(("x-grpc-web", "x-user-agent"))
# Permanent message header names of the IANA registry, the request headers among them.
_PERMANENT = (
    "accept",
    "accept-charset",
    "accept-language",
    "accept-ranges",
    "authorization",
    "cache-control",
    "content-type",
    "cookie",
    "date",
    "expect",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-schedule-tag-match",
    "if-unmodified-since",
    "max-forwards",
    "origin",
    "pragma",
    "referer",
    "user-agent",
    "via",
    "warning",
)


class RequestHead:
    """What the transcoder itself reads from a request's headers; None for a header that was not sent."""

    __slots__ = (
        "accept",
        "accept_encoding",
        "content_encoding",
        "content_length",
        "content_type",
        "expect",
        "grpc_timeout",
        "if_none_match",
        "if_range",
        "metadata",
        "origin",
        "range",
        "request_id",
        "request_timeout",
        "te",
        "transfer_encoding",
    )

    def __init__(self) -> None:
        self.accept: bytes | None = None
        self.accept_encoding: bytes | None = None
        self.content_encoding: bytes | None = None
        self.content_length: bytes | None = None
        self.content_type: bytes | None = None
        self.expect: bytes | None = None
        self.grpc_timeout: bytes | None = None
        self.if_none_match: bytes | None = None
        self.if_range: bytes | None = None
        self.origin: bytes | None = None
        self.range: bytes | None = None
        self.request_id: bytes | None = None
        self.request_timeout: bytes | None = None
        self.te: bytes | None = None
        self.transfer_encoding: bytes | None = None
        self.metadata: list[MetadataPair] = []


_READ = {
    b"accept": "accept",
    b"accept-encoding": "accept_encoding",
    b"content-encoding": "content_encoding",
    b"content-length": "content_length",
    b"content-type": "content_type",
    b"expect": "expect",
    b"grpc-timeout": "grpc_timeout",
    b"if-none-match": "if_none_match",
    b"if-range": "if_range",
    b"origin": "origin",
    b"range": "range",
    b"te": "te",
    b"transfer-encoding": "transfer_encoding",
    b"x-request-id": "request_id",
    b"x-request-timeout": "request_timeout",
}
READ_NAMES = tuple(name.decode() for name in _READ)
"""Request headers that the transcoder reads itself."""


class ReservedNames:
    """Tells which metadata names no client may set and no backend may send on.

    Names are compared in lower case, with `_` and `.` read as `-`, and without the prefixes under which headers may
    carry metadata, so that no spelling gets around.
    """

    def __init__(self, reserved: Iterable[str]) -> None:
        names = [_plain(name) for name in reserved]
        self._exact = _FRAMING_NAMES | {name for name in names if not name.endswith("-")}
        self._prefixes = ("grpc-", *(name for name in names if name.endswith("-")))

    def __contains__(self, name: object) -> bool:
        plain = _plain(str(name))
        if plain.startswith(self._prefixes) or plain in self._exact or plain.removesuffix("-bin") in self._exact:
            return True
        stripped = plain.removeprefix("grpcgateway-")
        return stripped != plain and stripped in self


class RequestHeaders:
    """Reads a request's headers in one pass over them, by a table made at start."""

    def __init__(self, rules: HeaderRules, reserved: ReservedNames, *, permanent_prefix: str = "") -> None:
        self._reserved = reserved
        self._owned = _OWNED_NAMES | {rules.body_offset, f"{rules.body_offset}{CONDITION}"}
        self._forward_address = rules.forward_address
        forwarded = [name.lower() for name in rules.forwarded]
        self._forwarded: Mapping[bytes, tuple[str, ...]] = {
            name.encode(): keys
            for name in dict.fromkeys((*forwarded, *(_PERMANENT if permanent_prefix else ())))
            if (keys := self._keys(name, forwarded, permanent_prefix))
        }

    def read(self, headers: Iterable[Header], client: Sequence[Any] | None, limit: int) -> RequestHead:
        """Return what the headers say, and the metadata they become.

        More than `limit` bytes of names and values raise a failure of HTTP status 431; `-bin` values that are no
        base64 raise INVALID_ARGUMENT. Reserved and malformed names, and values that gRPC cannot carry, are dropped.
        """
        head = RequestHead()
        metadata = head.metadata
        forwarded, read = self._forwarded, _READ
        size = 0
        proxied: list[Header] = []
        for name, value in headers:
            size += len(name) + len(value)
            field = read.get(name)
            if field is not None:
                setattr(head, field, value)
            keys = forwarded.get(name)
            if keys is not None:
                if _VALUE.match(value):
                    text = value.decode("ascii")
                    for key in keys:
                        metadata.append((key, text))
                if name == b"host":
                    proxied.append((name, value))
            elif name.startswith(_METADATA_PREFIX):
                self._add_prefixed(name, value, metadata)
            elif name.startswith(_FORWARDED_PREFIX) or name == b"host":
                proxied.append((name, value))
        if size > limit:
            raise failure(
                Code.INVALID_ARGUMENT,
                f"the request's headers hold {size} bytes, the limit is {limit}",
                http_status=431,
            )
        self._add_proxied(proxied, client[0] if client else "", metadata)
        return head

    def _add_proxied(self, proxied: Iterable[Header], peer: str, metadata: list[MetadataPair]) -> None:
        """Add what proxies told of the client, and the peer's own address behind it."""
        addresses: list[str] = []
        host, original_host = "", ""
        for name, value in proxied:
            key = name.decode("latin-1")
            if not _VALUE.match(value) or not _NAME.match(key):
                continue
            text = value.decode("ascii")
            if key == "host":
                host = text
            elif key == "x-forwarded-for":
                addresses.append(text)
            elif key == "x-forwarded-host":
                original_host = text
            elif key not in self._reserved:
                metadata.append((key, text))
        if self._forward_address:
            original_host = original_host or host
            if peer:
                addresses.append(peer)
        if addresses and "x-forwarded-for" not in self._reserved:
            metadata.append(("x-forwarded-for", ", ".join(addresses)))
        if original_host and "x-forwarded-host" not in self._reserved:
            metadata.append(("x-forwarded-host", original_host))

    def add_plain(self, headers: Iterable[Header], metadata: list[MetadataPair]) -> None:
        """Add what a client of a gRPC protocol sends as metadata by plain names: `x-…` and `…-bin` headers."""
        for name, value in headers:
            if (name.startswith(b"x-") or name.endswith(b"-bin")) and name not in self._forwarded:
                key = name.decode("latin-1")
                if not name.startswith((_METADATA_PREFIX, _FORWARDED_PREFIX)) and key not in _WEB_NAMES:
                    self._add_prefixed(_METADATA_PREFIX + name, value, metadata)

    def _add_prefixed(self, name: bytes, value: bytes, metadata: list[MetadataPair]) -> None:
        key = name[len(_METADATA_PREFIX) :].decode("latin-1").lower()
        if not _NAME.match(key) or key in self._reserved or key in self._owned:
            return
        if key.endswith("-bin"):
            # One header may hold several values, as gRPC over HTTP/2 has it.
            metadata.extend((key, _unbase64(key, part.strip())) for part in value.split(b","))
        elif _VALUE.match(value):
            metadata.append((key, value.decode("ascii")))

    def _keys(self, name: str, forwarded: Sequence[str], permanent_prefix: str) -> tuple[str, ...]:
        # A name that the embedder reserved does not pass under its own name, whatever the list of names says.
        if name in self._reserved and not (permanent_prefix and name in _FRAMING_NAMES):
            return ()
        keys = []
        if name in forwarded and name not in _FRAMING_NAMES:
            keys.append(name)
        if permanent_prefix and name in _PERMANENT:
            keys.append(permanent_prefix + name)
        return tuple(keys)


class ResponseHeaders:
    """Turns a backend's metadata into response headers."""

    def __init__(self, rules: HeaderRules, reserved: ReservedNames) -> None:
        self._reserved = reserved
        self._returned = frozenset(name for name in rules.returned if not name.endswith("*"))
        self._returned_prefixes = tuple(name[:-1] for name in rules.returned if name.endswith("*"))
        self._status_code = rules.status_code
        self._body_length = rules.body_length
        self._body_offset = rules.body_offset

    def of_metadata(self, metadata: Iterable[MetadataPair]) -> list[Header]:
        """Return the headers of initial metadata: allowed names plain, others as `grpc-metadata-…`."""
        return self._headers(metadata, _METADATA_PREFIX)

    def of_trailers(self, metadata: Iterable[MetadataPair], *, asked: bool) -> list[Header]:
        """Return the headers of trailing metadata: allowed names plain, others as `grpc-trailer-…` when asked for."""
        return self._headers(metadata, _TRAILER_PREFIX if asked else None)

    def of_end(self, metadata: Iterable[MetadataPair]) -> list[Header]:
        """Return the trailers of trailing metadata: all as `grpc-trailer-…`, since a body has been sent already."""
        return self._headers(metadata, _TRAILER_PREFIX, listed=False)

    def plain(self, metadata: Iterable[MetadataPair]) -> list[Header]:
        """Return the headers of metadata by their own names, for clients of a gRPC protocol."""
        return self._headers(metadata, b"")

    def status_code(self, metadata: Iterable[MetadataPair]) -> int | None:
        """Return the success status that the backend chose for this call, if it chose a valid one."""
        for key, value in metadata:
            if key == self._status_code and isinstance(value, str) and len(value) == 3 and value.isdigit():
                status = int(value)
                return status if 200 <= status <= 299 else None
        return None

    def body_length(self, metadata: Iterable[MetadataPair]) -> int | None:
        """Return how many bytes the backend says that a streamed body has, if it says so."""
        return _number(metadata, self._body_length)

    def body_offset(self, metadata: Iterable[MetadataPair]) -> int:
        """Return where in a streamed body the bytes begin that the backend sends."""
        return _number(metadata, self._body_offset) or 0

    def _headers(self, metadata: Iterable[MetadataPair], prefix: bytes | None, *, listed: bool = True) -> list[Header]:
        headers: list[Header] = []
        for key, value in metadata:
            if key in (self._status_code, self._body_length, self._body_offset, REQUEST_ID):
                continue
            if isinstance(value, bytes):
                data = base64.b64encode(value)
            elif _TEXT_VALUE.match(value):
                data = value.encode("ascii")
            else:
                continue
            if listed and (key in self._returned or key.startswith(self._returned_prefixes)):
                headers.append((key.encode(), data))
            elif prefix is not None and key not in self._reserved:
                headers.append((prefix + key.encode(), data))
        return headers


def sane_request_id(value: bytes | None) -> str | None:
    """Return a client's request id if it is up to 128 characters that are safe in logs and headers, else None."""
    return value.decode("ascii") if value is not None and _REQUEST_ID.match(value) else None


def accepts_trailers(te: bytes | None) -> bool:
    """Tell whether a TE header asks for trailers."""
    return te is not None and b"trailers" in te.lower()


def _number(metadata: Iterable[MetadataPair], name: str) -> int | None:
    for key, value in metadata:
        if key == name and isinstance(value, str) and value.isascii() and value.isdigit():
            return int(value[:18])
    return None


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def _unbase64(key: str, value: bytes) -> bytes:
    try:
        data = value.replace(b"-", b"+").replace(b"_", b"/").rstrip(b"=")
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except binascii.Error:
        raise failure(
            Code.INVALID_ARGUMENT, f"header Grpc-Metadata-{key}: the value of a -bin header is base64"
        ) from None
