"""Behaviour of edge/transcoding/coded_body.py: what coded bodies stand for, whatever pieces they come in."""

import tracemalloc
import zlib

import brotli  # type: ignore[import-untyped] # no stubs exist
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.transcoding.coded_body import CodedBody
from edge.transcoding.errors import RpcFailure
from tests.support.vectors import CODERS

CODINGS = ("gzip", "deflate", "br", "zstd")
BOMB = 256 << 20


class Pieces:
    """A body that arrives in pieces; `taken` counts them."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces
        self.taken = 0

    async def receive(self) -> tuple[bytes, bool]:
        self.taken += 1
        return self._pieces[self.taken - 1], self.taken < len(self._pieces)

    async def drain(self) -> bool:
        self.taken = len(self._pieces)
        return True


def cut(data: bytes, size: int) -> Pieces:
    return Pieces(*(data[start : start + size] for start in range(0, max(len(data), 1), size)))


async def expanded(body: CodedBody) -> bytes:
    found, more = b"", True
    while more:
        piece, more = await body.receive()
        found += piece
    return found


@pytest.mark.parametrize("coding", CODINGS)
@settings(max_examples=30, deadline=None)
@given(plain=st.binary(max_size=300), repeated=st.integers(1, 3000), size=st.integers(1, 5000))
async def test_a_body_is_the_same_in_whatever_pieces_it_comes(
    coding: str, plain: bytes, repeated: int, size: int
) -> None:
    data = plain * repeated
    assert await expanded(CodedBody(cut(CODERS[coding](data), size), coding.encode())) == data


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_several_members_are_one_body(coding: str, size: int) -> None:
    data = CODERS[coding](b"one ") + CODERS[coding](b"") + CODERS[coding](b"two")
    assert await expanded(CodedBody(cut(data, size), coding.encode())) == b"one two"


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("size", [1, 1000])
async def test_a_body_that_ends_early_or_goes_on_is_told(coding: str, size: int) -> None:
    data = CODERS[coding](b"hello" * 10)
    with pytest.raises(RpcFailure, match=f"the request body ends in the middle of its {coding}"):
        await expanded(CodedBody(cut(data[:-1], size), coding.encode()))
    with pytest.raises(RpcFailure, match=f"the request body is no {coding}, as its header"):
        await expanded(CodedBody(cut(data + b"x" * 20, size), coding.encode()))


@pytest.mark.parametrize("coding", CODINGS)
async def test_no_body_at_all_is_none(coding: str) -> None:
    assert await expanded(CodedBody(Pieces(b""), coding.encode())) == b""


def bomb(coding: str) -> bytes:
    """256 MiB of zeros."""
    if coding == "br":
        return bytes(brotli.compress(bytes(BOMB), quality=5))
    if coding == "zstd":
        return zstandard.ZstdCompressor().compress(bytes(BOMB))
    coder = zlib.compressobj(level=9, wbits=31 if coding == "gzip" else 15)
    piece = bytes(1 << 20)
    return b"".join([*(coder.compress(piece) for _ in range(BOMB >> 20)), coder.flush()])


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_bomb_is_expanded_no_further_than_it_is_read(coding: str) -> None:
    body = CodedBody(Pieces(bomb(coding)), coding.encode())
    tracemalloc.start()
    try:
        read = 0
        while read < 32 << 20:
            piece, more = await body.receive()
            assert more
            read += len(piece)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert await body.drain()


async def test_a_window_that_would_fill_the_memory_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    coder = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    data = coder.compress(b"a") + coder.flush()
    with pytest.raises(RpcFailure, match="is no zstd"):
        await expanded(CodedBody(Pieces(data), b"zstd"))
