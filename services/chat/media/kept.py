"""A response as it is kept, so that the same request can be answered with it again."""

from services.chat.snapshot import MAX_BYTES
from shared.idempotency import TOO_LARGE, too_large


class Keeping:
    """Collects a response. What is too large is not kept."""

    def __init__(self, *, is_wanted: bool) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._is_wanted = is_wanted

    def add(self, piece: bytes) -> None:
        """Takes a piece of the body."""
        self._size += len(piece)
        if self._is_wanted and self._size <= MAX_BYTES:
            self._parts.append(piece)
        else:
            self._parts.clear()

    def encode(self, content_type: str) -> bytes | None:
        """Encodes the response; None where it is not wanted, TOO_LARGE where it is too large to be kept."""
        if not self._is_wanted:
            return None
        if self._size > MAX_BYTES:
            return TOO_LARGE
        return b"".join((content_type.encode(), b"\n", *self._parts))


def decode(kept: bytes) -> tuple[str, bytes]:
    """Returns the type and the body of a response. Raises AlreadyExists for one that was too large."""
    if kept == TOO_LARGE:
        raise too_large()
    content_type, _, body = kept.partition(b"\n")
    return content_type.decode(), body
