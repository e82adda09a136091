"""Behaviour of edge/transcoding/transport/http2: frames, messages, header blocks, targets, pauses."""

import zlib
from itertools import islice

import grpc
import hpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.transcoding.transport.http2.fields import FieldDecoder, FieldEncoder, timeout_text
from edge.transcoding.transport.http2.subchannel import Backoff
from edge.transcoding.transport.http2.target import Address, parse_target
from shared.http2 import frames
from shared.http2.codes import ConnectionFault, StreamFault
from shared.http2.messages import MAX_HELD_MESSAGES, MessageReader, prefix
from tests.support.raw_http2 import OK, block

EXAMPLES = settings(max_examples=60, deadline=None, database=None)
FRAMES = st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, frames.MAX_WINDOW), st.binary(max_size=60))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut bytes into pieces, some of them empty."""
    ends = sorted(place % (len(data) + 1) for place in places)
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]


@EXAMPLES
@given(st.lists(FRAMES, max_size=8), st.lists(st.integers(0, 1000), max_size=12))
def test_frames_are_the_same_however_their_bytes_arrive(sent: list[frames.Frame], places: list[int]) -> None:
    reader = frames.FrameReader(100)
    data = b"".join(frames.frame(*one) for one in sent)
    assert [got for piece in cut(data, places) for got in reader.feed(piece)] == sent


@EXAMPLES
@given(st.binary(max_size=200), st.lists(st.integers(0, 1000), max_size=12))
def test_any_bytes_are_frames_or_a_fault_however_they_arrive(data: bytes, places: list[int]) -> None:
    def read(pieces: list[bytes]) -> list[object]:
        reader = frames.FrameReader(100)
        got: list[object] = []
        try:
            for piece in pieces:
                got.extend(reader.feed(piece))
        except ConnectionFault as fault:
            return [*got, fault.code]
        return list(got)

    whole, parts = read([data]), read(cut(data, places))
    # What came before a fault may be handed over one by one or not at all.
    assert whole == parts or whole[-1:] == parts[-1:]


@EXAMPLES
@given(st.lists(st.binary(max_size=30), max_size=150), st.lists(st.integers(0, 6000), max_size=20), st.integers(0, 9))
def test_messages_are_the_same_however_their_bytes_arrive(sent: list[bytes], places: list[int], taking: int) -> None:
    reader = MessageReader(30)
    got: list[bytes] = []
    for piece in cut(b"".join(prefix(one) + one for one in sent), places):
        reader.feed(piece)
        got += take(reader, taking)
    got += take(reader, 1000)
    assert got == sent
    assert not reader.incomplete


def take(reader: MessageReader, most: int) -> list[bytes]:
    return [reader.take() for _ in range(most) if reader]


def test_no_more_messages_than_64_are_cut_out_before_they_are_asked_for() -> None:
    reader = MessageReader(100)
    reader.feed((prefix(b"ab") + b"ab") * 1000)
    assert len(reader._messages) == MAX_HELD_MESSAGES
    assert take(reader, 2000) == [b"ab"] * 1000


def test_a_message_says_what_it_lacks() -> None:
    reader = MessageReader(100)
    reader.feed(prefix(bytes(90))[:3])
    assert (reader.missing(), reader.incomplete) == (0, True)
    reader.feed(prefix(bytes(90))[3:] + bytes(10))
    assert reader.missing() == 80


@pytest.mark.parametrize(("encoding", "bits"), [("gzip", 31), ("deflate", 15)])
def test_a_decompression_bomb_is_refused_when_it_is_asked_for(encoding: str, bits: int) -> None:
    compress = zlib.compressobj(9, wbits=bits)
    bomb = compress.compress(bytes(50 << 20)) + compress.flush()
    reader = MessageReader(1 << 20)
    reader.set_encoding(encoding)
    reader.feed(b"\1" + len(bomb).to_bytes(4, "big") + bomb)
    with pytest.raises(StreamFault) as caught:
        reader.take()
    assert caught.value.status is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1e-9, b"1u"),
        (0.0015, b"1500u"),
        (60, b"60000000u"),
        (600, b"600000m"),
        (1e6, b"1000000S"),
        (1e12, b"99999999S"),
    ],
)
def test_a_timeout_is_written_as_grpc_has_it(seconds: float, text: bytes) -> None:
    assert timeout_text(seconds) == text


@EXAMPLES
@given(st.floats(1e-6, 1e7))
def test_a_timeout_is_rounded_up_and_hardly(seconds: float) -> None:
    text = timeout_text(seconds)
    said = int(text[:-1]) * {"u": 1e-6, "m": 1e-3, "S": 1.0}[text[-1:].decode()]
    assert seconds * (1 - 1e-9) <= said <= seconds * 1.0001 + 1.1e-6


TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300)
PAIRS = st.one_of(
    st.tuples(st.from_regex(r"x-[a-z0-9_.-]{1,40}", fullmatch=True).filter(lambda n: not n.endswith("-bin")), TEXT),
    st.tuples(st.just("x-data-bin"), st.binary(max_size=300)),
)


@EXAMPLES
@given(st.lists(PAIRS, max_size=6))
def test_headers_are_read_by_another_library_as_they_were_written(metadata: list[tuple[str, str | bytes]]) -> None:
    encoder = FieldEncoder("host:1", secure=False)
    encoded = encoder.encode(encoder.of_method("/a.B/C"), 60.0, metadata)
    read = [(str(name), str(value)) for name, value in hpack.Decoder(1 << 20).decode(encoded)]
    assert read[:9] == [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "host:1"),
        (":path", "/a.B/C"),
        ("content-type", "application/grpc"),
        ("user-agent", "grpc-python-http2/1.0"),
        ("te", "trailers"),
        ("grpc-accept-encoding", "identity,deflate,gzip"),
        ("grpc-timeout", "60000000u"),
    ]
    fields = FieldDecoder(1 << 20).decode(block((*OK, *read[9:])))
    assert list(fields.metadata) == metadata


@pytest.mark.parametrize(
    ("name", "value"), [("X-Up", "a"), ("x y", "a"), (":path", "/"), ("x", "ä"), ("x", "a\r\nb: c")]
)
def test_what_is_no_metadata_is_not_sent(name: str, value: str) -> None:
    encoder = FieldEncoder("host:1", secure=True)
    with pytest.raises(ValueError, match="metadata"):
        encoder.encode(encoder.of_method("/a.B/C"), None, [(name, value)])


def test_what_header_blocks_meant_is_kept_within_bounds() -> None:
    decoder = FieldDecoder(1 << 20)
    for number in range(2000):
        assert decoder.decode(block((*OK, ("x-n", str(number))))).metadata == (("x-n", str(number)),)
    assert len(decoder._known) <= 512
    first = block(OK)
    assert decoder.decode(first) is decoder.decode(first)
    large = block((*OK, ("x-n", "~" * 5000)))
    assert decoder.decode(large) is not decoder.decode(large)


@pytest.mark.parametrize(
    ("target", "authority", "addresses"),
    [
        ("localhost:50051", "localhost:50051", ()),
        ("chat", "chat:443", ()),
        ("dns:///chat.svc:8003", "chat.svc:8003", ()),
        ("dns:chat:8003", "chat:8003", ()),
        ("127.0.0.1:1", "127.0.0.1:1", ()),
        ("[::1]:1", "[::1]:1", ()),
        ("ipv4:10.0.0.1:1,10.0.0.2:2", "10.0.0.1:1", (Address("10.0.0.1", 1), Address("10.0.0.2", 2))),
        ("ipv6:[::1]:1", "[::1]:1", (Address("::1", 1),)),
        ("unix:/run/a.sock", "localhost", (Address("/run/a.sock", 0),)),
        ("unix:///run/a.sock", "localhost", (Address("/run/a.sock", 0),)),
        ("unix:a.sock", "localhost", (Address("a.sock", 0),)),
    ],
)
def test_targets_that_are_understood(target: str, authority: str, addresses: tuple[Address, ...]) -> None:
    parsed = parse_target(target)
    assert parsed is not None
    assert (parsed.authority, parsed.addresses) == (authority, addresses)


@pytest.mark.parametrize(
    "target",
    [
        "xds:///chat",
        "dns://8.8.8.8/chat:1",
        "unix-abstract:a",
        "vsock:1:2",
        "unix:",
        "host:0",
        "host:99999",
        "",
        "a b:1",
    ],
)
def test_targets_that_are_left_to_grpc(target: str) -> None:
    assert parse_target(target) is None


def test_pauses_between_attempts_grow_to_the_longest() -> None:
    pauses = list(islice(Backoff(initial=1, maximum=10, jitter=0.2).pauses(), 30))
    assert 0.8 <= pauses[0] <= 1.2
    assert all(8 <= pause <= 12 for pause in pauses[-10:])
    assert len(set(pauses)) == 30
