"""The documentation of contracts that are only known while they are served: beside the routes of `gaia proxy`."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.types import Receive, Scope, Send

from edge.docs.site import PAGE, Page, Site
from edge.transcoding.comments import Comments
from edge.transcoding.live import Served
from edge.transcoding.openapi import openapi_document
from edge.transcoding.openapi_options import OpenApiOptions, OperationNotes
from edge.transcoding.paths import PathTable
from edge.transcoding.profile import Profile
from edge.transcoding.routes import ANY_METHOD, Route

_KEY = {"type": "apiKey", "in": "header", "name": "X-API-Key"}


class Documented:
    """Serves an application, and the documentation of its routes at the paths of `Site` that the routes leave free.

    `/`, where it is free, leads to the page.

    `make` makes the document. That takes about a third of a millisecond a route, so that it is made when somebody
    first asks for it, in a thread of its own.
    """

    def __init__(self, served: Served, make: Callable[[], dict[str, Any]]) -> None:
        self._served = served
        self._make = make
        self._site: asyncio.Task[dict[str, Page]] | None = None
        taken = PathTable[Route](reject_dot_segments=False)
        for route in served.routes:
            if route.http_method in ("GET", ANY_METHOD):
                taken.add(route.template, route, trailing_slash=route.options.trailing_slash)
        free = {path for path in ("/", *Site.paths()) if taken.match(path) is None}
        self._paths = frozenset(free if PAGE in free else free - {"/"})

    @property
    def routes(self) -> Sequence[Route]:
        """The application's routes."""
        return self._served.routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or scope["path"] not in self._paths or scope["method"] not in ("GET", "HEAD"):
            await self._served(scope, receive, send)
            return
        if scope["path"] == "/":
            await RedirectResponse(PAGE)(scope, receive, send)
            return
        if self._site is None:
            self._site = asyncio.create_task(asyncio.to_thread(self._pages))
        # Whoever asks first may leave; the others wait on.
        pages = await asyncio.shield(self._site)
        response = await pages[scope["path"]](Request(scope))
        await response(scope, receive, send)

    def _pages(self) -> dict[str, Page]:
        return Site(orjson.dumps(self._make())).pages()


def document_of(
    routes: Sequence[Route], profile: Profile, *, title: str, comments: Comments, keyed: bool
) -> dict[str, Any]:
    """Returns the document of routes that are not Gaia's; `keyed` where each needs an API key."""
    notes = OperationNotes(
        security=[{"ApiKey": []}] if keyed else None,
        statuses={401: "There is no key, or it does not work"} if keyed else {},
    )
    options = OpenApiOptions(
        title=title,
        version="1",
        comments=comments,
        notes=lambda _route: notes,
        components={"securitySchemes": {"ApiKey": _KEY}} if keyed else {},
    )
    return openapi_document(routes, options, profile=profile)
