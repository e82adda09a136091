"""How long a handler may take, out of what its caller allows."""

from typing import Any

import grpc

MARGIN_SECONDS = 0.5
"""Left for storing the reply and for the way back, so that the inner time limit is the one that is told."""
SHORTEST_SECONDS = 0.05


def seconds_left(context: "grpc.aio.ServicerContext[Any, Any]", at_most: float) -> float:
    """Returns how many seconds the call may still take: the caller's deadline less a margin, and no more than given."""
    # The stubs say float; a caller without a deadline gives None.
    remaining: float | None = context.time_remaining()
    if remaining is None:
        return at_most
    return min(at_most, max(remaining - MARGIN_SECONDS, SHORTEST_SECONDS))
