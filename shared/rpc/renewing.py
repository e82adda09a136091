"""A channel whose certificates change: calls go to a new connection, calls in flight end on the old one."""

import asyncio
import weakref
from collections.abc import Callable
from typing import Any, Self

import grpc

from shared.rpc.tls import Certificates

OLD_CHANNEL_SECONDS = 600.0
"""How long calls may go on over connections made with the certificates of before; the longest streams end sooner."""


class _Method:
    """One method of the channel, called on whatever connection is the current one."""

    def __init__(self, owner: "RenewingChannel", make: Callable[[grpc.aio.Channel], Callable[..., Any]]) -> None:
        self._owner = owner
        self._make = make
        self._call = make(owner.current)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        self._owner.renew_if_due()
        return self._call(*arguments, **options)

    def rebind(self, channel: grpc.aio.Channel) -> None:
        self._call = self._make(channel)


class RenewingChannel(grpc.aio.Channel):
    """Implements grpc.aio.Channel over channels made by `make`, one for each generation of the certificates."""

    def __init__(self, certificates: Certificates, make: Callable[[grpc.ChannelCredentials], grpc.aio.Channel]) -> None:
        self._certificates = certificates
        self._make = make
        self._generation = certificates.refresh()
        self._methods: weakref.WeakSet[_Method] = weakref.WeakSet()
        self._closing: set[asyncio.Task[None]] = set()
        self.current = make(certificates.channel_credentials())

    def renew_if_due(self) -> None:
        """Makes a new channel if the certificates changed."""
        if self._certificates.refresh() == self._generation:
            return
        self._generation = self._certificates.generation
        old, self.current = self.current, self._make(self._certificates.channel_credentials())
        for method in self._methods:
            method.rebind(self.current)
        closing = asyncio.get_running_loop().create_task(old.close(OLD_CHANNEL_SECONDS))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def unary_unary(self, *arguments: Any, **options: Any) -> Any:
        """See grpc.aio.Channel."""
        return self._method("unary_unary", arguments, options)

    def unary_stream(self, *arguments: Any, **options: Any) -> Any:
        """See grpc.aio.Channel."""
        return self._method("unary_stream", arguments, options)

    def stream_unary(self, *arguments: Any, **options: Any) -> Any:
        """See grpc.aio.Channel."""
        return self._method("stream_unary", arguments, options)

    def stream_stream(self, *arguments: Any, **options: Any) -> Any:
        """See grpc.aio.Channel."""
        return self._method("stream_stream", arguments, options)

    async def close(self, grace: float | None = None) -> None:
        """Closes the current connection, and the old ones at once."""
        for task in self._closing:
            task.cancel()
        await self.current.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """See grpc.aio.Channel."""
        return self.current.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """See grpc.aio.Channel."""
        await self.current.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """See grpc.aio.Channel."""
        await self.current.channel_ready()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _method(self, kind: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> _Method:
        method = _Method(self, lambda channel: getattr(channel, kind)(*arguments, **options))
        self._methods.add(method)
        return method
