"""Who comes in: connections are counted from the moment they are accepted, and asked to leave when nobody uses them."""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from shared.http2.server.connection import ServerConnection
from shared.http2.server.seldom import Seldom

logger = logging.getLogger(__name__)

HANDSHAKE_SECONDS = 20.0
LAST_SECONDS = 2.0
"""Time for handshakes that were cut short to end."""
FAREWELL_SECONDS = 0.5
"""Time for the farewell of TLS, which gRPC's own clients never answer."""

MORE = 64
"""Connections beyond the limit whose calls are told so, for a moment; who comes beside these is closed at once."""

AT_ONCE = 64
"""Connections that are accepted before others have their turn."""

LOOK_SECONDS = 15.0
"""Between two looks at all connections."""
IDLE_LOOKS = 40
"""After so many without a call, a connection is asked to leave: 10 minutes."""
CROWDED_IDLE_LOOKS = 2
"""The same where three quarters of the connections that may be are there."""

EXHAUSTED_SECONDS = 0.5
"""Pause where the system gives no more sockets."""
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Door:
    """Lets connections in, `most` of them; `open` are those that are served."""

    def __init__(self, make: Callable[[], ServerConnection], most: int) -> None:
        self.open: set[ServerConnection] = set()
        self._loop: asyncio.AbstractEventLoop
        self._make = make
        self._most = most
        self._refused: set[ServerConnection] = set()
        self._entering: dict[ServerConnection, tuple[socket.socket, asyncio.Task[None]]] = {}
        self._listening: dict[socket.socket, ssl.SSLContext | None] = {}
        self._full = Seldom(logger, "connections were refused: there are as many as may be")
        self._exhausted = Seldom(logger, "connections cannot be accepted: the system gives no more sockets")

    def listen(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Accept what comes to a socket, and close the socket in the end."""
        self._loop = asyncio.get_running_loop()
        self._listening[listening] = tls
        self._loop.add_reader(listening, self._accept, listening)

    async def close(self) -> None:
        """Let nobody in any more."""
        for listening in self._listening:
            self._loop.remove_reader(listening)
            listening.close()
        self._listening.clear()
        for connection, (accepted, _) in self._entering.items():
            if connection not in self.open:
                # Cancelled, it might leave behind a connection without a socket.
                with suppress(OSError):
                    accepted.shutdown(socket.SHUT_RDWR)
        if self._entering:
            await asyncio.wait([task for _, task in self._entering.values()], timeout=LAST_SECONDS)
        for connection in list(self._refused):
            connection.abort()

    def admit(self, connection: ServerConnection) -> str:
        """Count a connection; returns why it cannot stay, nothing where it can."""
        if len(self.open) < self._most:
            self.open.add(connection)
            return ""
        self._refused.add(connection)
        self._full.tell(connections=len(self.open))
        return f"{self._most} connections are open already, which is the limit"

    def left(self, connection: ServerConnection) -> None:
        """Count a connection no more."""
        self.open.discard(connection)
        self._refused.discard(connection)

    def look(self) -> None:
        """Ask connections to leave that nobody uses, or that do not go on."""
        crowded = len(self.open) * 4 >= self._most * 3
        for connection in list(self.open):
            connection.look(CROWDED_IDLE_LOOKS if crowded else IDLE_LOOKS)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                accepted, _address = listening.accept()
            except OSError as error:
                # Others say that nobody is there any more, or that a client left before it was let in.
                if error.errno in _EXHAUSTED:
                    self._exhausted.tell(connections=len(self.open))
                    self._loop.remove_reader(listening)
                    self._loop.call_later(EXHAUSTED_SECONDS, self._accept_again, listening)
                return
            if len(self.open) + len(self._refused) + len(self._entering) >= self._most + MORE:
                self._full.tell(connections=len(self.open))
                accepted.close()
                continue
            accepted.setblocking(False)
            connection = self._make()
            entering = self._loop.create_task(self._let_in(connection, accepted, self._listening[listening]))
            self._entering[connection] = accepted, entering

    def _accept_again(self, listening: socket.socket) -> None:
        if listening in self._listening:
            self._loop.add_reader(listening, self._accept, listening)

    async def _let_in(self, connection: ServerConnection, accepted: socket.socket, tls: ssl.SSLContext | None) -> None:
        timeouts: dict[str, Any] = {}
        if tls is not None:
            timeouts = {"ssl_handshake_timeout": HANDSHAKE_SECONDS, "ssl_shutdown_timeout": FAREWELL_SECONDS}
        try:
            # Who cannot agree on TLS, or leaves before, has been told so by TLS.
            with suppress(OSError):
                await self._loop.connect_accepted_socket(lambda: connection, accepted, ssl=tls, **timeouts)
        finally:
            del self._entering[connection]
