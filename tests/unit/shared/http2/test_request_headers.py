"""What the server reads in a request's headers, and how they are compressed."""

from typing import Any

import grpc
import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.http2.codes import ConnectionFault, StreamFault
from shared.http2.literals import MetadataEncoder
from shared.http2.server.requests import RequestDecoder, plain_fields
from shared.http2.server.responses import MAX_DETAILS_BYTES, trailers
from tests.support.http2_server import REQUEST, request

EXAMPLES = settings(max_examples=80, deadline=None, database=None)
NAMES = st.sampled_from((b":path", b"content-type", b"user-agent", b"x-a", b"x-" + b"n" * 100, b"www-authenticate"))
FIELDS = st.lists(st.tuples(NAMES, st.binary(max_size=400)), max_size=8)


def encoded(fields: list[tuple[bytes, bytes]], table: int, *, huffman: bool) -> bytes:
    encoder = hpack.Encoder()
    encoder.header_table_size = table
    block: bytes = encoder.encode(fields, huffman=huffman)
    return block


@EXAMPLES
@given(FIELDS, st.sampled_from((0, 4096)), st.booleans())
def test_a_block_means_what_the_library_says_however_it_is_read(
    fields: list[tuple[bytes, bytes]], table: int, huffman: bool
) -> None:
    block = encoded(fields, table, huffman=huffman)
    decoder = hpack.Decoder()
    expected = [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]
    tableless = decoder.header_table_size == 0
    assert expected == fields
    assert plain_fields(block, tableless=tableless) in (None, fields)
    # Without the note that there is no table, which stands at the beginning, it is plain.
    if table == 0 and not huffman:
        assert plain_fields(block.removeprefix(b" "), tableless=True) == fields


@EXAMPLES
@given(st.binary(max_size=200), st.booleans())
def test_what_is_no_block_is_never_taken_for_one(block: bytes, tableless: bool) -> None:
    found = plain_fields(block, tableless=tableless)
    if found is not None:
        assert found == [(bytes(name), bytes(value)) for name, value in hpack.Decoder().decode(block, raw=True)]


@pytest.mark.parametrize("table", [0, 4096])
def test_tables_are_kept_from_block_to_block(table: int) -> None:
    encoder = hpack.Encoder()
    encoder.header_table_size = table
    decoder = RequestDecoder(32 << 10)
    for _ in range(3):
        head = decoder.decode(encoder.encode(request(("x-a", "1"), ("x-b-bin", "AP8"), ("grpc-timeout", "5S"))))
        assert head.metadata == (("x-a", "1"), ("x-b-bin", b"\0\xff"))
        assert (head.path, head.timeout, head.refusal) == ("/test.v1.Echo/Say", 5.0, None)
    decoder.skip(encoder.encode((("x-c", "skipped"),)))
    assert decoder.decode(encoder.encode(request(("x-c", "skipped")))).metadata == (("x-c", "skipped"),)


def test_metadata_go_through_unchanged() -> None:
    metadata = (("x-a", ""), ("x-a", " ~!"), ("x-bin", b"\0\xff" * 100), ("x-long", "v" * 3000), ("x.y_z-0", "%"))
    own = hpack.Encoder()
    own.header_table_size = 0
    block = own.encode(REQUEST) + MetadataEncoder().encode(metadata)
    assert RequestDecoder(32 << 10).decode(block).metadata == metadata


@pytest.mark.parametrize(
    ("text", "seconds"), [("1H", 3600), ("2M", 120), ("3S", 3), ("4m", 0.004), ("5u", 5e-6), ("6n", 6e-9)]
)
def test_deadlines_have_units(text: str, seconds: float) -> None:
    head = RequestDecoder(32 << 10).decode(hpack.Encoder().encode(request(("grpc-timeout", text))))
    assert head.timeout == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "S", "5", "-1S", "1.5S", "5s", "5S ", "123456789n"])
def test_what_is_no_deadline_is_refused_by_name(text: str) -> None:
    head = RequestDecoder(32 << 10).decode(hpack.Encoder().encode(request(("grpc-timeout", text))))
    assert head.refusal is not None
    assert "grpc-timeout" in head.refusal[1]


@pytest.mark.parametrize("kind", ["", "text/html", "application/json", "application/grpcweb", "application/grpc-web"])
def test_what_is_not_grpc_is_no_call(kind: str) -> None:
    fields = [(name, kind if name == "content-type" else value) for name, value in REQUEST]
    assert RequestDecoder(32 << 10).decode(hpack.Encoder().encode(fields)).http_status == 415


def test_many_different_names_are_not_kept() -> None:
    decoder, encoder = RequestDecoder(32 << 10), hpack.Encoder()
    encoder.header_table_size = 0
    for number in range(1000):
        decoder.decode(encoder.encode(request((f"x-{number}", ""), ("grpc-timeout", f"{number}S"))))
    assert len(decoder._names) <= 256
    assert len(decoder._timeouts) <= 256


def test_faults_say_what_is_wrong() -> None:
    with pytest.raises(StreamFault, match="twice"):
        RequestDecoder(1 << 10).decode(hpack.Encoder().encode((*REQUEST, (":path", "/x"))))
    with pytest.raises(ConnectionFault, match="none"):
        RequestDecoder(1 << 10).decode(b"\xff")


def test_words_are_encoded_and_cut_between_characters() -> None:
    block = trailers(grpc.StatusCode.NOT_FOUND, "ä" * 10_000, b"")
    fields: dict[Any, Any] = dict(hpack.Decoder(max_header_list_size=1 << 20).decode(block))
    message = str(fields["grpc-message"])
    assert len(message) <= MAX_DETAILS_BYTES
    assert message.replace("%C3%A4", "") in ("", "%C3")
