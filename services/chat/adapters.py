"""The adapters of the providers that are offered now, of which some can be changed while others are in use."""

import asyncio
import logging
from collections.abc import Iterator, Mapping

from services.chat.resilience.pool import Pool
from shared.errors import Unavailable

logger = logging.getLogger(__name__)

IDLE_SECONDS = 0.5
"""How often an adapter that was replaced is looked at: whether its last call has ended."""


class Adapters(Mapping[str, Pool]):
    """The adapters by their provider's id. One that is replaced goes on until the last of its calls has ended.

    `longest_seconds` is after how long it is closed whatever it does: longer than any call may take.
    """

    def __init__(self, adapters: Mapping[str, Pool], *, longest_seconds: float) -> None:
        self._now = dict(adapters)
        self._longest = longest_seconds
        self._closing: dict[asyncio.Task[None], Pool] = {}

    def __getitem__(self, provider: str) -> Pool:
        """Returns a provider's adapter. Raises Unavailable for one that is not offered any more."""
        found = self._now.get(provider)
        if found is None:
            raise Unavailable(
                f"the provider {provider} is not offered any more",
                reason="PROVIDER_UNCONFIGURED",
                metadata={"provider": provider},
            )
        return found

    def __contains__(self, provider: object) -> bool:
        return provider in self._now

    def __iter__(self) -> Iterator[str]:
        return iter(self._now)

    def __len__(self) -> int:
        return len(self._now)

    def take(self, adapters: Mapping[str, Pool]) -> None:
        """Offers these from now on, and closes the others when they are idle."""
        replaced = [one for one in self._now.values() if all(one is not new for new in adapters.values())]
        self._now = dict(adapters)
        for adapter in replaced:
            task = asyncio.get_running_loop().create_task(self._close_idle(adapter))
            self._closing[task] = adapter
            task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Closes all of them, those that were replaced too."""
        closing = dict(self._closing)
        for task in closing:
            task.cancel()
        await asyncio.gather(*closing, return_exceptions=True)
        for adapter in (*closing.values(), *self._now.values()):
            await adapter.close()

    async def _close_idle(self, adapter: Pool) -> None:
        until = asyncio.get_running_loop().time() + self._longest
        # Even an idle one may have been chosen for a call that is about to begin.
        await asyncio.sleep(IDLE_SECONDS)
        while adapter.in_flight and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110 - rare, and every call's end would pay for an event
            await asyncio.sleep(IDLE_SECONDS)
        await adapter.close()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._closing.pop(task, None)
        if not task.cancelled() and (failure := task.exception()) is not None:
            logger.warning("an adapter was not closed", extra={"cause": type(failure).__name__})
