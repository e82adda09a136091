"""What the transcoder needs of a channel; `grpc_aio` and `http2` implement it, held together by one suite of tests.

Errors are those of `grpc.aio`, whichever the transport: a call that the backend or the transport ends early raises
`grpc.aio.AioRpcError`, one that was cancelled here `asyncio.CancelledError`.
"""

from collections.abc import AsyncIterator, Generator, Sequence
from typing import Any, Protocol

Metadata = Sequence[tuple[str, str | bytes]]
"""Names in lower case; values are `bytes` where the name ends with `-bin`, else `str`."""


class CallEndedError(Exception):
    """The call has ended before the message was sent; reading from it tells why."""


class Call(Protocol):
    """One call under way.

    The reply of a unary method is awaited; the messages of a server stream are iterated over, once. A stream that
    nobody reads slows the backend down.
    """

    def __await__(self) -> Generator[Any, None, bytes]:
        """Return the serialised reply of a method that does not stream replies."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the serialised messages of a server stream."""
        ...

    def cancel(self) -> bool:
        """Cancel the call, here and at the backend; returns False where it has ended."""
        ...

    async def initial_metadata(self) -> Metadata:
        """Return the backend's initial metadata when they are there; empty where the call ended without."""
        ...

    async def trailing_metadata(self) -> Metadata:
        """Return the backend's trailing metadata when the call has ended."""
        ...

    async def write(self, message: bytes) -> None:
        """Send a message of a client stream; returns when the backend can take it.

        Raises `CallEndedError` where the call ended before.
        """
        ...

    async def done_writing(self) -> None:
        """End a client stream."""
        ...


class Method(Protocol):
    """One method of a backend."""

    def __call__(self, request: bytes | None = None, *, timeout: float | None, metadata: Metadata) -> Call:
        """Start a call with its serialised request, None for a client stream; `timeout` is in seconds."""
        ...


class Channel(Protocol):
    """Way to one backend. Nothing is dialled before the first call."""

    def method(self, path: str, *, client_streaming: bool, server_streaming: bool) -> Method:
        """Return what calls the method of this path, `/package.Service/Method`."""
        ...
