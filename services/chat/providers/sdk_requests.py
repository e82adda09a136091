"""What a provider's official SDK would send, prepared once: addresses, and headers with its authentication."""

import base64
import urllib.request
from collections.abc import Mapping
from typing import Protocol, TypeVar

import httpx2
from yarl import URL

JSON = "application/json"
EVENTS = "text/event-stream"

V = TypeVar("V")


class SdkClient(Protocol):
    """The part of an SDK's asynchronous client that is public, and the same in all of one maker."""

    @property
    def base_url(self) -> httpx2.URL:
        """Where the API is."""
        ...

    @property
    def auth_headers(self) -> Mapping[str, str]:
        """What its key becomes; follows a key that is set anew."""
        ...

    @property
    def default_headers(self) -> Mapping[str, object]:
        """Everything it sends with each request; what is no text is to be left out."""
        ...

    async def close(self) -> None:
        """Closes its own connections."""
        ...


class SdkRequests:
    """Addresses and headers of a client's requests: POST of JSON."""

    def __init__(self, client: SdkClient) -> None:
        base = URL(str(client.base_url), encoded=True)
        plain = base.with_user(None)
        self._client = client
        self._login = _basic(base)
        self._prefix = str(plain.with_query(None)).rstrip("/")
        self._query = f"?{plain.raw_query_string}" if plain.raw_query_string else ""
        self._auth: Mapping[str, str] | None = None
        self._prepared: dict[str, Mapping[str, str]] = {}
        self.proxy = _proxy(plain)

    def url(self, path: str, query: str = "") -> URL:
        """Returns the address of a path below the base URL, whose query is kept; `query` comes encoded, after it."""
        if query:
            query = f"{self._query}&{query}" if self._query else f"?{query}"
        return URL(f"{self._prefix}{path}{query or self._query}", encoded=True)

    def headers(self, accept: str, more: Mapping[str, str]) -> Mapping[str, str]:
        """Returns the headers of a request that wants a media type; `more` wins over what the SDK says."""
        auth = self._client.auth_headers
        if auth != self._auth:
            self._auth = dict(auth)
            self._prepared = {wanted: self._prepare(wanted) for wanted in (JSON, EVENTS)}
        prepared = self._prepared[accept]
        return {**prepared, **_lower(more)} if more else prepared

    def _prepare(self, accept: str) -> Mapping[str, str]:
        told = {**_lower(self._client.default_headers), **_lower(self._client.auth_headers)}
        headers = {name: value for name, value in told.items() if isinstance(value, str)}
        if self._login:
            headers["authorization"] = self._login
        headers["content-type"] = JSON
        headers["accept"] = accept
        # Decoding costs more than a reply of a few kilobytes saves, and a stream is hardly ever coded.
        headers["accept-encoding"] = "identity"
        return headers


def _lower(headers: Mapping[str, V]) -> dict[str, V]:
    """Returns headers by names that can be compared."""
    return {name.lower(): value for name, value in headers.items()}


def _basic(base: URL) -> str:
    """Returns the login that a base URL holds; an endpoint behind a password has no use for the SDK's key."""
    if not base.user:
        return ""
    return "Basic " + base64.b64encode(f"{base.user}:{base.password or ''}".encode()).decode()


def _proxy(base: URL) -> str | None:
    """Returns the proxy that the environment names for an address, as it was when the process began."""
    if urllib.request.proxy_bypass(f"{base.host}:{base.port}"):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(base.scheme) or proxies.get("all")
