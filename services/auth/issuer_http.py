"""An issuer's public keys over HTTP (OpenID Connect Discovery 1.0, RFC 7517)."""

import logging
from collections.abc import Mapping
from typing import Any

import httpx
import jwt

from shared.errors import Unavailable

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS = 3.0
MAX_BYTES = 1 << 20
MAX_KEYS = 100


class DiscoveredKeys:
    """Finds the keys by the issuer's discovery document, whose `issuer` must be the one that was asked for.

    The operator names the issuer, so it is trusted with where its keys lie; redirects are not followed.
    """

    def __init__(self, issuer: str, client: httpx.AsyncClient) -> None:
        self._issuer = issuer
        self._client = client

    async def fetch(self) -> Mapping[str, jwt.PyJWK]:
        """Returns the keys by `kid`. Raises Unavailable when the issuer does not answer as it should."""
        try:
            document = await self._get(f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            if document.get("issuer") != self._issuer:
                raise ValueError("its discovery document is of another issuer")
            address = document.get("jwks_uri")
            if not isinstance(address, str) or not _is_safe(address, self._issuer):
                raise ValueError("its discovery document names no address for keys, or one that is not safe")
            listed = (await self._get(address)).get("keys")
            if not isinstance(listed, list):
                raise ValueError("its key set holds no keys")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            logger.warning(
                "the outside issuer's keys cannot be had", extra={"cause": f"{type(error).__name__}: {error}"}
            )
            raise Unavailable("the outside issuer does not answer; try again", reason="ISSUER_UNAVAILABLE") from error
        return _usable(listed)

    async def _get(self, address: str) -> dict[str, Any]:
        async with self._client.stream("GET", address, headers={"accept": "application/json"}) as response:
            if response.status_code != 200:
                raise ValueError(f"it answered {response.status_code}")
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > MAX_BYTES:
                    raise ValueError(f"it answered more than {MAX_BYTES} bytes")
        value = httpx.Response(200, content=bytes(body)).json()
        if not isinstance(value, dict):
            raise ValueError("it answered no JSON object")
        return value


def issuer_client() -> httpx.AsyncClient:
    """Returns a client for asking issuers."""
    return httpx.AsyncClient(timeout=TIMEOUT_SECONDS, follow_redirects=False, limits=httpx.Limits(max_connections=4))


def _is_safe(address: str, issuer: str) -> bool:
    """Whether keys may come from there: over TLS, or from the issuer's own host where that is without."""
    parsed, own = httpx.URL(address), httpx.URL(issuer)
    return parsed.scheme == "https" or (parsed.scheme == own.scheme and parsed.netloc == own.netloc)


def _usable(listed: list[Any]) -> Mapping[str, jwt.PyJWK]:
    """The keys that verify signatures; what PyJWT does not know, or is for encryption, is left out."""
    keys = {}
    for one in listed[:MAX_KEYS]:
        if not isinstance(one, dict) or one.get("use", "sig") != "sig" or one.get("kty") == "oct":
            continue
        try:
            keys[str(one.get("kid", ""))] = jwt.PyJWK(one)
        except jwt.PyJWTError as error:
            logger.info("a key of the outside issuer is left out", extra={"cause": str(error)})
    return keys
