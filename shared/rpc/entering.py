"""Handlers that something is done before: it may look at the call, and refuse it."""

from collections.abc import Awaitable, Callable
from typing import Any

Handler = Any  # grpc.RpcMethodHandler is a namedtuple whose fields have no types
Enter = Callable[[Any], Awaitable[None]]
"""Takes the call's context; what it raises ends the call."""


def entered(handler: Handler, enter: Enter) -> Handler:
    """Returns a handler of the same kind that is entered first."""
    side = "stream" if handler.request_streaming else "unary"
    field = f"{side}_{'stream' if handler.response_streaming else 'unary'}"
    behaviour = getattr(handler, field)

    async def unary(request: Any, context: Any) -> Any:
        await enter(context)
        return await behaviour(request, context)

    async def stream(request: Any, context: Any) -> Any:
        await enter(context)
        responses = behaviour(request, context)
        try:
            async for response in responses:
                yield response
        finally:
            # A caller that leaves closes this generator; the handler's own clean-up must run now, not at collection.
            await responses.aclose()

    return handler._replace(**{field: stream if handler.response_streaming else unary})
