"""A span for each request that the edge answers."""

from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.auth import Authorizer, Metadata
from edge.transcoding.routes import Route
from shared import telemetry
from shared.tracing import PARENTS, Tracing, end

_ROUTE = "traced_route"


class TracedEdge:
    """Makes spans, and replaces the trace context of each request by its span's, which services are called with.

    A span is named by the route that the contracts declare; a path that no client of ours would make up is in none.
    """

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request or connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        method = scope.get("method", "GET")
        pairs = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])
        span = self._tracing.serve(method, pairs, {"http.request.method": method})
        onward = [(name.encode(), value.encode()) for name, value in telemetry.trace_context.get()]
        others = [header for header in scope["headers"] if header[0].decode("latin-1") not in PARENTS]
        state = scope.setdefault("state", {})
        status = 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        try:
            await self._app({**scope, "headers": [*others, *onward]}, receive, watch)
        finally:
            attributes: dict[str, str | int] = {"gaia.request_id": state.get("request_id", "")}
            if route := state.get(_ROUTE):
                span.update_name(str(route))
                attributes |= {"http.route": route.template.source, "rpc.method": route.method.full_name}
            if status:
                attributes["http.response.status_code"] = status
            error = "" if 0 < status < 500 else str(status or "no response")
            end(span, attributes, error)


class TracedAuthorizer:
    """Notes the route of each request for its span, and decides as the other does."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def __call__(self, route: Route, scope: Scope) -> Metadata | Awaitable[Metadata]:
        """Returns the metadata to add."""
        scope["state"][_ROUTE] = route
        return self._authorizer(route, scope)
