"""Logs: JSON lines on standard error, each with the process and, inside a call, the request's id.

Keys, prompts and replies are never passed to a logger; ids, counts, durations and error classes are.
"""

import contextvars
import logging
import sys
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:  # loaded only where spans are made
    from shared.tracing import Tracing

request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")
"""Id of the request that is being served; empty outside of one."""
client_address: contextvars.ContextVar[str] = contextvars.ContextVar("client_address", default="")
"""Address of the client that is being served, where the process that serves it knows; for audits and limits."""
tracing: "contextvars.ContextVar[Tracing | None]" = contextvars.ContextVar("tracing", default=None)
"""What makes spans in this process; None unless OTEL_EXPORTER_OTLP_ENDPOINT says where they go."""
trace_context: contextvars.ContextVar[tuple[tuple[str, str], ...]] = contextvars.ContextVar("trace_context", default=())
"""Metadata that makes what is called part of the trace of the request that is being served; empty without tracing."""
_TRACE_ID = slice(3, 35)  # of a traceparent, `00-<32 digits of the trace>-<16 of the span>-<flags>`


def _add_request_id(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if current := request_id.get():
        event["request_id"] = current
    if traced := trace_context.get():
        event["trace_id"] = traced[0][1][_TRACE_ID]
    return event


def configure_logging(process: str, level: str) -> None:
    """Sends all logs, those of libraries included, to standard error as JSON lines. Called once, by `__main__`."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        _add_request_id,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]

    def add_process(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {"process": process, **event}

    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            add_process,
            structlog.processors.JSONRenderer(),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # The HTTP clients of the provider SDKs log whole URLs and headers below WARNING.
    for noisy in ("httpx", "httpx2", "httpcore", "httpcore2", "openai", "anthropic", "asyncio", "aiohttp"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
