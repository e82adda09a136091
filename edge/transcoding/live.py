"""Contracts that change while they are served: new routes swap in at once, calls in flight keep theirs."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from starlette.types import Receive, Scope, Send

from edge.transcoding.descriptors import Contracts, DescriptorError, ServerAwayError
from edge.transcoding.routes import Route, RouteTableError

_LOG = logging.getLogger(__name__)

POLL_SECONDS = 30.0
RETRY_SECONDS = 0.5
"""First wait after contracts could not be read; it doubles up to the poll interval."""

_AWAY = "away"

ReadContracts = Callable[[], Awaitable[Contracts]]
"""Reads the contracts as they are now; raises `DescriptorError` or `ServerAwayError`."""


class Served(Protocol):
    """An ASGI application with routes, such as `Transcoder`."""

    @property
    def routes(self) -> Sequence[Route]:
        """The routes that it serves."""
        ...

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        ...


Build = Callable[[Contracts], Served]
"""Compiles contracts; raises `RouteTableError`. Called in a thread of its own while requests are served."""


@dataclass(frozen=True, slots=True)
class Change:
    """What a swap did: routes as `GET /v1/books (pkg.Service.Method)` that are new, and those that are gone."""

    added: tuple[str, ...]
    removed: tuple[str, ...]


class LiveTranscoder:
    """An ASGI application that serves the newest contracts that compile.

    `read` gives the contracts and `build` makes them a `Transcoder`. `load` must be awaited before the first request;
    `follow` keeps up with changes while it runs. A request is served to its end by the routes that it began with.
    `swapped` is called after each change.
    """

    def __init__(self, read: ReadContracts, build: Build, *, swapped: Callable[[], None] | None = None) -> None:
        self._read = read
        self._build = build
        self._swapped = swapped
        self._current: Served
        self._fingerprint = b""
        self._asked = asyncio.Event()
        self._reloading = asyncio.Lock()

    @property
    def routes(self) -> Sequence[Route]:
        """The routes that are served now."""
        return self._current.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        await self._current(scope, receive, send)

    async def load(self) -> None:
        """Read and compile for the first time; raises what `read` and `build` raise."""
        contracts = (await self._read()).require_rules()
        self._current = self._build(contracts)
        self._fingerprint = contracts.fingerprint

    async def reload(self) -> Change | None:
        """Read again, and swap where the contracts have changed; returns None where they have not.

        What cannot be read or does not compile raises what `read` and `build` raise, and the old routes stay.
        """
        async with self._reloading:
            contracts = await self._read()
            if contracts.fingerprint == self._fingerprint:
                return None
            contracts.require_rules()
            # Compiling may take seconds for thousands of routes, and requests go on meanwhile.
            served = await asyncio.to_thread(self._build, contracts)
            before, after = _named(self._current.routes), _named(served.routes)
            self._current = served
            self._fingerprint = contracts.fingerprint
            if self._swapped is not None:
                self._swapped()
            return Change(
                added=tuple(name for name in after if name not in before),
                removed=tuple(name for name in before if name not in after),
            )

    def ask(self) -> None:
        """Have `follow` read again now; for signal handlers, and whatever else knows of a change."""
        self._asked.set()

    async def follow(self, *, poll: float | None = POLL_SECONDS, changes: AsyncIterator[None] | None = None) -> None:
        """Read again every `poll` seconds (None: never), whenever asked to and at each of `changes`; never returns.

        What happens goes to the log: a swap as information, refused contracts with all their faults as an error, a
        server that is away as a warning. What a poll finds unchanged is not told again.
        """
        async with asyncio.TaskGroup() as group:
            if changes is not None:
                group.create_task(self._ask_at(changes))
            longest = POLL_SECONDS if poll is None else poll
            wait, told = poll, ""
            while True:
                asked = await self._asked_within(wait)
                try:
                    change = await self.reload()
                    wait, told = poll, ""
                    if change is not None:
                        _tell(change)
                except (DescriptorError, RouteTableError) as error:
                    wait = poll
                    if asked or told != str(error):
                        _LOG.error("new contracts are refused, the old ones stay: %s", error)
                    told = str(error)
                except ServerAwayError as error:
                    wait = min(RETRY_SECONDS if told != _AWAY or wait is None else wait * 2, longest)
                    if told != _AWAY:
                        _LOG.warning("the contracts cannot be read again, the old ones stay: %s", error)
                    told = _AWAY

    async def _ask_at(self, changes: AsyncIterator[None]) -> None:
        async for _ in changes:
            self._asked.set()

    async def _asked_within(self, seconds: float | None) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._asked.wait()
        except TimeoutError:
            return False
        self._asked.clear()
        return True


def _tell(change: Change) -> None:
    _LOG.info("new contracts are served: %d routes added, %d removed", len(change.added), len(change.removed))


def _named(routes: Sequence[Route]) -> dict[str, None]:
    return dict.fromkeys(f"{route} ({route.method.full_name})" for route in routes)
