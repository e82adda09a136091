"""How HTTP is served: the listening socket, and uvicorn as every process of the edge runs it."""

import asyncio
import contextlib
import logging
import math
import socket
import ssl
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from edge.departures import Departures
from edge.http_protocol import BoundedHttpProtocol
from edge.websocket_protocol import WatchedWebSocketProtocol
from shared.rpc.mesh import background

logger = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 75
"""Longer than what load balancers keep idle connections for, so that they, not the edge, close them."""
MAX_CONNECTIONS = 10_000
MAX_FRAME_BYTES = 2 << 20
"""Of a WebSocket; the transcoder's own limit is lower and says which message was too large."""
BACKLOG = 2048
RENEWAL_CHECK_SECONDS = 1.0


def listen(host: str, port: int, *, share: bool = False) -> socket.socket:
    """Returns a socket that listens; port 0 takes a free one. Raises OSError, naming the address.

    With `share` several processes may listen on the same port, and the kernel deals connections out among them.
    """
    listener = _bound(host, port, share=share)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def reserve(host: str, port: int) -> socket.socket:
    """Returns a socket that keeps a port for processes which share it, without listening on it itself.

    Port 0 takes a free one. Raises OSError, naming the address, where anybody listens there already.
    """
    # Sharing would let a stranger's edge in; so it is looked first whether the port is free for one alone.
    with _bound(host, port, share=False) as alone:
        port = alone.getsockname()[1]
    return _bound(host, port, share=True)


def _bound(host: str, port: int, *, share: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if share:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listener


@dataclass(frozen=True, slots=True)
class HttpsFiles:
    """Where the certificate that clients see lies, with its chain, and its key; both PEM."""

    certificate: Path
    key: Path


async def serve(
    app: ASGIApp,
    listener: socket.socket,
    stop: asyncio.Event,
    drain_seconds: float,
    https: HttpsFiles | None = None,
) -> None:
    """Serves until SIGINT, SIGTERM or the event, then lets requests in flight end within the time given.

    uvicorn takes these signals itself while it serves, and raises them again before this returns. With `https` clients
    speak TLS, and renewed files serve new connections. Raises OSError for files that cannot be used.
    """
    departures = Departures()
    config = uvicorn.Config(
        app,
        **protocols(departures),
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
        ws_max_size=MAX_FRAME_BYTES,
        ssl_certfile=https.certificate if https else None,
        ssl_keyfile=https.key if https else None,
    )
    config.load()
    # What uvicorn tells of its own coming and going is for a terminal; whoever runs this tells it in its own words.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    server = uvicorn.Server(config)
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(departures)
        # A signal that came before uvicorn takes them is known by the event alone.
        await stack.enter_async_context(background(_exit_at(stop, server)))
        if https is not None and config.ssl is not None:
            await stack.enter_async_context(background(_renew(config.ssl, https)))
        await server.serve(sockets=[listener])


def protocols(departures: Departures) -> dict[str, Any]:
    """Return uvicorn's options for the protocols of the edge, whose clients are watched by `departures`."""
    return {
        "http": partial(BoundedHttpProtocol, departures=departures),
        "ws": partial(WatchedWebSocketProtocol, departures=departures),
    }


async def _exit_at(stop: asyncio.Event, server: uvicorn.Server) -> None:
    await stop.wait()
    server.should_exit = True


async def _renew(context: ssl.SSLContext, https: HttpsFiles) -> None:
    """Loads the files again whenever they change; what cannot be used leaves the old ones in place."""
    known = _signature(https)
    while True:
        await asyncio.sleep(RENEWAL_CHECK_SECONDS)
        found = _signature(https)
        if found == known:
            continue
        try:
            # In a context of its own first: one that fails half-way would be left with a key that does not fit.
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(https.certificate, https.key)
            context.load_cert_chain(https.certificate, https.key)
        except OSError as error:
            logger.warning("the HTTPS certificate cannot be used; the old one stays", extra={"cause": str(error)})
        else:
            known = found
            logger.info("the HTTPS certificate was read again")


def _signature(https: HttpsFiles) -> list[tuple[int, int]]:
    with contextlib.suppress(OSError):
        return [(path.stat().st_mtime_ns, path.stat().st_ino) for path in (https.certificate, https.key)]
    return []
