"""Whole bodies on their way out: entity tags, conditional requests and content codings (RFC 9110, 8.4, 8.8 and 13)."""

import gzip
import hashlib
from collections.abc import Callable, Collection, Mapping

import brotli  # type: ignore[import-untyped] # no stubs exist
import zstandard

from edge.transcoding.exchange import Exchange
from edge.transcoding.headers import Header
from edge.transcoding.media import MediaCache

MIN_CODED_BYTES = 1024
"""A body shorter than this fits one packet, and coding it saves nothing."""

_VARY: Header = (b"vary", b"accept-encoding")
_KEPT_BY_304 = frozenset((b"cache-control", b"content-location", b"date", b"etag", b"expires", b"vary"))
_CODED_SUFFIXES = (b"+json", b"+xml", b"/json", b"/xml", b"/javascript", b"/x-protobuf", b"/x-ndjson")


def _zstd(body: bytes) -> bytes:
    # A compressor must not be shared by threads, and making one costs little beside its use.
    return zstandard.ZstdCompressor(level=3).compress(body)


def _brotli(body: bytes) -> bytes:
    # Quality 4 costs about as much as gzip's 6 and saves more; the default of 11 is for files coded once.
    return bytes(brotli.compress(body, quality=4))


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, compresslevel=5, mtime=0)


# In the order of preference among those that a client likes equally.
_CODERS: Mapping[bytes, Callable[[bytes], bytes]] = {b"zstd": _zstd, b"br": _brotli, b"gzip": _gzip}


class Representation:
    """Sends whole bodies.

    `etags`: answer GET with a weak ETag of the body where the backend gives none, and 304 where If-None-Match has it.
    `codings`: code bodies of at least `MIN_CODED_BYTES` as Accept-Encoding asks.
    """

    def __init__(self, *, etags: bool, codings: bool) -> None:
        self._etags = etags
        self._codings = codings
        self._coding = MediaCache(chosen_coding)

    async def send(self, exchange: Exchange, status: int, headers: list[Header], body: bytes) -> None:
        """Send a successful reply; `headers` hold its content type."""
        if self._etags and status == 200 and exchange.scope["method"] in ("GET", "HEAD"):
            tag = next((value for name, value in headers if name == b"etag"), None)
            if tag is None:
                tag = b'W/"%b"' % hashlib.blake2b(body, digest_size=12).hexdigest().encode()
                headers.append((b"etag", tag))
            if await send_if_known(exchange, headers, tag):
                return
        if self._codings and len(body) >= MIN_CODED_BYTES and _is_worth_coding(headers):
            headers.append(_VARY)
            coding = self._coding(exchange.head.accept_encoding) if exchange.head.accept_encoding else None
            if coding is not None:
                headers.append((b"content-encoding", coding))
                body = _CODERS[coding](body)
        await exchange.reply(status, headers, body)


async def send_if_known(exchange: Exchange, headers: list[Header], tag: bytes) -> bool:
    """Answer 304 where the client's If-None-Match has the tag, and tell whether that was so."""
    if exchange.head.if_none_match is None or not matches(exchange.head.if_none_match, tag):
        return False
    await exchange.reply(304, [header for header in headers if header[0] in _KEPT_BY_304], b"")
    return True


def matches(if_none_match: bytes, tag: bytes) -> bool:
    """Tell whether an If-None-Match header names a tag, by the weak comparison of RFC 9110, 8.8.3.2."""
    opaque = tag.removeprefix(b"W/")
    given = [item.strip() for item in if_none_match.split(b",")]
    return given == [b"*"] or any(item.removeprefix(b"W/") == opaque for item in given)


def chosen_coding(accept_encoding: bytes, offers: Collection[bytes] = tuple(_CODERS)) -> bytes | None:
    """Return the content coding that an Accept-Encoding header likes best of the offers, None for none at all."""
    qualities: dict[bytes, float] = {}
    for item in accept_encoding.lower().split(b",")[:32]:
        name, _, parameter = item.partition(b";")
        quality = 1.0
        key, _, value = parameter.partition(b"=")
        if key.strip() == b"q":
            try:
                quality = float(value)
            except ValueError:
                quality = 0.0
        qualities[name.strip()] = quality
    rest = qualities.get(b"*", 0.0)
    liked = {coding: qualities.get(coding, rest) for coding in offers}
    best = max(liked, key=lambda coding: liked[coding])
    return best if liked[best] > 0 else None


def _is_worth_coding(headers: list[Header]) -> bool:
    content_type = b""
    for name, value in headers:
        if name == b"content-encoding":
            return False
        if name == b"content-type":
            content_type = value.partition(b";")[0].strip().lower()
    return content_type.startswith(b"text/") or content_type.endswith(_CODED_SUFFIXES)
