"""Carrying out calls: interceptors, then the method's handler, of all four kinds."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import grpc

from shared.http2.codes import ErrorCode, StreamFault
from shared.http2.literals import MetadataEncoder
from shared.http2.server.call import ServerCall
from shared.http2.server.context import CallContext, Requests
from shared.http2.server.requests import Pairs

logger = logging.getLogger(__name__)

_SHOWN_PATH = 200

Finding = Callable[[Any], Awaitable[Any]]


class CallDetails(NamedTuple):
    """What interceptors are told of a call; stands for grpc.HandlerCallDetails."""

    method: str
    invocation_metadata: Pairs


class Methods:
    """The handlers of a server, by path. They are asynchronous: functions, or generators where answers are streamed."""

    def __init__(self, interceptors: Sequence[grpc.aio.ServerInterceptor]) -> None:
        self._registered: dict[str, Any] = {}
        self._generic: list[Any] = []
        find: Finding = self._find
        for interceptor in reversed(interceptors):
            find = partial(interceptor.intercept_service, find)
        self.find = find

    def add_generic(self, handlers: Iterable[Any]) -> None:
        """Add what knows handlers by the details of a call."""
        self._generic.extend(handlers)

    def add(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Add the handlers of a service, by their methods' names."""
        for name, handler in handlers.items():
            self._registered[f"/{service}/{name}"] = handler

    async def _find(self, details: Any) -> Any:
        handler = self._registered.get(details.method)
        if handler is None:
            for generic in self._generic:
                handler = generic.service(details)
                if handler is not None:
                    break
        return handler


class Serving:
    """Carries out calls by the handlers of `methods`."""

    def __init__(self, methods: Methods, max_message_bytes: int) -> None:
        self._methods = methods
        self._encoder = MetadataEncoder()
        self._max = max_message_bytes

    async def serve(self, call: ServerCall) -> None:
        """Carry out a call; it has ended when this returns, whatever its handler did."""
        context = CallContext(call, self._encoder, self._max)
        try:
            await self._answer(call, context)
        except StreamFault as fault:
            call.end(fault.status, fault.reason)
        except grpc.aio.AbortError:
            # The context has ended the call.
            pass
        except asyncio.CancelledError:
            if not call.cancelled:
                # The handler's own doing, or of what ends the event loop.
                call.end(grpc.StatusCode.CANCELLED, "the call was cancelled by the server")
            raise
        except Exception:
            # What it says may be nobody's to know.
            logger.exception("a handler failed", extra={"method": call.head.path[:_SHOWN_PATH]})
            call.end(grpc.StatusCode.UNKNOWN, "the method failed")
        finally:
            call.end(grpc.StatusCode.UNKNOWN, "the method ended the call without a status")
            context.tell_done()

    async def _answer(self, call: ServerCall, context: CallContext) -> None:
        head = call.head
        handler = await self._methods.find(CallDetails(head.path, head.metadata))
        if handler is None:
            call.end(grpc.StatusCode.UNIMPLEMENTED, f"there is no method {head.path[:_SHOWN_PATH]}")
            return
        context.parse, context.serialize = handler.request_deserializer, handler.response_serializer
        if handler.request_streaming:
            request: Any = Requests(context, call)
            behaviour = handler.stream_stream if handler.response_streaming else handler.stream_unary
        else:
            request = _parsed(context, await _only_message(call))
            behaviour = handler.unary_stream if handler.response_streaming else handler.unary_unary
        if handler.response_streaming:
            await _stream(behaviour(request, context), context)
            await context.finish(unary=False)
        else:
            await context.finish(await behaviour(request, context), unary=True)


async def _stream(answers: Any, context: CallContext) -> None:
    """Send what a handler yields, or have it send by its context."""
    if not hasattr(answers, "__aiter__"):
        await answers
        return
    try:
        async for answer in answers:
            await context.write(answer)
    finally:
        # Where the client left between two answers, the handler's own clean-up must run now, not at collection.
        if hasattr(answers, "aclose"):
            await answers.aclose()


async def _only_message(call: ServerCall) -> bytes:
    message = await call.receive()
    if message is None or (not call.exhausted and await call.receive() is not None):
        raise StreamFault(ErrorCode.CANCEL, grpc.StatusCode.UNIMPLEMENTED, "the method takes exactly one message")
    return message


def _parsed(context: CallContext, message: bytes) -> Any:
    try:
        return context.parsed(message)
    except Exception as error:
        raise StreamFault(
            ErrorCode.CANCEL, grpc.StatusCode.INTERNAL, "the request is no message of the method's type"
        ) from error
