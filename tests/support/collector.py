"""A collector of spans: takes OTLP over HTTP and keeps what it got."""

import contextlib
import gzip
from collections.abc import AsyncIterator
from dataclasses import dataclass

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.support.asgi_server import running_asgi


@dataclass(frozen=True, slots=True)
class Span:
    """A span, with ids in hexadecimal."""

    process: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    failed: bool
    attributes: dict[str, str]


class Collector:
    """`spans` are what it got, `payloads` the bodies as they came. `url` is what processes are told."""

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Span] = []
        self.payloads: list[bytes] = []

    async def take(self, request: Request) -> Response:
        """`/v1/traces`."""
        body = await request.body()
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.payloads.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {one.key: one.value.string_value for one in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        Span(
                            process=named["service.name"],
                            name=span.name,
                            trace_id=span.trace_id.hex(),
                            span_id=span.span_id.hex(),
                            parent_id=span.parent_span_id.hex(),
                            failed=span.status.code == Status.STATUS_CODE_ERROR,
                            attributes={
                                one.key: one.value.string_value or str(one.value.int_value) for one in span.attributes
                            },
                        )
                    )
        return Response(ExportTraceServiceResponse().SerializeToString(), media_type="application/x-protobuf")

    def of(self, trace_id: str) -> dict[str, Span]:
        """The spans of a trace, by name."""
        return {span.name: span for span in self.spans if span.trace_id == trace_id}


@contextlib.asynccontextmanager
async def running_collector() -> AsyncIterator[Collector]:
    """Runs a collector on a free port."""
    collector = Collector()
    app = Starlette(routes=[Route("/v1/traces", collector.take, methods=["POST"])])
    async with running_asgi(app) as url:
        collector.url = url
        yield collector
