"""The server: who may register handlers, where it listens, how many calls it takes, and how it ends."""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

import grpc

from shared.http2.server.addresses import Listening, listen
from shared.http2.server.call import WINDOW, ServerCall
from shared.http2.server.connection import ServerConnection
from shared.http2.server.door import LOOK_SECONDS, Door
from shared.http2.server.holding import Holding
from shared.http2.server.serving import Methods, Serving

LAST_SECONDS = 2.0
"""Time for handlers that were cancelled to end, and for clients to read what is left for them."""
MIN_STREAMS = 100
"""RFC 9113, section 6.5.2, recommends to allow no fewer on a connection."""


class Http2Server:
    """A gRPC server; generated code adds servicers to it as to grpc.aio's.

    Of calls that run at once there are at most `max_concurrent_calls`, counting those whose client has left and whose
    handler has not ended yet; what is beyond ends as RESOURCE_EXHAUSTED. Messages are of `max_message_bytes` at most
    both ways, the metadata of a request of `max_metadata_bytes`. A call holds no more than a window unread, or the one
    message that its handler waits for; all calls together hold `max_held_bytes` of requests, but for 64 KiB of each.
    There are `max_connections` at most: who comes then, or asks for too much, hears ENHANCE_YOUR_CALM or
    RESOURCE_EXHAUSTED. Connections without a call for 10 minutes are asked to leave, sooner when there are many.
    """

    def __init__(
        self,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
        *,
        max_concurrent_calls: int,
        max_message_bytes: int,
        max_metadata_bytes: int,
        max_connections: int,
        max_held_bytes: int,
    ) -> None:
        self.max_message_bytes = max_message_bytes
        self.max_metadata_bytes = max_metadata_bytes
        # More than run, so that a client hears that they are too many instead of waiting.
        self.max_streams = max(MIN_STREAMS, 2 * max_concurrent_calls)
        self.holding = Holding(max(max_held_bytes, max_message_bytes + WINDOW))
        self.draining = False
        self._max_calls = max_concurrent_calls
        self._methods = Methods(interceptors)
        self._serving = Serving(self._methods, max_message_bytes)
        self._running: set[asyncio.Task[None]] = set()
        self._door = Door(lambda: ServerConnection(self), max_connections)
        self._changed = asyncio.Event()
        self._listening: list[Listening] = []
        self._looking: asyncio.TimerHandle | None = None

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """See grpc.aio.Server."""
        self._methods.add_generic(generic_rpc_handlers)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        """See grpc.aio.Server."""
        self._methods.add(service_name, method_handlers)

    async def start(self, address: str, tls: ssl.SSLContext | None = None) -> int:
        """Listen on `HOST:PORT` or `unix:PATH`, and serve; returns the port. Raises OSError."""
        listening = listen(address)
        self._listening.append(listening)
        for one in listening.sockets:
            self._door.listen(one, tls)
        if self._looking is None:
            self._look_later()
        return listening.port

    async def stop(self, grace: float | None) -> None:
        """Take no more calls, let those that are under way end within so many seconds, and end the others.

        Clients are told to send no more calls; what was on its way when they heard of it is answered like the others.
        """
        self.draining = True
        if self._looking is not None:
            self._looking.cancel()
        await self._door.close()
        for listening in self._listening:
            listening.remove_path()
        if grace:
            for connection in list(self._door.open):
                connection.drain("the server is shutting down")
            await self._until_closed(grace)
        for connection in list(self._door.open):
            connection.end_calls(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        if self._running:
            await asyncio.wait(list(self._running), timeout=LAST_SECONDS)
        await self._until_closed(LAST_SECONDS)
        for connection in list(self._door.open):
            connection.abort()

    # What connections tell.

    def begin(self, call: ServerCall) -> None:
        """See `connection.ConnectionOwner`."""
        running = self._running
        if len(running) >= self._max_calls:
            call.end(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{self._max_calls} calls run already, which is the limit")
            return
        call.task = task = call.connection.loop.create_task(self._serving.serve(call))
        running.add(task)
        task.add_done_callback(running.discard)

    def opened(self, connection: ServerConnection) -> str:
        """See `connection.ConnectionOwner`."""
        return self._door.admit(connection)

    def closed(self, connection: ServerConnection) -> None:
        """See `connection.ConnectionOwner`."""
        self._door.left(connection)
        self._changed.set()

    def _look_later(self) -> None:
        self._looking = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        self._door.look()
        self.holding.look()
        self._look_later()

    async def _until_closed(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                while self._door.open:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return
