"""Telling of what may happen thousands of times in a second."""

import logging
import time

SECONDS = 60.0
"""Between two lines of a log about the same."""


class Seldom:
    """Logs the first time, and then once in a while how often it has happened since."""

    def __init__(self, logger: logging.Logger, message: str) -> None:
        self._logger = logger
        self._message = message
        self._next = float("-inf")
        self._times = 0

    def tell(self, **extra: object) -> None:
        """Take note that it has happened."""
        self._times += 1
        now = time.monotonic()
        if now >= self._next:
            self._logger.warning(self._message, extra={**extra, "times": self._times})
            self._next, self._times = now + SECONDS, 0
