"""Asking an endpoint of OpenAI's dialect which models it has."""

import logging
import re
import ssl
from collections.abc import Sequence

import aiohttp
import orjson

from services.chat.providers import errors

logger = logging.getLogger(__name__)

TOTAL_SECONDS = 10.0
"""Longest time of one question, however slowly its answer comes."""
MAX_BYTES = 4 * 1024 * 1024
MAX_MODELS = 1000
"""More are left out, and the log says so: OpenRouter, which sells everybody's, has some hundreds."""
_NAME = re.compile(r"[!-~]{1,200}")
_SUCCESS = 200


async def fetch_model_names(provider: str, base_url: str, api_key: str, tls: ssl.SSLContext) -> Sequence[str]:
    """Returns the names of an endpoint's models. Raises the errors of `providers.errors`."""
    headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {api_key}"} if api_key else {})
    try:
        async with (
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=TOTAL_SECONDS),
                connector=aiohttp.TCPConnector(ssl=tls, force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=True,
            ) as session,
            session.get(f"{base_url.rstrip('/')}/models", headers=headers, allow_redirects=False) as response,
        ):
            if response.status != _SUCCESS:
                raise errors.from_status(
                    provider, response.status, f"status {response.status} to the question for its models"
                )
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > MAX_BYTES:
                    raise errors.nonsense(provider, f"a list of models of more than {MAX_BYTES >> 20} MiB")
    except TimeoutError as late:
        raise errors.timed_out(provider) from late
    except (aiohttp.ClientError, OSError, ValueError) as failure:
        raise errors.unreachable(provider) from failure
    return read_model_names(provider, bytes(body))


def read_model_names(provider: str, body: bytes) -> Sequence[str]:
    """Reads `{"data": [{"id": …}]}`; names that are none are left out. Raises BadUpstream for anything else."""
    try:
        listed = orjson.loads(body)["data"]
        names = [entry["id"] for entry in listed if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    except (ValueError, LookupError, TypeError) as error:
        raise errors.nonsense(provider, "a list of models that is none") from error
    good = list(dict.fromkeys(name for name in names if _NAME.fullmatch(name)))
    if left_out := len(listed) - len(good[:MAX_MODELS]):
        logger.warning(
            "not all models that a provider told are offered; settings may name those that matter",
            extra={"provider": provider, "left_out": left_out, "most": MAX_MODELS},
        )
    return good[:MAX_MODELS]
