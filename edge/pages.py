"""What the edge answers itself: where things are, and whether they work."""

import uuid
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from edge.errors import STYLES
from edge.health import HealthReporter
from edge.transcoding.cross_origin import OriginPolicy, is_preflight
from edge.transcoding.errors import Code, RpcFailure, failure
from edge.transcoding.headers import Header, sane_request_id
from edge.transcoding.options import CrossOrigin

V02_FEATURES = ["chat", "streaming", "personas", "providers", "models", "usage", "performance"]
V02_ENDPOINTS = {
    "chat": "/api/v0.2/chat",
    "chat_stream": "/api/v0.2/chat/stream",
    "chat_status": "/api/v0.2/chat/status",
    "chat_history": "/api/v0.2/chat/history",
    "personas": "/api/v0.2/personas",
    "providers": "/api/v0.2/providers",
    "models": "/api/v0.2/models",
    "usage": "/api/v0.2/usage/current",
    "performance": "/api/v0.2/performance/summary",
    "health": "/api/v0.2/health",
}


class Pages:
    """The edge's own routes; none needs a key."""

    def __init__(self, reporter: HealthReporter, version: str) -> None:
        self._reporter = reporter
        self._version = version

    async def index(self, request: Request) -> Response:
        """`GET /`."""
        return _reply(
            request,
            {
                "message": "Gaia is running.",
                "version": self._version,
                "versions": ["v0.2", "v0.3", "v1"],
                "docs": "/docs",
                "health": "/health",
            },
        )

    async def health(self, request: Request) -> Response:
        """`GET /health`: always 200; the body says how things are."""
        return _reply(request, await self._reporter.report())

    async def alive(self, request: Request) -> Response:
        """`GET /livez`: the process answers."""
        return _reply(request, {"status": "ok"})

    async def ready(self, request: Request) -> Response:
        """`GET /readyz`: 200 when requests can be served, else 503."""
        if await self._reporter.ready():
            return _reply(request, {"status": "ok"})
        return _reply(request, {"status": "unavailable", "error": "the auth service does not answer"}, status=503)

    async def v02(self, request: Request) -> Response:
        """`GET /api/v0.2/`."""
        return _reply(
            request,
            {
                "version": "0.2",
                "status": "stable",
                "description": "Gaia's native chat API",
                "features": V02_FEATURES,
                "endpoints": V02_ENDPOINTS,
            },
        )

    async def v02_health(self, request: Request) -> Response:
        """`GET /api/v0.2/health`."""
        report = await self._reporter.report()
        return _reply(request, {"status": report["status"], "version": "0.2"})


class OtherMethods:
    """Answers every method that a page does not take: OPTIONS with 204, the others with 405, both with `Allow`."""

    allowed = ("GET", "HEAD", "OPTIONS")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        request = Request(scope)
        allowed = ", ".join(self.allowed)
        if request.method == "OPTIONS":
            headers = {"x-request-id": request_id(request), "allow": allowed}
            await Response(None, 204, headers)(scope, receive, send)
            return
        message = f"{request.method} is not allowed for this path; it takes {allowed}"
        refused = failure(Code.UNIMPLEMENTED, message, http_status=405, headers=((b"allow", allowed.encode()),))
        await _refuse(scope, receive, send, refused)


class CrossOriginPages:
    """Lets pages of other origins read what the edge answers itself, by the rules that hold for the contracts."""

    def __init__(self, pages: Starlette, rules: CrossOrigin) -> None:
        self._pages = pages
        self._origins = OriginPolicy(rules)
        self.paths = frozenset(route.path for route in pages.routes if isinstance(route, Route))
        """The paths that are served."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        if scope["type"] != "http" or not self._origins.active:
            await self._pages(scope, receive, send)
            return
        asked: list[Header] = scope["headers"]
        told: list[Header] = []
        if scope["method"] == "OPTIONS" and is_preflight(asked):
            try:
                told = self._origins.preflight(asked, OtherMethods.allowed)
            except RpcFailure as error:
                await _refuse(scope, receive, send, error)
                return

        async def send_told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message["headers"], *told]
                # The document's own answer is for every page.
                if not any(name == b"access-control-allow-origin" for name, _ in headers):
                    self._origins.complete(headers, asked)
                message = {**message, "headers": headers}
            await send(message)

        await self._pages(scope, receive, send_told)


async def _refuse(scope: Scope, receive: Receive, send: Send, refused: RpcFailure) -> None:
    """Answers with an error in the words of the routes beside the pages."""
    request = Request(scope)
    headers = {name.decode(): value.decode() for name, value in refused.headers}
    headers["x-request-id"] = request_id(request)
    media_type, body = STYLES[""].body(refused.status, refused.http_status, headers["x-request-id"])
    await Response(body, refused.http_status, headers, media_type=media_type)(scope, receive, send)


def _reply(request: Request, body: dict[str, Any], status: int = 200) -> Response:
    headers = {"x-request-id": request_id(request)}
    if status == 503:
        headers["retry-after"] = "1"
    return Response(orjson.dumps(body), status, headers, media_type="application/json")


def request_id(request: Request) -> str:
    """Returns the id that a request brings, if it is a sane one, else a new one."""
    sent = request.headers.get("x-request-id")
    return sane_request_id(sent.encode() if sent else None) or uuid.uuid4().hex
