"""How HTTP is served: the listening socket, and uvicorn as every process of the edge runs it."""

import math
import socket

import uvicorn
from starlette.types import ASGIApp

KEEP_ALIVE_SECONDS = 75
"""Longer than what load balancers keep idle connections for, so that they, not the edge, close them."""
MAX_HEADER_BYTES = 64 * 1024
MAX_CONNECTIONS = 10_000
BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens; port 0 takes a free one. Raises OSError, naming the address."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


async def serve(app: ASGIApp, listener: socket.socket, drain_seconds: float) -> None:
    """Serves until SIGINT or SIGTERM, then lets requests in flight end within the time given.

    uvicorn takes these signals itself while it serves, and raises them again before this returns.
    """
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
            timeout_graceful_shutdown=math.ceil(drain_seconds),
            limit_concurrency=MAX_CONNECTIONS,
            h11_max_incomplete_event_size=MAX_HEADER_BYTES,
        )
    )
    await server.serve(sockets=[listener])
