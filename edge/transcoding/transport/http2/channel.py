"""The channel: resolves its target, keeps its connections, and gives each call one of them."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import grpc

from edge.transcoding.transport.channel import Metadata
from edge.transcoding.transport.http2.call import Http2Call
from edge.transcoding.transport.http2.connection import Connection
from edge.transcoding.transport.http2.fields import FieldDecoder, FieldEncoder
from edge.transcoding.transport.http2.keepalive import Keepalive
from edge.transcoding.transport.http2.subchannel import Backoff, Subchannel
from edge.transcoding.transport.http2.target import Address, Target

TlsSource = Callable[[], ssl.SSLContext]
"""Tells the context for TLS as it is now; another object than before has connections replaced."""

MAX_TRIES = 5
"""How often a call is begun at most, where servers say that they did not take it."""

RESOLVE_SECONDS = 1.0
"""The shortest time between two look-ups of the target's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelOptions:
    """How a channel behaves.

    - `round_robin`: connect to all of the target's addresses and give calls to each in turn; else to the first that
      answers (gRPC's pick_first).
    - `max_message_bytes`: of a message that is received, decompressed.
    - `max_metadata_bytes`: names and values of one answer's metadata together, 32 bytes more for each.
    - `max_waiting`: calls that wait for a connection, or for a server that takes no more at once.
    - `keepalive`: None asks nothing: servers that do not expect it take it for an attack.
    """

    round_robin: bool = False
    max_message_bytes: int = 4 << 20
    max_metadata_bytes: int = 32 << 10
    max_waiting: int = 10_000
    backoff: Backoff = field(default_factory=Backoff)
    keepalive: Keepalive | None = None


class Http2Channel:
    """Implements `transport.channel.Channel` over HTTP/2. Nothing is dialled before the first call.

    A call that finds no connection waits for one, or ends with UNAVAILABLE where the last attempts failed.
    """

    def __init__(self, target: Target, options: ChannelOptions | None = None, *, tls: TlsSource | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._target = target
        self._options = options if options is not None else ChannelOptions()
        self._tls = tls
        self._encoder = FieldEncoder(target.authority, secure=tls is not None)
        self._decoder = FieldDecoder(self._options.max_metadata_bytes)
        self._subchannels: list[Subchannel] = []
        self._retired: list[Subchannel] = []
        self._turn = 0
        self._waiting: dict[Http2Call, None] = {}
        self._resolver: asyncio.Task[None] | None = None
        self._resolved_at = float("-inf")
        self._failure: str | None = None
        self._closed = False
        # It writes every header, of whatever it holds, where somebody asks for all that libraries have to say.
        logging.getLogger("hpack").setLevel(logging.INFO)

    async def __aenter__(self) -> Self:
        """Return the channel, which is closed at the block's end."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the channel."""
        await self.close()

    async def close(self) -> None:
        """Cancel the calls under way and close the connections."""
        self._closed = True
        if self._resolver is not None:
            self._resolver.cancel()
            await asyncio.wait([self._resolver])
        for call in list(self._waiting):
            call.cancel()
        for subchannel in (*self._subchannels, *self._retired):
            await subchannel.close()

    def renew(self) -> None:
        """Have connections replaced by new ones, which a balancer may lead to newer servers; calls go on until then."""
        for subchannel in self._subchannels:
            if subchannel.connection is not None:
                subchannel.renew()

    def method(self, path: str, *, client_streaming: bool, server_streaming: bool) -> Callable[..., Http2Call]:
        """See `transport.channel.Channel`."""
        head = self._encoder.of_method(path)
        loop, limit, withdraw, start = self._loop, self._options.max_message_bytes, self._withdraw, self._start

        def call(request: bytes | None = None, *, timeout: float | None, metadata: Metadata) -> Http2Call:
            assert (request is None) is client_streaming
            made = Http2Call(
                loop,
                request,
                streams_replies=server_streaming,
                max_message_bytes=limit,
                timeout=timeout,
                metadata=metadata,
                head=head,
                withdraw=withdraw,
            )
            start(made)
            return made

        return call

    # What subchannels tell.

    def has_room(self) -> None:
        """See `subchannel.SubchannelOwner`."""
        while self._waiting:
            connection = self._pick()
            if connection is None:
                return
            call = next(iter(self._waiting))
            del self._waiting[call]
            call.timeout = call.remaining()
            self._open(connection, call)

    def failed(self) -> None:
        """See `subchannel.SubchannelOwner`."""
        self._resolve()
        self._fail_waiting()

    def lost(self, subchannel: Subchannel) -> None:
        """See `subchannel.SubchannelOwner`."""
        if self._closed or subchannel not in self._subchannels:
            return
        if not self._target.addresses:
            self._resolve()
        # With one server the next call dials: a server that closes idle connections would be dialled for ever.
        if len(self._subchannels) > 1 or self._waiting:
            subchannel.connect()

    def not_taken(self, call: Http2Call, reason: str) -> None:
        """See `subchannel.SubchannelOwner`."""
        if call.tries < MAX_TRIES and call.again():
            self._start(call)
        else:
            call.finish(grpc.StatusCode.UNAVAILABLE, reason)

    def _start(self, call: Http2Call) -> None:
        connection = self._pick()
        if connection is not None:
            self._open(connection, call)
            return
        if self._closed:
            call.cancel()
        elif (failure := self._why_not()) is not None:
            call.finish(grpc.StatusCode.UNAVAILABLE, failure)
        elif len(self._waiting) >= self._options.max_waiting:
            call.finish(grpc.StatusCode.UNAVAILABLE, f"{len(self._waiting)} calls wait for a connection already")
        else:
            self._waiting[call] = None
            self._connect()

    def _open(self, connection: Connection, call: Http2Call) -> None:
        call.tries += 1
        try:
            connection.open(call)
        except ValueError as error:
            call.finish(grpc.StatusCode.INTERNAL, str(error))

    def _pick(self) -> Connection | None:
        subchannels = self._subchannels
        for _ in subchannels:
            self._turn = turn = (self._turn + 1) % len(subchannels)
            connection = subchannels[turn].connection
            if connection is not None:
                if self._tls is not None and self._tls() is not connection.context:
                    subchannels[turn].renew()
                if connection.takes_calls:
                    return connection
        return None

    def _withdraw(self, call: Http2Call) -> None:
        self._waiting.pop(call, None)

    def _connect(self) -> None:
        if not self._subchannels:
            self._resolve()
        for subchannel in self._subchannels:
            subchannel.connect()

    def _why_not(self) -> str | None:
        """Return why no call can begin; None where one may be able to soon."""
        if not self._subchannels:
            return self._failure
        for subchannel in self._subchannels:
            if subchannel.failure is None:
                return None
        return self._subchannels[-1].failure

    def _fail_waiting(self) -> None:
        failure = self._why_not()
        if failure is not None:
            for call in list(self._waiting):
                call.finish(grpc.StatusCode.UNAVAILABLE, failure)

    def _resolve(self) -> None:
        if self._resolver is None and not self._closed:
            self._resolver = self._loop.create_task(self._look_up())

    async def _look_up(self) -> None:
        for pause in self._options.backoff.pauses():
            await asyncio.sleep(self._resolved_at + RESOLVE_SECONDS - self._loop.time())
            self._resolved_at = self._loop.time()
            try:
                addresses = await self._target.resolve()
            except (OSError, UnicodeError) as error:
                if self._subchannels:
                    break  # the addresses of before may be right
                self._failure = (
                    f"dns resolution failed for {self._target.host}: {getattr(error, 'strerror', None) or error}"
                )
                self._fail_waiting()
                await asyncio.sleep(pause)
                continue
            self._failure = None
            self._set(addresses)
            break
        self._resolver = None
        if self._waiting:
            self._connect()

    def _set(self, addresses: Sequence[Address]) -> None:
        """Have a subchannel for each address, or one for all of them."""
        if not self._options.round_robin:
            if self._subchannels:
                self._subchannels[0].addresses = list(addresses)
            else:
                self._subchannels = [self._subchannel(addresses)]
            return
        had = {subchannel.addresses[0]: subchannel for subchannel in self._subchannels}
        kept = []
        for address in addresses:
            old = had.pop(address, None)
            kept.append(old if old is not None else self._subchannel([address]))
        self._subchannels = kept
        self._retired = [one for one in (*self._retired, *had.values()) if one.busy]
        for subchannel in had.values():
            subchannel.retire()

    def _subchannel(self, addresses: Sequence[Address]) -> Subchannel:
        return Subchannel(
            self,
            addresses,
            make=self._make,
            tls=self._tls,
            host=self._target.server_name,
            backoff=self._options.backoff,
        )

    def _make(self, subchannel: Subchannel, context: ssl.SSLContext | None) -> Connection:
        return Connection(
            subchannel,
            self._encoder,
            self._decoder,
            max_metadata_bytes=self._options.max_metadata_bytes,
            keepalive=self._options.keepalive,
            context=context,
        )
