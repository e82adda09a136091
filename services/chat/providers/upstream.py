"""Sending requests to a provider with the least that its official SDK can do: bytes out, bytes in.

The SDK says where to send and with which headers; the transport is aiohttp, the faster one of the two that it offers,
without the layers in between. JSON is encoded and decoded by the adapters, once, and statuses become errors here.
"""

import asyncio
import contextlib
import datetime as dt
import io
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from types import MappingProxyType
from typing import Any

import aiohttp
import httpx2
import orjson

from services.chat.media.payload import Form, Incoming, Payload
from services.chat.providers import errors
from services.chat.providers.sdk_requests import EVENTS, JSON, SdkClient, SdkRequests
from shared.errors import GaiaError

MAX_REPLY_BYTES = 64 * 1024 * 1024
"""Largest whole reply: several times the longest text with every token's probabilities."""
MAX_REFUSAL_BYTES = 256 * 1024
"""As much of an error's body is read; its message is a few lines."""
LARGE_BYTES = 512 * 1024
"""A longer request goes out as a file does, in pieces, so that it does not hold up everybody else."""
DRAIN_SECONDS = 0.1
"""How long the end of a response may be behind the end of its reply."""
KEEP_ALIVE_SECONDS = 4.0
"""An idle connection is used again for so long only: common servers close theirs after five seconds, and a request
that meets the closing is lost, since nobody knows whether it was taken."""
PROBE_SECONDS = 5.0
"""How long a provider may take to answer a probe."""
ANYTHING = "*/*"
KEY_REFUSED = ("401", "402", "403")
FAILURES = (aiohttp.ClientError, OSError)

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Upstream:
    """A provider behind its SDK's client. The pool holds `connections` at most.

    `connect_seconds` bounds waiting for a connection, `silence_seconds` waiting for the first byte, and between two;
    bounding the whole is the caller's. `setting` names where the provider's key comes from, for the operator.
    """

    def __init__(
        self,
        provider: str,
        client: SdkClient,
        *,
        tls: ssl.SSLContext,
        connect_seconds: float,
        silence_seconds: float,
        connections: int,
        setting: str,
        now: Callable[[], dt.datetime],
    ) -> None:
        self.provider = provider
        self.setting = setting
        self._client = client
        self._requests = SdkRequests(client)
        self._tls = tls
        self._timeout = aiohttp.ClientTimeout(
            total=None, connect=connect_seconds, sock_connect=connect_seconds, sock_read=silence_seconds
        )
        self._connections = connections
        self._now = now
        self._session: aiohttp.ClientSession | None = None

    async def fetch(
        self,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str] = NO_HEADERS,
        *,
        method: str = "POST",
        query: str = "",
    ) -> bytes:
        """Returns the body of the response to a request of JSON, or of none. Raises the errors of `providers.errors`.

        `query` is encoded already.
        """
        response = await self._send(path, body, JSON, headers, method, query)
        try:
            reply = await _read(response.content, MAX_REPLY_BYTES)
        except FAILURES as failure:
            raise self._broken(failure) from failure
        finally:
            response.close()
        if reply is None:
            raise errors.nonsense(self.provider, f"a reply of more than {MAX_REPLY_BYTES >> 20} MiB")
        return reply

    async def stream(
        self,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str] = NO_HEADERS,
        *,
        method: str = "POST",
        query: str = "",
    ) -> AsyncGenerator[bytes]:
        """Yields the body of the response to a request of JSON, or of none, as it arrives; see `fetch`.

        The request ends when the generator is closed or its task is cancelled.
        """
        response = await self._send(path, body, EVENTS, headers, method, query)
        try:
            while chunk := await response.content.readany():
                yield chunk
        except FAILURES as failure:
            raise self._broken(failure) from failure
        finally:
            # Where the body came to its end the connection is back in the pool already; else it is closed here.
            response.close()

    @contextlib.asynccontextmanager
    async def exchange(self, path: str, payload: Payload) -> AsyncGenerator[Incoming]:
        """Yields the response to a POST of JSON or a form, whatever it is made of, while the block runs."""
        if isinstance(payload, bytes):
            response = await self._send(path, payload, JSON, {"accept": ANYTHING})
        else:
            form = _multipart(payload)
            more = {"accept": ANYTHING, "content-type": form.content_type}
            response = await self._send(path, form, JSON, more)
        try:
            yield Incoming(response.content_type, self._chunks(response))
        finally:
            response.close()

    async def _chunks(self, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes]:
        try:
            while chunk := await response.content.readany():
                yield chunk
        except FAILURES as failure:
            raise self._broken(failure) from failure

    async def probe(self, path: str) -> None:
        """Returns when a GET is answered, by any status that says that the provider works and took the key."""
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                response = await self._send(path, None, JSON, NO_HEADERS, "GET")
                response.close()
        except TimeoutError as late:
            raise errors.timed_out(self.provider) from late
        except GaiaError as failure:
            # An endpoint that has no list of models, or too many questions, answers all the same.
            status = failure.metadata.get("provider_status", "500")
            if status in KEY_REFUSED or status.startswith("5"):
                raise

    async def close(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()
        await self._client.close()

    async def _send(
        self,
        path: str,
        body: bytes | aiohttp.MultipartWriter | None,
        accept: str,
        more: Mapping[str, str],
        method: str = "POST",
        query: str = "",
    ) -> aiohttp.ClientResponse:
        session = self._session or self._open()
        try:
            response = await session.request(
                method,
                self._requests.url(path, query),
                data=io.BytesIO(body) if isinstance(body, bytes) and len(body) > LARGE_BYTES else body,
                headers=self._requests.headers(accept, more),
                allow_redirects=False,
            )
            if 200 <= response.status < 300:
                return response
            try:
                refusal = await _read(response.content, MAX_REFUSAL_BYTES)
            finally:
                response.close()
        except FAILURES as failure:
            raise self._unanswered(failure) from failure
        raise self._refused(response, refusal or b"")

    def _open(self) -> aiohttp.ClientSession:
        """Makes the session, which wants a running loop."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self._connections, keepalive_timeout=KEEP_ALIVE_SECONDS, ssl=self._tls
            ),
            # What one user's request brings back is not sent with another's.
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._timeout,
            proxy=self._requests.proxy,
        )
        return self._session

    def _broken(self, failure: BaseException) -> GaiaError:
        return errors.timed_out(self.provider) if isinstance(failure, TimeoutError) else errors.cut(self.provider)

    def _unanswered(self, failure: BaseException) -> GaiaError:
        is_proxys = isinstance(failure, aiohttp.ClientHttpProxyError)
        if isinstance(failure, aiohttp.ClientResponseError) and not is_proxys:
            return errors.nonsense(self.provider, "something that is no HTTP")
        late = isinstance(failure, TimeoutError)
        return errors.timed_out(self.provider) if late else errors.unreachable(self.provider)

    def _refused(self, response: aiohttp.ClientResponse, body: bytes) -> GaiaError:
        retry_after = errors.read_retry_after(response.headers, self._now())
        told = _fault(body)
        message = told.get("message")
        return errors.from_status(
            self.provider,
            response.status,
            message if isinstance(message, str) and message else f"status {response.status}",
            code=told.get("code"),
            param=told.get("param"),
            details=told.get("details"),
            retry_after=retry_after,
            setting=self.setting,
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


def tls_context() -> ssl.SSLContext:
    """Makes the SDKs' own TLS context: their authorities, and those that the environment names."""
    return httpx2.create_ssl_context()


async def _read(content: aiohttp.StreamReader, limit: int) -> bytes | None:
    """Returns a whole body; None where it is larger than the limit."""
    body = await content.readany()
    if content.at_eof():
        return body
    parts, size = [body], len(body)
    while part := await content.readany():
        size += len(part)
        if size > limit:
            return None
        parts.append(part)
    return b"".join(parts)


def _multipart(form: Form) -> aiohttp.MultipartWriter:
    data = aiohttp.FormData(quote_fields=False)
    for name, value in form.fields:
        data.add_field(name, value)
    data.add_field("file", io.BytesIO(form.file), filename=form.filename, content_type=form.content_type)
    writer = data()
    assert isinstance(writer, aiohttp.MultipartWriter)
    return writer


def _fault(body: bytes) -> Mapping[str, Any]:
    """Returns the error in the body of a refusal: an object with a message, or nothing."""
    try:
        told = orjson.loads(body)
    except ValueError:
        return {}
    inner = told.get("error", told) if isinstance(told, dict) else None
    return inner if isinstance(inner, dict) else {"message": inner}
