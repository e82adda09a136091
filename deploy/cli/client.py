"""Calls to the edge's REST API, as any client makes them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from deploy.local.errors import StackError

TIMEOUT_SECONDS = 30.0
PAGE_SIZE = 500


class Edge:
    """A client of the edge. Every method raises StackError that says what the edge said."""

    def __init__(self, url: str, key: str | None, timeout: float = TIMEOUT_SECONDS) -> None:
        headers = {} if key is None else {"X-API-Key": key}
        self._url = url
        self._http = httpx.Client(base_url=url, headers=headers, timeout=timeout, follow_redirects=False)

    def call(self, method: str, path: str, *, params: dict[str, Any] | None = None, body: Any = None) -> Any:
        """Returns the reply's JSON, None for an empty one."""
        try:
            response = self._http.request(method, path, params=params, json=body)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error
        self._check(response, method, path)
        return response.json() if response.content else None

    def lines(
        self, path: str, body: Any = None, *, method: str = "POST", params: dict[str, Any] | None = None
    ) -> Iterator[str]:
        """Yields the lines of a streamed reply as they come."""
        try:
            with self._http.stream(method, path, params=params, json=body) as response:
                if response.is_error:
                    response.read()
                self._check(response, method, path)
                yield from response.iter_lines()
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    def pages(self, path: str, field: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        """Returns a whole list, page by page."""
        rows: list[dict[str, Any]] = []
        token = ""
        while True:
            page = self.call("GET", path, params={**params, "page_size": PAGE_SIZE, "page_token": token})
            rows += page.get(field, [])
            token = page.get("next_page_token", "")
            if not token:
                return rows

    def _unreachable(self, error: httpx.HTTPError) -> StackError:
        reason = str(error) or type(error).__name__
        return StackError(f"--url: cannot reach {self._url}: {reason}; does Gaia run there?")

    def _check(self, response: httpx.Response, method: str, path: str) -> None:
        if response.is_success:
            return
        try:
            said = response.json()["message"]
        except (ValueError, KeyError, TypeError):
            said = response.reason_phrase
        request = response.headers.get("X-Request-Id")
        raise StackError(
            f"{method} {path}: HTTP {response.status_code}: {said}{f' (request {request})' if request else ''}"
        )


def key_for(url: str, key: str | None, home: Path) -> str:
    """Returns the key to call with: the given one, else the developer's. Raises StackError when there is none.

    The developer's key is for the stack on this machine; it is not sent anywhere else.
    """
    if key:
        return key
    if httpx.URL(url).host not in ("127.0.0.1", "::1", "localhost"):
        raise StackError(f"GAIA_API_KEY: set it to a key of {url}, or give --key")
    try:
        return (home / "dev-api-key").read_text().strip()
    except OSError as error:
        raise StackError(
            f"GAIA_API_KEY: set it, give --key, or start Gaia with `gaia up`: there is no key in {home}/dev-api-key "
            f"({error.strerror})"
        ) from error
