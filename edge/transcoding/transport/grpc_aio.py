"""The channel by `grpc.aio`: any target, any service config; what the other implementation is measured against."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from typing import Any

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]  # the error has no public name

from edge.transcoding.transport.channel import Call, CallEndedError, Metadata, Method


class GrpcAioChannel:
    """Implements `channel.Channel` over a channel of `grpc.aio`, which stays its owner's."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    def method(self, path: str, *, client_streaming: bool, server_streaming: bool) -> Method:
        """See `channel.Channel`."""
        kind = f"{'stream' if client_streaming else 'unary'}_{'stream' if server_streaming else 'unary'}"
        # A registered method saves the look-up of its path in every call; generated stubs do the same.
        callable_: Callable[..., Any] = getattr(self._channel, kind)(path, _registered_method=True)
        if not client_streaming:
            # What grpc.aio returns has the interface's methods but for those that write.
            return callable_

        def start(request: bytes | None = None, *, timeout: float | None, metadata: Metadata) -> Call:
            assert request is None
            return _WritingCall(callable_(timeout=timeout, metadata=metadata))

        return start


class _WritingCall:
    """A call with a client stream, whose status is not lost when the backend ends the call early.

    `grpc.aio`'s own `write` replaces the status of a call by INTERNAL, "Internal error from Core", when a message
    cannot be sent any more because the backend has ended the call, even where its status has arrived. A caller who is
    refused would see a fault of the server.
    """

    def __init__(self, call: Any) -> None:
        self._call = call

    def __await__(self) -> Generator[Any, None, bytes]:
        reply: bytes = yield from self._call.__await__()
        return reply

    def __aiter__(self) -> AsyncIterator[bytes]:
        messages: AsyncIterator[bytes] = self._call.__aiter__()
        return messages

    def cancel(self) -> bool:
        return bool(self._call.cancel())

    async def initial_metadata(self) -> Metadata:
        metadata: Metadata = await self._call.initial_metadata()
        return metadata

    async def trailing_metadata(self) -> Metadata:
        metadata: Metadata = await self._call.trailing_metadata()
        return metadata

    async def write(self, message: bytes) -> None:
        call = self._call
        try:
            await call.wait_for_connection()
            # What the call's own `write` does, but for what follows an error.
            await call._cython_call.send_serialized_message(message)  # noqa: SLF001 - there is no public way
        except (cygrpc.InternalError, grpc.aio.AioRpcError):
            raise CallEndedError from None
        except asyncio.CancelledError:
            if not call.cancelled():
                call.cancel()
            raise

    async def done_writing(self) -> None:
        try:
            await self._call.done_writing()
        except (cygrpc.InternalError, grpc.aio.AioRpcError):
            raise CallEndedError from None
