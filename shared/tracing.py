"""Spans for OpenTelemetry, sent over OTLP/HTTP. Imported only by a process that is told where to send them.

A span tells which method was called, how long it took and how it ended; never what was said, whose key it was, or the
URL, which may hold both. The provider is Gaia's own and not the global one: libraries that write spans of their own,
such as the SDKs of LLM providers, must not send prompts along.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterable, Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared import telemetry

PARENTS = ("traceparent", "tracestate")
"""Headers and metadata that carry the W3C trace context."""
MAX_HEADER = 512
"""Longest header of a trace context that is looked at; what is longer starts a trace of its own."""
FLUSH_SECONDS = 3.0
"""How long the end of a process waits for the last spans to be taken."""
_PROPAGATOR = TraceContextTextMapPropagator()


class Tracing:
    """Makes spans of one process. Spans wait in a bounded queue and are sent by a thread; what is too much is dropped.

    Everything else is set by OpenTelemetry's own variables: `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_TRACES_SAMPLER`,
    `OTEL_BSP_MAX_QUEUE_SIZE` and so on.
    """

    def __init__(self, process: str, flush_seconds: float = FLUSH_SECONDS) -> None:
        self._flush_seconds = flush_seconds
        # Ended by `close`, in time, and not by the interpreter when it goes.
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": f"gaia-{process}"}), shutdown_on_exit=False
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("gaia")

    def serve(self, name: str, pairs: Iterable[tuple[str, str]], attributes: Mapping[str, str]) -> Span:
        """Begins the span of a call that is served, as a child of the context in its headers or metadata.

        What this process calls from now on, in this task, carries it further.
        """
        carrier = {key: value for key, value in pairs if key in PARENTS and len(value) <= MAX_HEADER}
        parent = _PROPAGATOR.extract(carrier, Context())
        span = self._tracer.start_span(name, parent, SpanKind.SERVER, attributes)
        onward: dict[str, str] = {}
        _PROPAGATOR.inject(onward, trace.set_span_in_context(span, parent))
        telemetry.trace_context.set(tuple(onward.items()))
        return span

    def close(self) -> None:
        """Sends what waits, as far as it is taken within a moment. Blocks."""
        # The provider would wait for half a minute for a collector that is away; its threads do not hold up the end.
        sending = threading.Thread(target=self._provider.shutdown, daemon=True)
        sending.start()
        sending.join(self._flush_seconds)


def end(span: Span, attributes: Mapping[str, str | int], error: str = "") -> None:
    """Ends a span; `error` says how it failed, in a word."""
    span.set_attributes(attributes)
    if error:
        span.set_status(Status(StatusCode.ERROR, error))
    span.end()


@contextlib.asynccontextmanager
async def tracing(process: str) -> AsyncIterator[None]:
    """Makes spans of what is built and served in the block."""
    made = Tracing(process)
    telemetry.tracing.set(made)
    try:
        yield
    finally:
        telemetry.tracing.set(None)
        await asyncio.to_thread(made.close)
