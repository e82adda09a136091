"""How many retries all requests together may make, so that an outage is not made worse by those who ask again."""

RATIO = 0.2
"""Retries that each request adds: in the long run one in five requests can be retried."""
MOST = 10.0
"""Retries that can be saved up, and with which it begins: enough for a hiccup of a small installation."""


class RetryBudget:
    """A bucket of tokens, one for each provider."""

    def __init__(self, ratio: float = RATIO, most: float = MOST) -> None:
        self._ratio = ratio
        self._most = most
        self._tokens = most

    def earn(self) -> None:
        """Counts a request."""
        if self._tokens < self._most:
            self._tokens = min(self._most, self._tokens + self._ratio)

    def spend(self) -> bool:
        """Takes what a retry costs; returns False where there is not enough."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
