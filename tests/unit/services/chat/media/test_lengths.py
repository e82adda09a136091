"""How long a recording may be."""

import struct
import time

import pytest

from services.chat.media.lengths import most_milliseconds
from tests.support.recordings import wav


def ogg(seconds: int) -> bytes:
    def page(kind: int, granule: int, body: bytes) -> bytes:
        head = b"OggS" + struct.pack("<BBqIIIB", 0, kind, granule, 1, 0, 0, 1)
        return head + bytes([len(body)]) + body

    opus = b"OpusHead" + struct.pack("<BBHIHB", 1, 1, 0, 48000, 0, 0)
    return page(2, 0, opus) + page(4, seconds * 48000, b"x" * 50)


def flac(seconds: int) -> bytes:
    rate, channels, bits = 8000, 1, 16
    packed = rate << 44 | (channels - 1) << 41 | (bits - 1) << 36 | seconds * rate
    info = struct.pack(">HH", 4096, 4096) + bytes(6) + packed.to_bytes(8, "big") + bytes(16)
    return b"fLaC\x80\x00\x00\x22" + info + bytes(50)


def m4a(seconds: int) -> bytes:
    def atom(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body) + 8) + name + body

    head = atom(b"mvhd", bytes(12) + struct.pack(">II", 1000, seconds * 1000) + bytes(80))
    return atom(b"ftyp", b"M4A " + bytes(8)) + atom(b"moov", head)


MP3 = (b"\xff\xfb\x90\x00" + bytes(413)) * 100


@pytest.mark.parametrize(
    ("suffix", "data", "milliseconds"),
    [
        ("wav", wav(3), 4000),
        ("ogg", ogg(61), 61_000),
        ("flac", flac(7), 7000),
        ("m4a", m4a(90), 90_000),
        ("mp3", MP3, 3000),
    ],
)
def test_the_container_says_how_long_it_is(suffix, data, milliseconds):
    assert most_milliseconds(data, suffix) == milliseconds


def test_a_container_that_says_less_than_its_bytes_can_be_is_not_believed():
    assert most_milliseconds(m4a(1) + bytes(640_000), "m4a") == 11_000
    data = bytearray(wav(10))
    data[40:44] = struct.pack("<I", 16000)
    assert most_milliseconds(bytes(data), "wav") == 11_000


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"\x1aE\xdf\xa3" + bytes(100), b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(64)]
)
def test_what_does_not_say_it_has_no_length(data):
    assert most_milliseconds(data, "wav") is None


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xfb" * (12 << 20),
        b"ID3\x03\x00\x00\x00\x00\x0f\x76" + bytes(24 << 20),
        (b"OggS\x00\x00" + bytes(20) + b"\x01\x01x") * 800_000,
        b"\x00\x00\x00\x08ftyp" * (3 << 20),
    ],
    ids=["mp3", "id3", "ogg", "m4a"],
)
def test_a_file_that_would_be_read_for_ever_is_given_up(data):
    began = time.process_time()
    assert most_milliseconds(data, "mp3") is None
    # Seconds, if it were read to its end.
    assert time.process_time() - began < 0.5
