"""Following auth's revocations: one long-lived stream that tells every cache in the process what to forget."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from gaia.auth.v1 import auth_service_pb2 as pb

from shared.identity.claims import LIFETIME_SECONDS
from shared.identity.principal import Principal

if TYPE_CHECKING:  # the asynchronous stub exists for type checkers only
    from gaia.auth.v1.auth_service_pb2_grpc import AuthServiceAsyncStub

logger = logging.getLogger(__name__)

TRUST_SECONDS = 5.0
"""How long an identity is believed after auth last spoke of it, or of revocations at all."""
HEARTBEAT_SECONDS = 1.0
"""How often auth sends at least something."""
SILENCE_SECONDS = 3.0
"""A stream silent for so long is cut and opened anew."""
RECONNECT_SECONDS = 0.25
MAX_REMEMBERED = 10_000
REMEMBER_SECONDS = LIFETIME_SECONDS + 30.0
"""No identity is cached for longer than its token lives, so a revocation matters to caches no longer than that."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """What may no longer be used as cached: a key, a user's keys, or (`reset`) everything."""

    sequence: int
    api_key_id: str
    user_id: str
    reset: bool


class RevocationFeed:
    """What this process knows of revocations, and whether it can vouch for an identity that it has cached.

    `sequence` is the newest revocation seen; `heard_at` (monotonic seconds) is when auth last said anything.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._listeners: list[Callable[[Revocation], None]] = []
        self._newest: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._known_from = 0
        self.sequence = 0
        self.heard_at = float("-inf")

    def listen(self, listener: Callable[[Revocation], None]) -> None:
        """Adds a listener; it is called in the event loop and must not block."""
        self._listeners.append(listener)

    def vouches_for(self, principal: Principal, sequence: int, checked_at: float) -> bool:
        """Whether an identity may be believed that was true as of a revocation's number.

        It may not when a later revocation concerns it, or one that is not remembered could; nor when neither the feed
        spoke nor auth was asked about it (`checked_at`, monotonic seconds) within `TRUST_SECONDS`.
        """
        if self._clock() - max(self.heard_at, checked_at) > TRUST_SECONDS or sequence < self._known_from:
            return False
        newest = self._newest
        if not newest:
            return True
        # A caller without a key has an empty key id, which is never remembered.
        by_key, by_user = newest.get(principal.api_key_id), newest.get(principal.user_id)
        return (by_key is None or by_key[0] <= sequence) and (by_user is None or by_user[0] <= sequence)

    def take(self, message: pb.WatchRevocationsResponse) -> None:
        """Passes on what auth said: a revocation, a reset, or just a heartbeat."""
        # A stream that began without a number to go on from cannot know what was revoked before it.
        reset = message.reset or (self.sequence == 0 and message.sequence > 0)
        if reset or message.api_key_id or message.user_id:
            event = Revocation(message.sequence, message.api_key_id, message.user_id, reset)
            self._remember(event)
            for listener in self._listeners:
                listener(event)
        self.sequence = message.sequence if message.reset else max(self.sequence, message.sequence)
        self.heard_at = self._clock()

    def _remember(self, event: Revocation) -> None:
        newest, now = self._newest, self._clock()
        if event.reset:
            newest.clear()
            self._known_from = event.sequence
        for identifier in filter(None, (event.api_key_id, event.user_id)):
            newest.pop(identifier, None)
            newest[identifier] = (event.sequence, now + REMEMBER_SECONDS)
        while newest:
            identifier, (sequence, until) = next(iter(newest.items()))
            if until > now:
                if len(newest) <= MAX_REMEMBERED:
                    break
                # Forgotten before its time: whatever is older than it has to be asked about.
                self._known_from = max(self._known_from, sequence)
            del newest[identifier]


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
