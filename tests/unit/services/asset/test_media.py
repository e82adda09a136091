"""Telling images by their first bytes."""

import pytest

from services.asset.media import JPEG, PNG, WEBP, MediaType, format_of, sniff_image


@pytest.mark.parametrize(
    ("data", "media"),
    [
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", PNG),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", JPEG),
        (b"\xff\xd8\xff\xdb\x00\x43", JPEG),
        (b"RIFF\x24\x00\x00\x00WEBPVP8 ", WEBP),
    ],
)
def test_images_are_known_by_their_signature(data: bytes, media: MediaType) -> None:
    assert sniff_image(data) is media


@pytest.mark.parametrize(
    "data",
    [b"", b"\x89PNG", b"\xff\xd8", b"RIFF\x24\x00\x00\x00WAVEfmt ", b"GIF89a", b"<svg xmlns=''>", b"<!doctype html>"],
)
def test_other_bytes_are_no_image(data: bytes) -> None:
    assert sniff_image(data) is None


def test_the_format_is_the_end_of_the_media_type() -> None:
    assert [format_of(media.content_type) for media in (PNG, JPEG, WEBP)] == ["png", "jpeg", "webp"]
