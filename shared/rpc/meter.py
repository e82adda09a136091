"""How many calls a server answered, how they ended and how long they took."""

from bisect import bisect_left

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper bounds of the buckets, in seconds: from what a cached answer takes to what a long reply does."""


class Durations:
    """Calls of one method that ended with one code: `buckets` counts them by duration, the last for longer ones."""

    __slots__ = ("buckets", "seconds")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.seconds = 0.0

    def add(self, seconds: float) -> None:
        """Counts a call."""
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
        self.seconds += seconds


class MethodMeter:
    """Calls of one method, by the name of the code that they ended with."""

    __slots__ = ("codes",)

    def __init__(self) -> None:
        self.codes: dict[str, Durations] = {}

    def add(self, code: str, seconds: float) -> None:
        """Counts a call."""
        durations = self.codes.get(code)
        if durations is None:
            durations = self.codes[code] = Durations()
        durations.add(seconds)


class CallMeter:
    """Calls of a server, by method. Only methods that are served are ever asked for, so callers cannot make it grow."""

    def __init__(self) -> None:
        self.methods: dict[str, MethodMeter] = {}

    def of(self, method: str) -> MethodMeter:
        """Returns the meter of a method, by its gRPC path; looked up once, when the method is first called."""
        return self.methods.setdefault(method, MethodMeter())
