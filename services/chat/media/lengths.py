"""How long a recording may be, by what its container says of itself and by its size."""

import io
import math

from tinytag import TinyTag, TinyTagException

MOST_READS = 20_000
"""Pieces that are read of a file: several times what an honest one of the largest size takes."""
FASTEST_BYTES_A_SECOND = 64_000
"""Of a compressed recording, at the most that is in use: 512 kbit/s. A container that says less time lies."""
_SAMPLES = frozenset({"wav", "flac"})
"""Formats of samples of a size that they tell, or less than that: their bytes say how many there are at least."""


def most_milliseconds(data: bytes, suffix: str) -> int | None:
    """Returns about the most that a recording can last, None where its container does not say.

    `suffix` is its format (see `recordings.format_of`).
    """
    try:
        told = TinyTag.get(file_obj=_Bounded(data), tags=False)
    except TinyTagException:
        return None
    if told.duration is None or not 0 < told.duration < math.inf:
        return None
    fastest = FASTEST_BYTES_A_SECOND
    if suffix in _SAMPLES and told.samplerate and told.channels and told.bitdepth:
        fastest = math.ceil(told.samplerate * told.channels * told.bitdepth / 8)
    # Providers round up to a second.
    return math.ceil(max(told.duration, len(data) / fastest)) * 1000


class _Bounded(io.BytesIO):
    """A file that is not read for ever, whatever is written in it."""

    _reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._reads += 1
        if self._reads > MOST_READS:
            raise OverflowError("a recording in too many pieces")
        return super().read(size)
