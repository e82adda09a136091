"""Fetching what a provider only names: from public addresses, redirects included, and never from our own network.

The address that is checked is the address that is dialled, so a name that changes its mind in between gains nothing.
"""

import contextlib
import ipaddress
import socket
from collections.abc import Callable, Iterator

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from shared.errors import BadUpstream, Unavailable
from shared.public_addresses import Address, is_public

MAX_REDIRECTS = 3
CHUNK_BYTES = 256 * 1024
MAX_CONNECTIONS = 32


class NotPublic(OSError):
    """A name resolves to an address that is not public."""


class PublicFetcher:
    """Fetches by GET, with neither cookies, proxies nor credentials. To be made inside the event loop.

    `is_allowed` decides about addresses; `max_bytes` bounds a body.
    """

    def __init__(self, *, max_bytes: int, is_allowed: Callable[[Address], bool] = is_public) -> None:
        self._max_bytes = max_bytes
        self._is_allowed = is_allowed
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=_CheckedResolver(is_allowed), limit=MAX_CONNECTIONS),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
            # The caller bounds the whole; this only bounds a dead peer.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=30),
        )

    async def close(self) -> None:
        """Closes all connections."""
        await self._session.close()

    async def fetch(self, url: str) -> bytes:
        """Returns what is at a URL.

        Raises BadUpstream for an address that is not public, another status than 200 and a body that is too large,
        Unavailable when nobody answers. No message repeats the URL: it may be signed, and is then a secret.
        """
        target = _parse(url)
        for _ in range(MAX_REDIRECTS + 1):
            self._check(target)
            with _outages():
                async with self._session.get(target, allow_redirects=False) as response:
                    if response.status not in (301, 302, 303, 307, 308):
                        return await self._read(response)
                    target = target.join(_parse(response.headers.get("Location", "")))
        raise BadUpstream(f"the provider's image lies behind more than {MAX_REDIRECTS} redirects")

    def _check(self, target: URL) -> None:
        if target.scheme not in ("http", "https") or not target.host or target.user or target.password:
            raise _no_address()
        # The resolver is not asked about a host that is an address already.
        with contextlib.suppress(ValueError):
            if not self._is_allowed(ipaddress.ip_address(target.host)):
                raise _not_public()

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        if response.status != 200:
            raise BadUpstream(f"the provider's image cannot be had: status {response.status}")
        body = bytearray()
        async for chunk in response.content.iter_chunked(CHUNK_BYTES):
            body += chunk
            if len(body) > self._max_bytes:
                raise BadUpstream(f"the provider's image has more than {self._max_bytes} bytes")
        return bytes(body)


class _CheckedResolver(AbstractResolver):
    """Resolves names, and none of which an address is not allowed."""

    def __init__(self, is_allowed: Callable[[Address], bool]) -> None:
        self._is_allowed = is_allowed
        self._resolver = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._resolver.resolve(host, port, family)
        if not all(self._is_allowed(ipaddress.ip_address(one["host"].partition("%")[0])) for one in found):
            raise NotPublic("the name resolves to an address that is not public")
        return found

    async def close(self) -> None:
        await self._resolver.close()


def _parse(url: str) -> URL:
    """Reads a URL as the HTTP client does, so that both mean the same host; its escapes stay, they may be signed."""
    try:
        return URL(url, encoded=True)
    except ValueError as error:
        raise _no_address() from error


@contextlib.contextmanager
def _outages() -> Iterator[None]:
    """Turns what the library raises into Gaia's errors."""
    try:
        yield
    except aiohttp.InvalidURL as error:
        raise _no_address() from error
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, NotPublic):
            raise _not_public() from error
        raise _unreachable() from error
    except aiohttp.ClientError as error:
        raise _unreachable() from error


def _unreachable() -> Unavailable:
    return Unavailable("the provider's image cannot be reached; try again", reason="PROVIDER_UNAVAILABLE")


def _no_address() -> BadUpstream:
    return BadUpstream("the provider's image has an address that is not plain http or https")


def _not_public() -> BadUpstream:
    return BadUpstream("the provider's image has an address that is not public; it is not fetched")
