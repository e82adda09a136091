"""What keeps one connection: dials, waits between attempts as gRPC does (connection-backoff.md), and dials again."""

import asyncio
import random
import ssl
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from edge.transcoding.transport.http2.call import Http2Call
from edge.transcoding.transport.http2.connection import Connection
from edge.transcoding.transport.http2.target import Address

CONNECT_SECONDS = 20.0
"""Time in which a connection must be made and the server must have said its settings."""

FAREWELL_SECONDS = 0.5

SHORT_SECONDS = 1.0
"""A connection that was lost sooner and had no call was of no use: whoever dials again waits, longer each time."""
SHORT_PAUSES = (0.0, 0.05, 0.1, 0.2, 0.4, 1.0)


@dataclass(frozen=True, slots=True)
class Backoff:
    """Pauses between attempts to connect: the first, the longest, by how much they grow and how far they vary."""

    initial: float = 1.0
    maximum: float = 120.0
    multiplier: float = 1.6
    jitter: float = 0.2

    def pauses(self) -> Iterator[float]:
        """Yield one pause after the other, in seconds."""
        pause = self.initial
        while True:
            # Chance spreads clients over time; it keeps no secret.
            yield pause * random.uniform(1 - self.jitter, 1 + self.jitter)  # noqa: S311
            pause = min(pause * self.multiplier, self.maximum)


class SubchannelOwner(Protocol):
    """The channel, as its subchannels see it."""

    def has_room(self) -> None:
        """Calls may begin."""
        ...

    def failed(self) -> None:
        """No connection could be made."""
        ...

    def lost(self, subchannel: "Subchannel") -> None:
        """The connection ended, or takes no more calls."""
        ...

    def not_taken(self, call: Http2Call, reason: str) -> None:
        """The server did not take a call."""
        ...


class Subchannel:
    """One connection to the first of its addresses that answers.

    `connection` is there while calls may begin on it; `failure` says why there is none where the last attempt failed.
    `make` makes a connection's protocol, and `tls` tells the context for TLS as it is now.
    """

    def __init__(
        self,
        owner: SubchannelOwner,
        addresses: Sequence[Address],
        *,
        make: Callable[["Subchannel", ssl.SSLContext | None], Connection],
        tls: Callable[[], ssl.SSLContext] | None,
        host: str,
        backoff: Backoff,
    ) -> None:
        self._owner = owner
        self.addresses = list(addresses)
        self._make = make
        self._tls = tls
        self._host = host
        self._backoff = backoff
        self._task: asyncio.Task[None] | None = None
        self._open: set[Connection] = set()
        self._made_at = 0.0
        # How many connections in a row were of no use.
        self._useless = 0
        self.connection: Connection | None = None
        self.failure: str | None = None

    @property
    def busy(self) -> bool:
        """Whether a connection is open, be it one that takes no more calls."""
        return bool(self._open)

    def connect(self) -> None:
        """Have a connection made, where there is none and none is being made."""
        if self.connection is None and self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def renew(self) -> None:
        """Have the connection replaced by a new one; calls go on by the old one until then."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def retire(self) -> None:
        """Take no more calls; those under way go on."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self.connection is not None:
            self.connection.drain()

    async def close(self) -> None:
        """End everything at once."""
        task = self._task
        self.retire()
        if task is not None:
            await asyncio.wait([task])
        leaving = list(self._open)
        for connection in leaving:
            connection.close()
        for connection in leaving:
            await connection.closed

    # What a connection tells.

    def has_room(self) -> None:
        """See `connection.ConnectionOwner`."""
        self._owner.has_room()

    def leaves(self, connection: Connection, _reason: str) -> None:
        """See `connection.ConnectionOwner`."""
        if self.connection is connection:
            self.connection = None
            short = asyncio.get_running_loop().time() - self._made_at < SHORT_SECONDS
            self._useless = self._useless + 1 if short and not connection.used else 0
            self._owner.lost(self)

    def not_taken(self, call: Http2Call, reason: str) -> None:
        """See `connection.ConnectionOwner`."""
        self._owner.not_taken(call, reason)

    async def _run(self) -> None:
        await asyncio.sleep(SHORT_PAUSES[min(self._useless, len(SHORT_PAUSES) - 1)])
        for pause in self._backoff.pauses():
            old = self.connection
            try:
                connection = await self._dial()
            except (OSError, ValueError) as error:
                if self.connection is None:
                    self.failure = f"failed to connect to all addresses; last error: {error}"
                    self._owner.failed()
                await asyncio.sleep(pause)
                continue
            self._task = None
            self.failure = None
            self.connection = connection
            self._made_at = asyncio.get_running_loop().time()
            if old is not None:
                old.drain()
            self._owner.has_room()
            return

    async def _dial(self) -> Connection:
        """Return a connection that takes calls; raises OSError."""
        failure = OSError("there is no address")
        for address in self.addresses:
            try:
                async with asyncio.timeout(CONNECT_SECONDS):
                    return await self._reach(address)
            except TimeoutError:
                failure = OSError(f"{address}: nothing came within {CONNECT_SECONDS:g} seconds")
            except OSError as error:
                failure = OSError(f"{address}: {_reason(error)}")
        raise failure

    async def _reach(self, address: Address) -> Connection:
        loop = asyncio.get_running_loop()
        context = self._tls() if self._tls is not None else None
        host = self._host if context is not None else None
        # gRPC's servers do not answer the farewell of TLS, so that it would be waited for in vain.
        farewell = FAREWELL_SECONDS if context is not None else None
        connection = self._make(self, context)
        if address.port:
            transport, _ = await loop.create_connection(
                lambda: connection,
                address.host,
                address.port,
                ssl=context,
                server_hostname=host,
                ssl_shutdown_timeout=farewell,
            )
        else:
            transport, _ = await loop.create_unix_connection(
                lambda: connection,
                address.host,
                ssl=context,
                server_hostname=host,
                ssl_shutdown_timeout=farewell,
            )
        self._open.add(connection)
        connection.closed.add_done_callback(lambda _: self._open.discard(connection))
        try:
            if context is not None and transport.get_extra_info("ssl_object").selected_alpn_protocol() != "h2":
                raise OSError("the server does not agree to speak HTTP/2 (ALPN h2)")
            failure = await connection.ready
            if failure is None and connection.leaving:
                failure = connection.reason
            if failure is not None:
                raise OSError(failure)
        except BaseException:
            transport.close()
            raise
        return connection


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate is not accepted: {error.verify_message}"
    return error.strerror or str(error) or type(error).__name__
