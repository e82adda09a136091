"""A span for each call that a gRPC server answers."""

import contextvars
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from opentelemetry.trace import Span

from shared import telemetry
from shared.rpc.callers import HEALTH
from shared.tracing import Tracing, end

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]
Behaviour = Callable[[Any, Any], Any]

# The span begins before the caller is known, so that asking auth is part of it, and ends with the handler; both run in
# the task of the call.
_span: contextvars.ContextVar[Span] = contextvars.ContextVar("rpc_span")


class TracingInterceptor(grpc.aio.ServerInterceptor):
    """Makes a span of each call but health checks. Wrapped handlers are made once per method."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._wrapped: dict[str, tuple[Any, Any]] = {}

    async def intercept_service(self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Implements grpc.aio.ServerInterceptor."""
        method = handler_call_details.method
        if method.startswith(HEALTH):
            return await continuation(handler_call_details)
        service, _, name = method.removeprefix("/").partition("/")
        pairs = ((key, value) for key, value in handler_call_details.invocation_metadata if isinstance(value, str))
        attributes = {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name}
        span = self._tracing.serve(f"{service}/{name}", pairs, attributes)
        handler = None
        try:
            handler = await continuation(handler_call_details)
        finally:
            if handler is None:
                # A name that a caller made up, or a call that was cancelled before it began.
                span.update_name("no such method")
                end(span, {}, "UNIMPLEMENTED")
        if handler is None:
            return None
        _span.set(span)
        known = self._wrapped.get(method)
        if known is None or known[0] is not handler:
            known = self._wrapped[method] = (handler, _wrap(handler))
        return known[1]


def tracing_interceptors() -> list[grpc.aio.ServerInterceptor]:
    """Returns what a server needs to be traced; nothing where nobody asked for it."""
    tracing = telemetry.tracing.get()
    return [] if tracing is None else [TracingInterceptor(tracing)]


def _wrap(handler: Any) -> Any:
    side = "stream" if handler.request_streaming else "unary"
    if handler.response_streaming:
        field = f"{side}_stream"
        return handler._replace(**{field: _stream(getattr(handler, field))})
    field = f"{side}_unary"
    return handler._replace(**{field: _unary(getattr(handler, field))})


def _unary(behaviour: Behaviour) -> Behaviour:
    async def call(request: Any, context: Any) -> Any:
        span, failed = _span.get(), True
        try:
            response = await behaviour(request, context)
            failed = False
            return response
        finally:
            _end(span, context, failed=failed)

    return call


def _stream(behaviour: Behaviour) -> Behaviour:
    async def call(request: Any, context: Any) -> Any:
        span, failed = _span.get(), True
        responses = behaviour(request, context)
        try:
            async for response in responses:
                yield response
            failed = False
        finally:
            _end(span, context, failed=failed)
            await responses.aclose()

    return call


def _end(span: Span, context: Any, *, failed: bool) -> None:
    if not failed:
        end(span, {"rpc.grpc.status_code": grpc.StatusCode.OK.value[0]})
        return
    # A caller that left, or whose deadline passed, leaves no status.
    code = context.code() or grpc.StatusCode.CANCELLED
    end(span, {"rpc.grpc.status_code": code.value[0]}, code.name)
