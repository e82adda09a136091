"""An edge in the test's own process, over real HTTP, in front of an auth service."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx

from edge.app import serving
from edge.settings import EdgeSettings
from tests.support.asgi_server import running_asgi


@contextlib.asynccontextmanager
async def running_edge(auth_address: str, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Runs an edge in front of the auth service at an address; chat and asset are away unless told. Yields a client."""
    nobody = "dns:///127.0.0.1:1"
    targets = {"auth_target": f"dns:///{auth_address}", "chat_target": nobody, "asset_target": nobody}
    chosen = EdgeSettings(**{"env": "test", **targets, **settings})
    async with (
        serving(chosen) as app,
        running_asgi(app, proxy_headers=False) as url,
        httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as client,
    ):
        yield client
