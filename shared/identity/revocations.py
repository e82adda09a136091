"""Following auth's revocations: one long-lived stream that tells every cache in the process what to forget."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from gaia.auth.v1 import auth_service_pb2 as pb

if TYPE_CHECKING:  # the asynchronous stub exists for type checkers only
    from gaia.auth.v1.auth_service_pb2_grpc import AuthServiceAsyncStub

logger = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 1.0
"""How often auth sends at least something."""
SILENCE_SECONDS = 3.0
"""A stream silent for so long is cut and opened anew."""
RECONNECT_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Revocation:
    """What may no longer be used as cached: a key, a user's keys, or (`reset`) everything."""

    api_key_id: str
    user_id: str
    reset: bool


class RevocationFeed:
    """What this process knows of revocations, told to its caches.

    `sequence` is the newest revocation seen; `heard_at` (monotonic seconds) is when auth last said anything, so that a
    cache can tell whether what it holds is still vouched for.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._listeners: list[Callable[[Revocation], None]] = []
        self.sequence = 0
        self.heard_at = float("-inf")

    def listen(self, listener: Callable[[Revocation], None]) -> None:
        """Adds a listener; it is called in the event loop and must not block."""
        self._listeners.append(listener)

    def take(self, message: pb.WatchRevocationsResponse) -> None:
        """Passes on what auth said: a revocation, a reset, or just a heartbeat."""
        # A stream that began without a number to go on from cannot know what was revoked before it.
        reset = message.reset or (self.sequence == 0 and message.sequence > 0)
        if reset or message.api_key_id or message.user_id:
            event = Revocation(message.api_key_id, message.user_id, reset)
            for listener in self._listeners:
                listener(event)
        self.sequence = message.sequence if message.reset else max(self.sequence, message.sequence)
        self.heard_at = self._clock()


async def follow(feed: RevocationFeed, auth: "AuthServiceAsyncStub") -> None:
    """Feeds what auth's WatchRevocations says until cancelled, opening the stream again whenever it breaks.

    Each new stream goes on where the last one ended, so missed revocations arrive before the first heartbeat.
    """
    while True:
        try:
            await _follow_once(feed, auth)
        except (grpc.aio.AioRpcError, TimeoutError) as error:
            reason = error.code().name if isinstance(error, grpc.aio.AioRpcError) else "silent"
            logger.warning("revocation stream broke", extra={"reason": reason})
        await asyncio.sleep(RECONNECT_SECONDS)


async def _follow_once(feed: RevocationFeed, auth: "AuthServiceAsyncStub") -> None:
    call = auth.WatchRevocations(pb.WatchRevocationsRequest(after_sequence=feed.sequence))
    try:
        messages = call.__aiter__()
        while True:
            async with asyncio.timeout(SILENCE_SECONDS):
                try:
                    message = await anext(messages)
                except StopAsyncIteration:
                    return
            feed.take(message)
    finally:
        call.cancel()
