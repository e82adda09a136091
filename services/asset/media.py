"""What bytes are, by what they begin with: a provider's or a client's word about them is never taken."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MediaType:
    """A kind of file: its media type, the name of its format, and the extension of its file names."""

    content_type: str
    file_format: str
    extension: str


PNG = MediaType("image/png", "png", "png")
JPEG = MediaType("image/jpeg", "jpeg", "jpg")
WEBP = MediaType("image/webp", "webp", "webp")

IMAGE_FORMATS = tuple(one.file_format for one in (PNG, JPEG, WEBP))
"""Formats that images can be asked for in."""


def sniff_image(data: bytes) -> MediaType | None:
    """Returns what an image is, None for bytes that are no image of a known kind.

    Signatures: PNG 5.2 (W3C), ISO/IEC 10918-1 B.1.1.3 (SOI and the next marker), RFC 9649 2.4.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PNG
    if data.startswith(b"\xff\xd8\xff"):
        return JPEG
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return WEBP
    return None


def format_of(content_type: str) -> str:
    """Returns the name of a stored asset's format, such as `png`."""
    return content_type.partition("/")[2]
