"""A bound on what a provider may answer, whatever its status and however it claims to be encoded."""

from collections.abc import AsyncIterator, Awaitable, Callable

import httpx2


class ReplyTooLarge(httpx2.ReadError):
    """A reply has more bytes than are taken; the SDK raises APIConnectionError from it."""


def limit_replies(max_bytes: int) -> Callable[[httpx2.Response], Awaitable[None]]:
    """Returns an event hook for an HTTP client that cuts replies longer than `max_bytes`.

    Compressed replies are refused: their size would be known only when they are in memory. The client has to ask for
    none (`Accept-Encoding: identity`).
    """

    async def hook(response: httpx2.Response) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise ReplyTooLarge("the reply is compressed, which was not asked for")
        stream = response.stream
        assert isinstance(stream, httpx2.AsyncByteStream)
        response.stream = _Limited(stream, max_bytes)

    return hook


class _Limited(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, max_bytes: int) -> None:
        self._stream = stream
        self._left = max_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._left -= len(chunk)
            if self._left < 0:
                raise ReplyTooLarge("the reply is longer than is taken")
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()
