"""A transcoder in front of the library's backend, over real HTTP."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from edge.departures import Departures
from edge.server import protocols
from edge.transcoding.app import Transcoder
from tests.support.asgi_server import running_asgi
from tests.support.library import LibraryBackend, library_service, running_library
from tests.support.waiting import least


@dataclass(frozen=True)
class Edge:
    """The running edge: an HTTP client for it, its URL, the application and what is behind it."""

    http: httpx.AsyncClient
    url: str
    app: Transcoder
    backend: LibraryBackend

    async def seconds_outlived(self, request: bytes, enough: float) -> float:
        """Sends a request whose call hangs, and leaves; returns how long the call went on, by `least`."""

        async def measure() -> float:
            self.backend.hanging.clear()
            self.backend.cancelled.clear()
            parts = urlsplit(self.url)
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(request)
            async with asyncio.timeout(5):
                await self.backend.hanging.wait()
                writer.close()
                left = time.monotonic()
                await self.backend.cancelled.wait()
            return time.monotonic() - left

        return await least(measure, enough)


@asynccontextmanager
async def running_edge(transport: str = "http2", **options: Any) -> AsyncIterator[Edge]:
    """Run backend and transcoder, with one of `transports.TRANSPORTS` between them; options are the transcoder's."""
    async with running_library(transport) as (backend, channel):
        app = Transcoder([library_service()], channel, **options)
        async with running_asgi(app) as url, httpx.AsyncClient(base_url=url, timeout=10) as http:
            yield Edge(http, url, app, backend)


@asynccontextmanager
async def running_whole_edge(transport: str = "http2", **options: Any) -> AsyncIterator[Edge]:
    """Run the same behind the edge's own protocols; a method of the backend that reads nothing is sent 64 KiB."""
    async with running_library(transport, window_grows=False) as (backend, channel):
        app = Transcoder([library_service()], channel, **options)
        with Departures() as departures:
            async with running_asgi(app, **protocols(departures)) as url, httpx.AsyncClient(base_url=url) as http:
                yield Edge(http, url, app, backend)
