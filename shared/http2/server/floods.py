"""How much a client may ask for without having anything done."""

from shared.http2.codes import ConnectionFault, ErrorCode

MAX_IDLE_FRAMES = 1_000
"""In a second on one connection, of frames that ask for an answer or do nothing at all."""


class IdleFrames:
    """Counts what carries nothing: pings, settings, empty data, what is not known; there are `most` in a second."""

    def __init__(self, most: int = MAX_IDLE_FRAMES) -> None:
        self._most = most
        self._count = 0
        self._since = 0.0

    def add(self, now: float, weight: int = 1) -> None:
        """Count one, or as many as it costs; raises `ConnectionFault` where there are more than are put up with."""
        if now - self._since >= 1.0:
            self._since, self._count = now, 0
        self._count += weight
        if self._count > self._most:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM, "more frames that carry nothing, or take back, than are put up with"
            )
