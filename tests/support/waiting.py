"""Waiting for what a test expects, without guessing how long it takes."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
POLL_SECONDS = 0.02


async def eventually(probe: Callable[[], Awaitable[T]], seconds: float = 10.0, every: float = POLL_SECONDS) -> T:
    """Asks until the answer is truthy, and returns it. Raises TimeoutError when that takes too long."""
    async with asyncio.timeout(seconds):
        while True:
            if answer := await probe():
                return answer
            await asyncio.sleep(every)
