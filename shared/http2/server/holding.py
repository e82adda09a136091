"""How much memory the requests of all calls take together, and that nobody keeps it without sending."""

import logging
from typing import TYPE_CHECKING

import grpc

from shared.http2.codes import ErrorCode, StreamFault
from shared.http2.server.seldom import Seldom

if TYPE_CHECKING:  # each knows the other
    from shared.http2.server.call import ServerCall

logger = logging.getLogger(__name__)

UNCOUNTED_BYTES = 64 << 10
"""Of one call, which most calls never have more of; they cost no counting."""
LEAST_BYTES = 64 << 10
"""Of a message that is held a place for, between two looks."""


class Holding:
    """Counts what calls hold of large requests: `held` of `most` bytes.

    A call counts from the moment that a message is let in, or that more than a few bytes of it wait to be read, until
    its handler asks for the next one or the call ends. There is always room for one message of the largest size.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0
        # What had come of each at the last look.
        self._calls: dict[ServerCall, int] = {}
        self._refused = Seldom(logger, "requests were refused: those that are under way take all the memory they may")

    def take(self, call: "ServerCall", more: int) -> None:
        """Count more bytes of a call; raises `StreamFault` where there is no room for them."""
        if self.held + more > self.most:
            self._refused.tell(held=self.held, most=self.most)
            raise StreamFault(
                ErrorCode.ENHANCE_YOUR_CALM,
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"large requests take {self.held} bytes already, the limit is {self.most}; try again later",
            )
        self.held += more
        self._calls.setdefault(call, -1)

    def give(self, call: "ServerCall", size: int) -> None:
        """Count what a call holds no more, all of it."""
        self.held -= size
        self._calls.pop(call, None)

    def look(self) -> None:
        """End the calls whose clients had room to send and sent next to nothing since the last look."""
        for call, before in list(self._calls.items()):
            came = call.awaited()
            if came is not None and before >= 0 and came - before < LEAST_BYTES:
                call.cancel(grpc.StatusCode.DEADLINE_EXCEEDED, "the client stopped sending in the middle of a message")
            elif call in self._calls:
                self._calls[call] = -1 if came is None else came
