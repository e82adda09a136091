"""What carries the calls of a server: HTTP/2 of our own, or the gRPC library."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, Self, cast

import grpc

from shared.http2.server.server import Http2Server
from shared.rpc.tls import Certificates
from shared.settings import HELD_BYTES, CommonSettings

MAX_MESSAGE_BYTES = 48 * 1024 * 1024
"""Room for a request body of 32 MiB with what surrounds it."""
MAX_METADATA_BYTES = 32 * 1024

Kind = Literal["http2", "grpc"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a server takes on, of all its clients together; see `shared.http2.server.server.Http2Server`.

    The gRPC library knows of calls alone.
    """

    calls: int = 2000
    connections: int = 1000
    held_bytes: int = HELD_BYTES

    @classmethod
    def of(cls, settings: CommonSettings) -> Self:
        """Returns what the settings say."""
        return cls(connections=settings.rpc_max_connections, held_bytes=settings.rpc_max_held_bytes)


USUAL_LIMITS = Limits()


class ServerTransport(Protocol):
    """Carries calls to the handlers that are added to `handlers`, as generated code does."""

    handlers: grpc.aio.Server

    async def start(self, address: str, certificates: Certificates | None) -> int:
        """Listens and serves; returns the port, 0 for a Unix socket. Raises OSError."""
        ...

    async def stop(self, drain_seconds: float) -> None:
        """Takes no more calls, and lets those in flight end within the time given."""
        ...


def transport(kind: Kind, interceptors: Sequence[grpc.aio.ServerInterceptor], limits: Limits) -> ServerTransport:
    """Returns the transport of a kind."""
    make = Http2Transport if kind == "http2" else GrpcTransport
    return make(interceptors, limits)


class Http2Transport:
    """Implements ServerTransport on the event loop's own sockets."""

    def __init__(self, interceptors: Sequence[grpc.aio.ServerInterceptor], limits: Limits) -> None:
        self._server = Http2Server(
            interceptors,
            max_concurrent_calls=limits.calls,
            max_connections=limits.connections,
            max_held_bytes=limits.held_bytes,
            max_message_bytes=MAX_MESSAGE_BYTES,
            max_metadata_bytes=MAX_METADATA_BYTES,
        )
        # It has what generated code asks of one.
        self.handlers = cast("grpc.aio.Server", self._server)

    async def start(self, address: str, certificates: Certificates | None) -> int:
        """See ServerTransport."""
        return await self._server.start(address, None if certificates is None else certificates.server_context())

    async def stop(self, drain_seconds: float) -> None:
        """See ServerTransport."""
        await self._server.stop(drain_seconds)


class GrpcTransport:
    """Implements ServerTransport by the gRPC library, whose threads cost more than a call does."""

    def __init__(self, interceptors: Sequence[grpc.aio.ServerInterceptor], limits: Limits) -> None:
        self.handlers = grpc.aio.server(
            interceptors=interceptors,
            maximum_concurrent_rpcs=limits.calls,
            options=[
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_metadata_size", MAX_METADATA_BYTES),
                # Two servers on one port would share calls silently; the second one must fail.
                ("grpc.so_reuseport", 0),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
        )

    async def start(self, address: str, certificates: Certificates | None) -> int:
        """See ServerTransport."""
        try:
            if certificates is None:
                port = self.handlers.add_insecure_port(address)
            else:
                port = self.handlers.add_secure_port(address, certificates.server_credentials())
        except RuntimeError as error:
            raise OSError(str(error)) from error
        await self.handlers.start()
        return port

    async def stop(self, drain_seconds: float) -> None:
        """See ServerTransport."""
        await self.handlers.stop(drain_seconds)
