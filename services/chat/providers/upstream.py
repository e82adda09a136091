"""Sending requests through a provider's official SDK in its leanest mode: bytes out, bytes in.

The SDK is there for its addresses, authentication, headers, connection pool and error classes; JSON is encoded and
decoded here, once.
"""

import asyncio
import datetime as dt
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import aiohttp
import httpx2

from services.chat.providers import errors
from shared.errors import GaiaError

MAX_REPLY_BYTES = 64 * 1024 * 1024
"""Largest whole reply: several times the longest text with every token's probabilities."""
DRAIN_SECONDS = 0.1
"""How long the end of a response may be behind the end of its reply."""
READ_FAILURES = (httpx2.HTTPError, httpx2.StreamError, aiohttp.ClientError, OSError)


class Upstream:
    """A provider behind its SDK's client, of which `post`, `close`, its stream and its error classes are used.

    `setting` names where the provider's key comes from, for the operator.
    """

    def __init__(
        self,
        provider: str,
        *,
        post: Callable[..., Awaitable[Any]],
        close: Callable[[], Awaitable[None]],
        status_error: type[Any],
        connection_error: type[Exception],
        stream_class: type[Any],
        setting: str,
        now: Callable[[], dt.datetime],
    ) -> None:
        self.provider = provider
        self.setting = setting
        self._post = post
        self._close = close
        self._status_error = status_error
        self._connection_error = connection_error
        self._stream_class = stream_class
        self._now = now

    async def fetch(self, path: str, body: bytes) -> bytes:
        """Returns the body of the response to a POST of JSON. Raises the errors of `providers.errors`."""
        parts: list[bytes] = []
        size = 0
        async with aclosing(self.stream(path, body, accept="application/json")) as chunks:
            async for chunk in chunks:
                size += len(chunk)
                if size > MAX_REPLY_BYTES:
                    raise errors.nonsense(self.provider, f"a reply of more than {MAX_REPLY_BYTES >> 20} MiB")
                parts.append(chunk)
        return b"".join(parts)

    async def stream(self, path: str, body: bytes, accept: str = "text/event-stream") -> AsyncGenerator[bytes]:
        """Yields the body of the response to a POST of JSON as it arrives.

        The request ends when the generator is closed or its task is cancelled.
        """
        response = await self._send(path, body, accept)
        try:
            async for chunk in response.aiter_bytes():
                if chunk:
                    yield chunk
        except READ_FAILURES as failure:
            raise errors.timed_out(self.provider) if _is_timeout(failure) else errors.cut(self.provider) from failure
        finally:
            await response.aclose()

    async def close(self) -> None:
        """Closes the connections."""
        await self._close()

    async def _send(self, path: str, body: bytes, accept: str) -> httpx2.Response:
        try:
            response: httpx2.Response = await self._post(
                path,
                cast_to=httpx2.Response,
                content=body,
                options={"headers": {"Content-Type": "application/json", "Accept": accept}},
                stream=True,
                stream_cls=self._stream_class,
            )
        except self._status_error as refusal:
            raise self._refused(refusal) from None
        except self._connection_error as failure:
            late = _is_timeout(failure)
            raise errors.timed_out(self.provider) if late else errors.unreachable(self.provider) from failure
        except READ_FAILURES as failure:
            # Reading the body of an error response failed.
            raise errors.unreachable(self.provider) from failure
        return response

    def _refused(self, refusal: Any) -> GaiaError:
        retry_after = errors.read_retry_after(refusal.response.headers, self._now())
        message = _message(refusal.body) or f"status {refusal.status_code}"
        return errors.from_status(
            self.provider, refusal.status_code, message, retry_after=retry_after, setting=self.setting
        )


async def drain(chunks: AsyncGenerator[bytes]) -> None:
    """Reads what follows a stream's end marker, so that its connection can be used again; gives up after a moment."""
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            async for _ in chunks:
                pass
    except (TimeoutError, GaiaError):
        # The reply is whole; only this connection is lost.
        return


def timeouts(connect: float, silence: float) -> httpx2.Timeout:
    """Returns the time limits of one request, in seconds; waiting for a free connection counts as connecting."""
    return httpx2.Timeout(connect=connect, read=silence, write=silence, pool=connect)


def limits(connections: int) -> httpx2.Limits:
    """Returns the bounds of a pool; a quarter of the connections may wait for the next request."""
    return httpx2.Limits(max_connections=connections, max_keepalive_connections=max(1, connections // 4))


def _is_timeout(failure: BaseException) -> bool:
    # The transport tells a lost connection as a timeout of connecting; what it came from tells the two apart.
    while failure.__cause__ is not None:
        failure = failure.__cause__
    return isinstance(failure, TimeoutError | httpx2.TimeoutException)


def _message(body: object) -> str:
    if isinstance(body, dict):
        inner = body.get("error", body)
        message = inner.get("message") if isinstance(inner, dict) else inner
        return message if isinstance(message, str) else ""
    return ""
