"""Asking the same things again and again while something breaks, and looking at all answers afterwards."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import httpx

PAUSE_SECONDS = 0.03

Ask = Callable[[], Awaitable[httpx.Response]]


@dataclass(frozen=True, slots=True)
class Seen:
    """One answer; times are the event loop's."""

    began: float
    ended: float
    reply: httpx.Response

    @property
    def status(self) -> int:
        """Its HTTP status."""
        return self.reply.status_code


@dataclass(slots=True)
class Watch:
    """All answers so far, by the name of the question; a question that got no answer at all counts in `unanswered`."""

    seen: dict[str, list[Seen]] = field(default_factory=dict)
    unanswered: int = 0

    def statuses(self, name: str, began_after: float = 0.0, ended_before: float = float("inf")) -> set[int]:
        """Returns the statuses of the answers that lie wholly between two times."""
        return {one.status for one in self.seen[name] if one.began >= began_after and one.ended <= ended_before}

    async def until(self, name: str, status: int, *, began_after: float = 0.0, seconds: float = 15.0) -> float:
        """Waits until a question asked after a time is answered with a status; returns when that was.

        Raises TimeoutError that says what was answered instead.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + seconds
        while True:
            for one in self.seen[name]:
                if one.began >= began_after and one.status == status:
                    return one.ended
            if loop.time() > give_up_at:
                instead = self.statuses(name, began_after)
                raise TimeoutError(f"{name} was not answered with {status} within {seconds:g} s, but with {instead}")
            await asyncio.sleep(PAUSE_SECONDS)


@contextlib.asynccontextmanager
async def watching(questions: Mapping[str, Ask]) -> AsyncIterator[Watch]:
    """Asks every question in a loop of its own while the block runs."""
    watch = Watch({name: [] for name in questions})
    loop = asyncio.get_running_loop()

    async def repeat(name: str, ask: Ask) -> None:
        while True:
            began = loop.time()
            try:
                reply = await ask()
                watch.seen[name].append(Seen(began, loop.time(), reply))
            except httpx.TransportError:
                watch.unanswered += 1
            await asyncio.sleep(PAUSE_SECONDS)

    tasks = [asyncio.create_task(repeat(name, ask)) for name, ask in questions.items()]
    try:
        yield watch
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
