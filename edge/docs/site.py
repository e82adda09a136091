"""Serves the OpenAPI document and the page that shows it: fixed bytes, made once, and nothing from elsewhere."""

import gzip
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from importlib import resources

import brotli  # type: ignore[import-untyped] # no stubs exist
from starlette.requests import Request
from starlette.responses import Response

from edge.pages import request_id
from edge.transcoding.representation import chosen_coding, matches

Page = Callable[[Request], Awaitable[Response]]

_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        # Swagger UI's icons are inside its style sheet.
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_PAGE_HEADERS = {
    "content-security-policy": _POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_ASSETS: Mapping[str, str] = {
    "swagger-ui-bundle.js.br": "text/javascript; charset=utf-8",
    "swagger-ui.css.br": "text/css; charset=utf-8",
    "start.js": "text/javascript; charset=utf-8",
    "gaia.css": "text/css; charset=utf-8",
    "favicon.svg": "image/svg+xml",
}
_DOCUMENT, _ASSETS_AT = "/openapi.json", "/docs/assets/"
PAGE = "/docs"
"""Path of the page that shows the document."""

_ALWAYS_ASK = "no-cache"
"""A copy may be kept, and is asked for again with its ETag."""


@dataclass(frozen=True, slots=True)
class _File:
    """Bytes in the codings in which they are at hand; `identity` makes the plain ones where those are not."""

    media_type: str
    codings: Mapping[bytes, bytes]
    identity: Callable[[], bytes]
    etag: str

    @classmethod
    def of(cls, media_type: str, body: bytes) -> "_File":
        """Returns plain bytes that are coded here."""
        coded = {b"br": brotli.compress(body, quality=9), b"gzip": gzip.compress(body, mtime=0)}
        return cls(media_type, coded, lambda: body, _tag(body))

    @classmethod
    def of_brotli(cls, media_type: str, coded: bytes) -> "_File":
        """Returns bytes that are kept as Brotli; who cannot read that has them unpacked for each request."""
        return cls(media_type, {b"br": coded}, lambda: bytes(brotli.decompress(coded)), _tag(coded))


class Site:
    """The documentation of one OpenAPI document, in JSON."""

    def __init__(self, document: bytes) -> None:
        self._document = _File.of("application/json", document)
        static = resources.files("edge.docs") / "static"
        self._index = _File.of("text/html; charset=utf-8", (static / "index.html").read_bytes())
        self._assets: dict[str, _File] = {}
        for name, media_type in _ASSETS.items():
            data = (static / name).read_bytes()
            make = _File.of_brotli if name.endswith(".br") else _File.of
            self._assets[name.removesuffix(".br")] = make(media_type, data)

    @staticmethod
    def paths() -> list[str]:
        """Returns the paths of all pages."""
        return [_DOCUMENT, PAGE, *(_ASSETS_AT + name.removesuffix(".br") for name in _ASSETS)]

    def pages(self) -> dict[str, Page]:
        """Returns what answers GET, by path."""
        assets = {_ASSETS_AT + name: self._page(file, {}) for name, file in self._assets.items()}
        # Programs of other origins may read the document: it holds nothing that is not public.
        document = self._page(self._document, {"access-control-allow-origin": "*"})
        return {_DOCUMENT: document, PAGE: self._page(self._index, _PAGE_HEADERS), **assets}

    def _page(self, file: _File, headers: Mapping[str, str]) -> Page:
        async def page(request: Request) -> Response:
            return self._reply(request, file, headers)

        return page

    def _reply(self, request: Request, file: _File, more: Mapping[str, str]) -> Response:
        headers = {
            "x-request-id": request_id(request),
            "etag": file.etag,
            "cache-control": _ALWAYS_ASK,
            "vary": "accept-encoding",
            **more,
        }
        known = request.headers.get("if-none-match")
        if known is not None and matches(known.encode("latin-1"), file.etag.encode()):
            return Response(None, 304, headers)
        accepted = request.headers.get("accept-encoding")
        coding = chosen_coding(accepted.encode("latin-1"), file.codings) if accepted else None
        if coding is None:
            body = file.identity()
        else:
            body = file.codings[coding]
            headers["content-encoding"] = coding.decode()
        return Response(body, 200, headers, media_type=file.media_type)


def _tag(body: bytes) -> str:
    return f'W/"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'
