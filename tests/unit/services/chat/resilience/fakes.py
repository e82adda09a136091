"""A clock and a provider at their ports, which do what a test says."""

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field

from services.chat.catalogue import ModelSpec
from services.chat.turn import Delta, Dialect, FinishReason, Reply, Turn


@dataclass
class Clock:
    """A clock that a test moves; sleeping moves it too. `slept` are the waits."""

    now: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


Act = Exception | Sequence[Delta] | Callable[[], AsyncGenerator[Delta]] | str


class Acting:
    """A provider that does one act after the other, the last one for good.

    A text is said, deltas are sent, an error is raised; a function is run as a stream.
    """

    dialects: frozenset[Dialect] = frozenset()
    takes: frozenset[str] = frozenset()

    def __init__(self, *acts: Act, name: str = "p") -> None:
        self.id = name
        self.acts = list(acts)
        self.asked = 0
        self.probed = 0
        self.closed = False
        self.probe_failure: Exception | None = None

    async def complete(self, turn: Turn, model: ModelSpec) -> Reply:
        return Reply("".join([delta.text async for delta in self.stream(turn, model)]))

    async def stream(self, turn: Turn, model: ModelSpec) -> AsyncGenerator[Delta]:
        self.asked += 1
        act = self.acts.pop(0) if len(self.acts) > 1 else self.acts[0]
        if callable(act):
            async for delta in act():
                yield delta
        elif isinstance(act, str):
            yield Delta(act)
            yield Delta(finish_reason=FinishReason.STOP)
        elif isinstance(act, Exception):
            raise act
        else:
            for delta in act:
                yield delta

    async def probe(self) -> None:
        self.probed += 1
        if self.probe_failure is not None:
            raise self.probe_failure

    async def close(self) -> None:
        self.closed = True
