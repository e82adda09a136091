"""Entry point of the edge: `python -m edge`."""

import asyncio
import math
import socket
import sys

import uvicorn

from edge.app import serving
from edge.settings import EdgeSettings
from shared.process import main

KEEP_ALIVE_SECONDS = 75
"""Longer than what load balancers keep idle connections for, so that they, not the edge, close them."""
MAX_HEADER_BYTES = 64 * 1024
MAX_CONNECTIONS = 10_000
BACKLOG = 2048


async def run(settings: EdgeSettings, stop: asyncio.Event) -> None:
    """Serves until told to stop."""
    listener = _listen(settings.edge_host, settings.edge_port)
    async with serving(settings) as app:
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                http="httptools",
                loop="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=True,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
                limit_concurrency=MAX_CONNECTIONS,
                h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            )
        )
        # uvicorn takes SIGINT and SIGTERM itself while it serves, drains, and raises them again for `stop`.
        await server.serve(sockets=[listener])
        await stop.wait()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(f"GAIA_EDGE_HOST, GAIA_EDGE_PORT: cannot listen on {host}:{port}: {error.strerror}") from error
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


if __name__ == "__main__":
    sys.exit(main("edge", EdgeSettings, run))
