"""Asking providers which models they have: at start, and again from time to time."""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

from shared.errors import GaiaError

logger = logging.getLogger(__name__)

EVERY_SECONDS = 600.0
FIRST_SECONDS = 5.0
"""How long after a failure a provider is asked again that never answered; doubled each time, up to the usual time."""

Source = Callable[[], Awaitable[Sequence[str]]]
"""Asks a provider for the names of its models. Raises GaiaError."""


class Discovery:
    """What providers told of their models, `found` before this began included.

    `changed` is called after each answer that differs from the one before.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        changed: Callable[[], Awaitable[None]],
        *,
        found: Mapping[str, Sequence[str]] | None = None,
        every: float = EVERY_SECONDS,
        first: float | None = None,
    ) -> None:
        self.found: dict[str, Sequence[str]] = dict(found or {})
        self._sources = sources
        self._changed = changed
        self._every = every
        self._first = FIRST_SECONDS if first is None else first

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Asks while the block runs, which begins at once, whoever answers."""
        tasks = [asyncio.create_task(self._ask(provider, source)) for provider, source in self._sources.items()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, provider: str, source: Source) -> None:
        next_try = self._first
        while True:
            await self._ask_once(provider, source)
            if provider in self.found:
                pause = self._every
            else:
                pause, next_try = next_try, min(next_try * 2, self._every)
            # At times of its own, so that several processes do not ask in step.
            await asyncio.sleep(pause * random.uniform(0.9, 1.1))  # noqa: S311 - nobody has to guess it

    async def _ask_once(self, provider: str, source: Source) -> None:
        about = {"provider": provider}
        try:
            names = await source()
        except GaiaError as failure:
            logger.warning("a provider did not tell which models it has", extra={**about, "error": str(failure)})
            return
        if not names:
            logger.warning("a provider told that it has no models", extra=about)
        elif names != self.found.get(provider):
            self.found[provider] = names
            logger.info("a provider told which models it has", extra={**about, "models": len(names)})
            try:
                await self._changed()
            except Exception:
                # The next answer may do; what was offered before is still there.
                logger.exception("the models that a provider told cannot be offered", extra=about)
