"""Request bodies with a content coding (RFC 9110, 8.4), expanded as they arrive, a bounded piece at a time.

What a body expands to counts against its route's limits, so that a few bytes which stand for gigabytes end as a body
that is too large. Nothing is expanded before somebody takes it.
"""

import asyncio
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import brotli  # type: ignore[import-untyped] # no stubs exist
import zstandard

from edge.transcoding.errors import Code, RpcFailure, failure
from edge.transcoding.raw_body import Body

PIECE_BYTES = 1 << 18
"""How much is expanded at once, more or less."""

_ZSTD_SLICE = 128
"""Bytes that are given to zstandard at once, which gives back all they stand for: 128 KiB for every 4 at most."""
_ZSTD_WINDOW = 8 << 20  # RFC 9659: what a receiver of this content coding has to support, and a sender to stay within


class _Expander(Protocol):
    """Expands one body."""

    @property
    def finished(self) -> bool:
        """Whether the body may end here."""
        ...

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Yield what these bytes stand for; raises the library's error for bytes that stand for nothing."""
        ...


class _Zlib:
    """gzip (RFC 1952), one or several members; or deflate, which in HTTP is the zlib format (RFC 1950)."""

    def __init__(self, window_bits: int) -> None:
        self._window_bits = window_bits
        self._member = zlib.decompressobj(window_bits)

    @property
    def finished(self) -> bool:
        return self._member.eof

    def pieces(self, data: bytes) -> Iterator[bytes]:
        while True:
            if self._member.eof:
                if not data:
                    return
                self._member = zlib.decompressobj(self._window_bits)
            piece = self._member.decompress(data, PIECE_BYTES)
            data = self._member.unconsumed_tail or self._member.unused_data
            if piece:
                yield piece
            # A full piece may have more behind it although all bytes were taken.
            if not data and len(piece) < PIECE_BYTES:
                return


class _Zstandard:
    """zstd (RFC 8878), one or several frames."""

    def __init__(self) -> None:
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
        self._frame: Any = self._decompressor.decompressobj()

    @property
    def finished(self) -> bool:
        return bool(self._frame.eof)

    def pieces(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _ZSTD_SLICE):
            rest = data[start : start + _ZSTD_SLICE]
            while rest:
                if self._frame.eof:
                    self._frame = self._decompressor.decompressobj()
                piece: bytes = self._frame.decompress(rest)
                rest = self._frame.unused_data if self._frame.eof else b""
                if piece:
                    yield piece


class _Brotli:
    """br (RFC 7932)."""

    def __init__(self) -> None:
        self._decompressor: Any = brotli.Decompressor()

    @property
    def finished(self) -> bool:
        return bool(self._decompressor.is_finished())

    def pieces(self, data: bytes) -> Iterator[bytes]:
        piece = self._decompressor.process(data, output_buffer_limit=PIECE_BYTES)
        while piece:
            yield piece
            if self._decompressor.can_accept_more_data():
                return
            piece = self._decompressor.process(b"", output_buffer_limit=PIECE_BYTES)


_EXPANDERS: Mapping[bytes, Callable[[], _Expander]] = {
    b"gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    b"deflate": lambda: _Zlib(zlib.MAX_WBITS),
    b"br": _Brotli,
    b"zstd": _Zstandard,
}
_ALIASES = {b"x-gzip": b"gzip"}
CODINGS = tuple(_EXPANDERS)
"""Names of the codings that are known."""

ACCEPTED = b", ".join(CODINGS)
"""The same as a header has them."""

_HEADER = "Content-Encoding"
_ERRORS = (zlib.error, brotli.error, zstandard.ZstdError)


class CodedBody:
    """What a coded body stands for, as a `Body`."""

    def __init__(self, body: Body, coding: bytes, *, name: str = "request body", header: str = _HEADER) -> None:
        self._body = body
        self._coding = coding.decode()
        self._name = name
        self._header = header
        self._expander = _EXPANDERS[coding]()
        self._pieces: Iterator[bytes] = iter(())
        self._more = True
        self._empty = True

    async def receive(self) -> tuple[bytes, bool]:
        """Return the next piece and whether more may follow; raises INVALID_ARGUMENT for what is not so coded."""
        while True:
            try:
                piece = next(self._pieces, None)
            except _ERRORS:
                raise self._malformed(f"is no {self._coding}, as its header {self._header} says") from None
            if piece is not None:
                # Expanding takes no waiting, and others want their turn.
                await asyncio.sleep(0)
                return piece, True
            if not self._more:
                if not self._empty and not self._expander.finished:
                    raise self._malformed(f"ends in the middle of its {self._coding}")
                return b"", False
            data, self._more = await self._body.receive()
            if data:
                self._empty = False
                self._pieces = self._expander.pieces(data)

    async def drain(self) -> bool:
        """See `Body`; nothing is expanded any more."""
        return not self._more or await self._body.drain()

    def _malformed(self, what: str) -> RpcFailure:
        return failure(Code.INVALID_ARGUMENT, f"the {self._name} {what}")


class _Whole:
    """A body that is there."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def receive(self) -> tuple[bytes, bool]:
        return self._data, False

    async def drain(self) -> bool:
        return True


async def expanded(data: bytes, coding: bytes, limit: int, *, name: str, header: str) -> bytes:
    """Return what bytes of a known coding stand for; `name` is theirs, and `header` that of the header that says so.

    Raises INVALID_ARGUMENT where they stand for nothing, and for more than `limit` bytes a failure of HTTP status 413,
    before much more is expanded.
    """
    body = CodedBody(_Whole(data), coding, name=name, header=header)
    found, more = bytearray(), True
    while more:
        piece, more = await body.receive()
        found += piece
        if len(found) > limit:
            raise failure(
                Code.INVALID_ARGUMENT,
                f"the {name} is larger than this route's limit of {limit} bytes when it is expanded",
                http_status=413,
            )
    return bytes(found)


def decoded(body: Body, content_encoding: bytes | None, *, codings: bool) -> Body:
    """Return what a body with this Content-Encoding stands for.

    Raises a failure of HTTP status 415 for a coding that is not known, for several, and for any without `codings`.
    """
    coding = _coding_of(content_encoding or b"identity")
    if coding == b"identity":
        return body
    if codings and coding in _EXPANDERS:
        return CodedBody(body, coding)
    accepted = ACCEPTED if codings else b"identity"
    what = f"one of {ACCEPTED.decode()}, or none at all, is taken" if codings else "bodies are taken without a coding"
    raise failure(
        Code.INVALID_ARGUMENT,
        f"header Content-Encoding: {what}",
        http_status=415,
        headers=((b"accept-encoding", accepted),),
    )


def is_known(content_encoding: bytes) -> bool:
    """Return whether bodies with this Content-Encoding can be read."""
    return _coding_of(content_encoding) in (b"identity", *CODINGS)


def _coding_of(content_encoding: bytes) -> bytes:
    coding = content_encoding.strip().lower()
    return _ALIASES.get(coding, coding)
