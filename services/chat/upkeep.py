"""What the chat service does from time to time without being asked."""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable

from shared.errors import Unavailable

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 3.0
"""How long a call whose process is gone may lie beyond its lease before it is booked as interrupted."""

INTERRUPTED = "calls were interrupted by the end of their process"


@contextlib.asynccontextmanager
async def sweeping(
    sweep: Callable[[], Awaitable[int]], seconds: float = SWEEP_SECONDS, *, told: str | None = INTERRUPTED
) -> AsyncIterator[None]:
    """Has the ledger swept while the block runs, once at its beginning. `sweep` returns how many calls it booked.

    The operator is `told` of them, unless it is what has to be expected.
    """

    async def run() -> None:
        while True:
            try:
                if (count := await sweep()) and told is not None:
                    logger.warning(told, extra={"calls": count})
            except Unavailable:
                logger.info("the ledger was not swept: the database does not answer")
            except Exception:
                # What it is, somebody has to see; the next sweep is due all the same.
                logger.exception("the ledger was not swept")
            # Several processes do it; at different times each finds its share.
            await asyncio.sleep(seconds * random.uniform(0.5, 1.5))  # noqa: S311 - nobody has to guess it

    task = asyncio.get_running_loop().create_task(run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
