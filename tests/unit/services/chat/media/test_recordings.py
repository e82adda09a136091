"""What a recording is."""

import pytest

from services.chat.media.recordings import UNKNOWN, format_of


@pytest.mark.parametrize(
    ("head", "suffix"),
    [
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "wav"),
        (b"fLaC\x00\x00\x00\x22", "flac"),
        (b"OggS\x00\x02", "ogg"),
        (b"\x1a\x45\xdf\xa3\x01", "webm"),
        (b"\x00\x00\x00\x20ftypM4A ", "m4a"),
        (b"ID3\x04\x00", "mp3"),
        (b"\xff\xfb\x90\x64", "mp3"),
    ],
)
def test_the_first_bytes_say_what_it_is_whatever_the_client_says(head: bytes, suffix: str):
    assert format_of(head + bytes(32), "text/plain")[0] == suffix


def test_the_client_is_believed_where_they_do_not():
    assert format_of(b"\x00\x00\x01\xba", "video/mpeg") == ("mpeg", "video/mpeg")
    assert format_of(b"?", "Audio/X-Wav; rate=8000") == ("wav", "audio/x-wav")


def test_what_nobody_knows_is_just_bytes():
    assert format_of(b"", "") == format_of(b"hello", "text/plain") == UNKNOWN
