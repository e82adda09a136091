"""What surrounds every handler: the request's id, the log line, and the one mapping from domain errors to gRPC."""

import asyncio
import inspect
import logging
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import grpc

from shared import telemetry
from shared.errors import GaiaError, ModelDenied
from shared.identity.principal import current_principal
from shared.identity.refusals import RefusalCounter
from shared.rpc import peers, status
from shared.rpc.metadata import CLIENT_ADDRESS, REQUEST_ID
from shared.rpc.meter import CallMeter, MethodMeter

logger = logging.getLogger(__name__)

MAX_REQUEST_ID = 128
OK = "OK"
MODEL = "model:"
"""Stands in front of a model where the audit trail has the scope that was lacking."""
Handler = Any  # grpc.RpcMethodHandler is a namedtuple whose fields have no types
Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Handler]]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Sets the request's id and its client's address, logs how each call ended, and turns exceptions into statuses.

    A GaiaError ends the call with its public half; anything else is logged with its traceback and ends the call as
    INTERNAL with the request's id only. Every call is counted by `meter`, and `refusals` is told of callers whose key
    does not allow a model. Wrapped handlers are made once per method.
    """

    def __init__(self, meter: CallMeter, refusals: RefusalCounter) -> None:
        self._meter = meter
        self._refusals = refusals
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> Handler:
        """Implements grpc.aio.ServerInterceptor."""
        metadata = dict(handler_call_details.invocation_metadata)
        telemetry.request_id.set(_request_id(metadata))
        peers.hear(metadata.get(CLIENT_ADDRESS))
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        method = handler_call_details.method
        # The authentication interceptor answers with handlers of its own, so the same method can have several.
        wrapped = self._wrapped.get(method)
        if wrapped is None or wrapped.original is not handler:
            wrapped = _Wrapped(method, handler, self._meter.of(method), self._refusals)
            self._wrapped[method] = wrapped
        return wrapped.handler


class _Wrapped:
    """A method's handler and its wrapped form."""

    def __init__(self, method: str, original: Handler, meter: MethodMeter, refusals: RefusalCounter) -> None:
        self.original = original
        behaviour: Any
        if original.response_streaming:
            inner = original.stream_stream if original.request_streaming else original.unary_stream
            # A few, such as the health protocol's, write by their context and are no generators.
            behaviour = (_unary if inspect.iscoroutinefunction(inner) else _stream)(method, inner, meter, refusals)
            field = "stream_stream" if original.request_streaming else "unary_stream"
        else:
            inner = original.stream_unary if original.request_streaming else original.unary_unary
            behaviour = _unary(method, inner, meter, refusals)
            field = "stream_unary" if original.request_streaming else "unary_unary"
        self.handler = original._replace(**{field: behaviour})


def _unary(
    method: str, behaviour: Callable[[Any, Any], Awaitable[Any]], meter: MethodMeter, refusals: RefusalCounter
) -> Callable[[Any, Any], Awaitable[Any]]:
    async def call(request: Any, context: Any) -> Any:
        began, code = time.perf_counter(), OK
        peers.settle_address(context)
        try:
            return await behaviour(request, context)
        except BaseException as error:
            code = _code(error)
            _note(error, method, refusals)
            await _end(error, method, began, context)
            raise
        finally:
            _count(meter, method, began, code)

    return call


def _stream(
    method: str, behaviour: Callable[[Any, Any], AsyncIterator[Any]], meter: MethodMeter, refusals: RefusalCounter
) -> Callable[[Any, Any], AsyncIterator[Any]]:
    async def call(request: Any, context: Any) -> AsyncIterator[Any]:
        began, code = time.perf_counter(), OK
        peers.settle_address(context)
        responses = behaviour(request, context)
        try:
            async for response in responses:
                yield response
        except BaseException as error:
            code = _code(error)
            _note(error, method, refusals)
            await _end(error, method, began, context)
            raise
        finally:
            _count(meter, method, began, code)
            # A caller that leaves cancels this generator; the handler's own clean-up must run now, not at collection.
            await responses.aclose()  # type: ignore[attr-defined] # handlers are async generators

    return call


def _code(error: BaseException) -> str:
    """Names the code that a call ends with."""
    if isinstance(error, GaiaError):
        return error.code
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return "CANCELLED"  # by a caller that left, or whose deadline passed
    return "UNKNOWN" if isinstance(error, grpc.aio.AbortError) else "INTERNAL"


async def _end(error: BaseException, method: str, began: float, context: Any) -> None:
    """Ends a call with the error's status; what already has one passes."""
    if isinstance(error, GaiaError):
        _log_error(method, began, error)
        await status.abort(context, error)
    if isinstance(error, Exception) and not isinstance(error, grpc.aio.AbortError):
        logger.error("call failed", exc_info=error, extra=_fields(method, began, "INTERNAL"))
        await context.abort(grpc.StatusCode.INTERNAL, _internal())


def _note(error: BaseException, method: str, refusals: RefusalCounter) -> None:
    """Has the audit trail know of a model that was refused, as of a scope that is lacking."""
    if isinstance(error, ModelDenied):
        address, request_id = telemetry.client_address.get(), telemetry.request_id.get()
        name = method[1:].replace("/", ".")
        refusals.deny(current_principal(), name, f"{MODEL}{error.model}", address, request_id)


def _internal() -> str:
    return f"internal error; tell the operator the request id {telemetry.request_id.get()}"


def _count(meter: MethodMeter, method: str, began: float, code: str) -> None:
    seconds = time.perf_counter() - began
    meter.add(code, seconds)
    # One line for each call would cost as much as the call; it is there for whoever looks for something.
    if code == OK and logger.isEnabledFor(logging.DEBUG):
        logger.debug("call", extra=_fields(method, began, code))


def _log_error(method: str, began: float, error: GaiaError) -> None:
    cause = error.__cause__
    extra = _fields(method, began, error.code)
    logger.warning("call", extra={**extra, "reason": error.reason, "cause": type(cause).__name__ if cause else ""})


def _fields(method: str, began: float, code: str) -> dict[str, object]:
    return {"method": method, "code": code, "ms": round((time.perf_counter() - began) * 1000, 2)}


def _request_id(metadata: Mapping[str, str | bytes]) -> str:
    sent = metadata.get(REQUEST_ID)
    if isinstance(sent, str) and 0 < len(sent) <= MAX_REQUEST_ID and sent.isprintable():
        return sent
    return str(uuid.uuid4())
