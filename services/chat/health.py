"""How providers are doing, measured from the calls made to them, and from probes where there were no calls."""

import datetime as dt
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

WINDOW = 100
"""How many of a provider's last calls count."""
WINDOW_SECONDS = 900.0
"""For how long a call counts once there are newer ones: an outage is over when it is over."""
MODEL_WINDOW = 50
"""How many of a model's last replies count."""
DEGRADED_RATE = 0.1
"""Share of failures from which a provider counts as degraded: a client that tries twice would still get through."""
UNHEALTHY_RATE = 0.5
"""Share of failures from which a provider counts as unhealthy."""


@dataclass(frozen=True, slots=True)
class Health:
    """How a provider is doing: `healthy`, `degraded`, `unhealthy`, or `unknown` before its first call.

    `first_word_ms` is the mean time to the first word of the calls that had one; `error_rate` is 0 to 1.
    """

    status: str = "unknown"
    first_word_ms: float | None = None
    error_rate: float | None = None
    last_call: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class _Call:
    at: dt.datetime
    ok: bool
    first_word_ms: float | None


class HealthBoard:
    """Rolling windows of calls, for each provider and for each model of the catalogue. Bounded by both.

    `version` counts the calls, so that what was made from the board can be kept until it changes. `is_left_alone` says
    whether a provider is not even asked for now: that is not well, however well it did before.
    """

    def __init__(
        self,
        models: Iterable[tuple[str, str]],
        now: Callable[[], dt.datetime],
        is_left_alone: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._now = now
        self._is_left_alone = is_left_alone
        self._calls: dict[str, deque[_Call]] = {}
        self._replies: dict[tuple[str, str], deque[tuple[float, float]]] = {
            model: deque(maxlen=MODEL_WINDOW) for model in models
        }
        self.version = 0

    def measure(self, models: Iterable[tuple[str, str]]) -> None:
        """Measures these models from now on, with what was measured of them before."""
        self._replies = {model: self._replies.get(model) or deque(maxlen=MODEL_WINDOW) for model in models}
        self.version += 1

    def succeeded(self, provider: str, model: str, first_word_ms: float, reply_ms: float) -> None:
        """Notes a call that brought a whole reply."""
        self._note(provider, True, first_word_ms)
        replies = self._replies.get((provider, model))
        if replies is not None:
            replies.append((first_word_ms, reply_ms))

    def failed(self, provider: str, first_word_ms: float | None = None) -> None:
        """Notes a call that the provider failed; faults of the request itself do not belong here."""
        self._note(provider, False, first_word_ms)

    def probed(self, provider: str, *, answered: bool) -> None:
        """Notes what a probe found: one call's worth, without a time to the first word."""
        self._note(provider, answered, None)

    def of(self, provider: str) -> Health:
        """Returns how a provider is doing."""
        calls = self._calls.get(provider)
        if not calls:
            return Health()
        rate = sum(not call.ok for call in calls) / len(calls)
        times = [call.first_word_ms for call in calls if call.first_word_ms is not None]
        if rate >= UNHEALTHY_RATE or self._is_left_alone(provider):
            status = "unhealthy"
        else:
            status = "degraded" if rate >= DEGRADED_RATE else "healthy"
        return Health(status, _mean(times), rate, calls[-1].at)

    def reply_ms(self, provider: str, model: str) -> float | None:
        """Returns a model's mean time to a whole reply; None before its first."""
        return _mean([reply for _, reply in self._replies.get((provider, model), ())])

    def first_word_ms(self, provider: str, model: str) -> float | None:
        """Returns a model's mean time to the first word; None before its first."""
        return _mean([first for first, _ in self._replies.get((provider, model), ())])

    def _note(self, provider: str, ok: bool, first_word_ms: float | None) -> None:
        now = self._now()
        calls = self._calls.get(provider)
        if calls is None:
            calls = self._calls[provider] = deque(maxlen=WINDOW)
        while calls and (now - calls[0].at).total_seconds() > WINDOW_SECONDS:
            calls.popleft()
        calls.append(_Call(now, ok, first_word_ms))
        self.version += 1


def overall(statuses: Iterable[str]) -> str:
    """Sums up the states of the available providers.

    `healthy` while one of them is healthy or not yet measured, else the better of those that there are.
    """
    have = set(statuses)
    if have & {"healthy", "unknown"}:
        return "healthy"
    return "degraded" if "degraded" in have else "unhealthy"


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
