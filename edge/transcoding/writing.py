"""Writing to a streaming call without losing the status that the backend ends it with.

`grpc.aio`'s own `write` replaces the status of a call by INTERNAL, "Internal error from Core", when a message cannot be
sent any more because the backend has ended the call, even where its status has arrived. A caller who is refused
would see a fault of the server.
"""

import asyncio
from typing import Any

from grpc._cython import cygrpc  # type: ignore[attr-defined]  # the error has no public name


class CallEndedError(Exception):
    """The call has ended before the message was sent; reading from it tells why."""


async def write(call: Any, message: bytes) -> None:
    """Send a serialised message on a streaming call of `grpc.aio`; raises `CallEndedError` and AioRpcError."""
    await call.wait_for_connection()
    try:
        # What the call's own `write` does, but for what follows an error.
        await call._cython_call.send_serialized_message(message)  # noqa: SLF001 - there is no public way
    except cygrpc.InternalError:
        raise CallEndedError from None
    except asyncio.CancelledError:
        if not call.cancelled():
            call.cancel()
        raise
