"""Gaia's OpenAPI document: the contracts' routes and the edge's own pages.

What the contracts cannot say lies in `content/`: `overview.md` stands at the top, `pages.json` lists the edge's own
pages, `operations.json` has notes by the methods' full names (the fields of `OperationNotes`), and `components.json`
the objects that these refer to.
"""

from collections.abc import Iterable, Mapping
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import orjson

from edge.docs.errors import ERRORS
from edge.rules import method_options
from edge.transcoding.comments import Comments
from edge.transcoding.openapi import openapi_document
from edge.transcoding.openapi_options import OpenApiOptions, OperationNotes
from edge.transcoding.profile import Profile
from edge.transcoding.routes import Route
from shared.rpc.rules import access_of

_SCHEMES = ("ApiKey", "Bearer")
_HEADERS = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
_PAGES_TAG = "Pages"
_ORDER = ("gaia.chat", "gaia.asset", "gaia.auth")
"""Packages in the order in which readers want to know of them; others come after."""


def gaia_document(routes: Iterable[Route], profile: Profile, version: str) -> dict[str, Any]:
    """Returns the document of the edge's routes, which were compiled under this profile."""
    content = resources.files("edge.docs") / "content"
    notes = _Notes(_read(content / "operations.json"))
    options = OpenApiOptions(
        title="Gaia",
        version=version,
        description=(content / "overview.md").read_text(encoding="utf-8"),
        comments=Comments.of_descriptor_set((resources.files("gaia") / "descriptors.binpb").read_bytes()),
        notes=notes,
        errors=ERRORS,
        components=_read(content / "components.json"),
        paths={path: _page(page) for path, page in _read(content / "pages.json").items()},
        tags=[{"name": _PAGES_TAG, "description": "What anybody may ask without a key."}],
    )
    ordered = sorted(routes, key=_rank)
    document = openapi_document(ordered, options, profile=profile, method_options=method_options)
    # Whoever reads it came for the services.
    document["tags"].append(document["tags"].pop(0))
    return document


def _rank(route: Route) -> int:
    package = route.method.containing_service.file.package
    return next((rank for rank, name in enumerate(_ORDER) if package.startswith(name)), len(_ORDER))


class _Notes:
    """Says of a route what its contract's access rules and `operations.json` do."""

    def __init__(self, written: Mapping[str, Mapping[str, Any]]) -> None:
        self._written = written

    def __call__(self, route: Route) -> OperationNotes:
        written = dict(self._written.get(route.method.full_name, {}))
        headers = {**_HEADERS, **written.pop("headers", {})}
        access = access_of(route.method)
        statuses: dict[int, str] = {}
        security: list[Mapping[str, list[str]]] = []
        remark = "Needs no key."
        if not access.public:
            # Each of the scopes will do, and each scheme.
            wanted = [[scope] for scope in sorted(access.scopes)] or [[]]
            security = [{scheme: scopes} for scopes in wanted for scheme in _SCHEMES]
            listed = " or ".join(f"`{scope}`" for scope in sorted(access.scopes))
            remark = f"Needs the scope {listed}." if listed else "Any valid key will do."
            statuses[401] = "There is no key, or it does not work"
            if listed:
                statuses[403] = f"The key lacks the scope {listed}"
        if route.template.variables:
            statuses[404] = "There is no such thing, or it is somebody else's"
        statuses[429] = "Too many requests; `Retry-After` says when to try again"
        statuses[503] = "A service behind the edge does not answer; `Retry-After` says when to try again"
        return OperationNotes(security=security, statuses=statuses, headers=headers, remark=remark, **written)


def _page(page: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the path item of a page of the edge's own."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{page['schema']}"}}}
    responses: dict[str, Any] = {"200": {"description": "OK", "headers": _HEADERS, "content": content}}
    if "unavailable" in page:
        responses["503"] = {"description": page["unavailable"], "headers": _HEADERS, "content": content}
    operation: dict[str, Any] = {
        "tags": [_PAGES_TAG],
        "operationId": page["operation"],
        "summary": page["summary"],
        "responses": responses,
        "security": [],
    }
    if "description" in page:
        operation["description"] = page["description"]
    return {"get": operation}


def _read(file: Traversable) -> dict[str, Any]:
    read: dict[str, Any] = orjson.loads(file.read_bytes())
    return read
