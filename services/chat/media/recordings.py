"""What a recording is, by its first bytes: providers go by the name of the file, which clients give as they like."""

from collections.abc import Callable

_FORMATS: tuple[tuple[str, str, Callable[[bytes], bool]], ...] = (
    ("wav", "audio/wav", lambda head: head[:4] == b"RIFF" and head[8:12] == b"WAVE"),
    ("flac", "audio/flac", lambda head: head[:4] == b"fLaC"),
    ("ogg", "audio/ogg", lambda head: head[:4] == b"OggS"),
    ("webm", "audio/webm", lambda head: head[:4] == b"\x1aE\xdf\xa3"),
    ("m4a", "audio/mp4", lambda head: head[4:8] == b"ftyp"),
    ("mp3", "audio/mpeg", lambda head: head[:3] == b"ID3" or (head[:1] == b"\xff" and head[1:2] >= b"\xe0")),
)
_BY_TYPE = {
    "audio/x-wav": "wav",
    "audio/mp3": "mp3",
    "audio/mpga": "mp3",
    "video/mp4": "mp4",
    "video/mpeg": "mpeg",
    "video/webm": "webm",
    **{media_type: suffix for suffix, media_type, _ in _FORMATS},
}
UNKNOWN = "bin", "application/octet-stream"


def format_of(data: bytes, content_type: str) -> tuple[str, str]:
    """Returns the suffix and the media type of a recording; the client's word counts where the bytes say nothing."""
    head = data[:12]
    for suffix, media_type, fits in _FORMATS:
        if fits(head):
            return suffix, media_type
    told = content_type.partition(";")[0].strip().lower()
    return (_BY_TYPE[told], told) if told in _BY_TYPE else UNKNOWN
