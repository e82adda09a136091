"""What the edge answers itself: where things are, and whether they work."""

import uuid
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from edge.errors import STYLES
from edge.health import HealthReporter
from edge.transcoding.errors import Code, Status
from edge.transcoding.headers import sane_request_id

V02_FEATURES = ["chat", "streaming", "providers", "models"]
V02_ENDPOINTS = {
    "chat": "/api/v0.2/chat",
    "chat_stream": "/api/v0.2/chat/stream",
    "chat_status": "/api/v0.2/chat/status",
    "chat_history": "/api/v0.2/chat/history",
    "providers": "/api/v0.2/providers",
    "models": "/api/v0.2/models",
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
                "versions": ["v0.2", "v1"],
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

    allowed = "GET, HEAD, OPTIONS"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """An ASGI application."""
        request = Request(scope)
        headers = {"x-request-id": request_id(request), "allow": self.allowed}
        if request.method == "OPTIONS":
            await Response(None, 204, headers)(scope, receive, send)
            return
        status = Status(Code.UNIMPLEMENTED, f"{request.method} is not allowed for this path; it takes {self.allowed}")
        media_type, body = STYLES[""].body(status, 405, headers["x-request-id"])
        await Response(body, 405, headers, media_type=media_type)(scope, receive, send)


def _reply(request: Request, body: dict[str, Any], status: int = 200) -> Response:
    headers = {"x-request-id": request_id(request)}
    if status == 503:
        headers["retry-after"] = "1"
    return Response(orjson.dumps(body), status, headers, media_type="application/json")


def request_id(request: Request) -> str:
    """Returns the id that a request brings, if it is a sane one, else a new one."""
    sent = request.headers.get("x-request-id")
    return sane_request_id(sent.encode() if sent else None) or uuid.uuid4().hex
