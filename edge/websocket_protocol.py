"""uvicorn's WebSocket protocol, for clients that leave or fall silent while nothing is read from them."""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from edge.departures import Departures
from edge.transcoding.exchange import DEPARTURE


class WatchedWebSocketProtocol(WebSocketsSansIOProtocol):
    """Tells the application when a client leaves, whether or not it receives, and waits for a client not read from.

    Nothing is read while a message waits to be received; so a client that answers a ping meanwhile is not heard, and
    would be taken for lost.
    """

    _watched: int | None = None
    _listener: Callable[[], object] | None = None

    def __init__(self, *args: Any, departures: Departures | None = None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._departures = departures

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, and have the client watched."""
        super().connection_made(transport)
        if self._departures is not None:
            self._watched = self._departures.watch(self.transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that the client has left."""
        if self._departures is not None and self._watched is not None:
            self._departures.forget(self._watched, self.transport)
        super().connection_lost(exc)
        if self._listener is not None:
            self._listener()

    def keepalive_timeout(self) -> None:
        """Drop a client that did not answer a ping, though what it sent was read."""
        if not self.read_paused:
            super().keepalive_timeout()
            return
        self.pong_timer = None
        self.schedule_ping()

    async def send(self, message: Any) -> None:
        """Send, and take a handshake that was refused for complete, which uvicorn would report as a fault."""
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            self.handshake_complete = True

    async def run_asgi(self) -> None:
        """Run the application, with an extension that tells of the client's leaving."""
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions[DEPARTURE] = {"listen": self._listen}
        await super().run_asgi()

    def _listen(self, listener: Callable[[], object] | None) -> None:
        self._listener = listener
        if listener is not None and self.disconnected:
            listener()
