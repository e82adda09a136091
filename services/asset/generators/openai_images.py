"""Images by the OpenAI Images API, or by any endpoint that speaks it."""

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import openai
import pydantic

from services.asset.generators.generator import GeneratedImage, ImageOrder, Quote
from services.asset.generators.image_prices import charge_of, quote_image
from services.asset.generators.openai_errors import timed_out, translate
from services.asset.generators.reply_limit import limit_replies
from shared.errors import BadUpstream

PROVIDER = "openai"
DEFAULT_FORMAT = "png"
SIZE = "1024x1024"
"""The one size that every model makes, and that textures need: square, with sides of a power of two."""
MAX_REPLY_BYTES = 32 * 1024 * 1024
"""Longest reply: room for 24 MiB of image in base64, several times what a model makes of 1024x1024."""
MAX_IMAGE_BYTES = MAX_REPLY_BYTES * 3 // 4
MAX_REVISED_PROMPT = 8000
CONNECT_SECONDS = 5.0
# These models always answer base64 and refuse to be asked for it; older ones, and the servers that imitate them,
# have to be asked and know neither formats nor these qualities.
_GPT_IMAGE = ("gpt-image", "chatgpt-image")

Fetch = Callable[[str], Awaitable[bytes]]


class _Image(pydantic.BaseModel):
    b64_json: str | None = None
    url: str | None = None
    revised_prompt: str | None = None


class _Reply(pydantic.BaseModel):
    """What is read of a reply; whatever else it holds is left alone."""

    data: list[_Image] = pydantic.Field(min_length=1)
    usage: Any = None


_Count = Annotated[int, pydantic.Field(ge=0, le=10**9)]


class _TokenDetails(pydantic.BaseModel):
    text_tokens: _Count | None = None
    image_tokens: _Count | None = None


class _Usage(pydantic.BaseModel):
    input_tokens: _Count
    output_tokens: _Count
    total_tokens: _Count | None = None
    input_tokens_details: _TokenDetails | None = None
    output_tokens_details: _TokenDetails | None = None


class OpenAIImages:
    """Implements `ImageGenerator`. One attempt a call: a repeated one might be paid for twice.

    `fetch` gets the image where a reply only names one. Prices are OpenAI's own, also behind another base URL.
    """

    def __init__(self, client: openai.AsyncOpenAI, default_model: str, fetch: Fetch) -> None:
        self._client = client
        self._default_model = default_model
        self._fetch = fetch

    @property
    def provider(self) -> str:
        """Id of the provider."""
        return PROVIDER

    def quote(self, order: ImageOrder) -> Quote:
        """Returns what is known of an order."""
        return quote_image(PROVIDER, order.model or self._default_model, order.quality, order.prompt)

    async def generate(self, order: ImageOrder, seconds: float) -> GeneratedImage:
        """Makes an image."""
        model = order.model or self._default_model
        try:
            async with asyncio.timeout(seconds):
                reply = _parse(await self._call(order, model, seconds))
                image = reply.data[0]
                data = _decode(image.b64_json) if image.b64_json else await self._fetch_from(image.url)
        except TimeoutError as error:
            raise timed_out(PROVIDER) from error
        except openai.APIError as error:
            raise translate(error, PROVIDER, model) from error
        usage = _read_usage(reply.usage)
        metadata: dict[str, Any] = {"provider": PROVIDER, "model": model, "quality": order.quality, "size": SIZE}
        if image.revised_prompt:
            # Postgres holds no U+0000, and what is stored is bounded.
            metadata["revised_prompt"] = image.revised_prompt.replace("\0", "")[:MAX_REVISED_PROMPT]
        if usage:
            metadata["usage"] = usage
        return GeneratedImage(data, model, charge_of(PROVIDER, model, usage), metadata)

    async def _call(self, order: ImageOrder, model: str, seconds: float) -> bytes:
        if model.startswith(_GPT_IMAGE):
            options = {"quality": order.quality, "output_format": order.file_format or DEFAULT_FORMAT}
        else:
            options = {"response_format": "b64_json"}
        answer = await self._client.images.with_raw_response.generate(
            model=model,
            prompt=order.prompt,
            n=1,
            size=SIZE,
            extra_body=options,
            timeout=openai.Timeout(seconds, connect=CONNECT_SECONDS),
        )
        return answer.content

    async def _fetch_from(self, url: str | None) -> bytes:
        if not url:
            raise _no_answer()
        return await self._fetch(url)


def connect_openai(api_key: str, base_url: str) -> openai.AsyncOpenAI:
    """Returns a client without retries, whose replies are bounded and whose redirects are not followed."""
    http_client = openai.DefaultAsyncHttpxClient(
        follow_redirects=False,
        headers={"Accept-Encoding": "identity"},
        event_hooks={"response": [limit_replies(MAX_REPLY_BYTES)]},
    )
    return openai.AsyncOpenAI(api_key=api_key, base_url=base_url, max_retries=0, http_client=http_client)


def _parse(body: bytes) -> _Reply:
    try:
        return _Reply.model_validate_json(body)
    except pydantic.ValidationError as error:
        raise _no_answer() from error


def _read_usage(raw: object) -> dict[str, Any]:
    """Returns the counts of a reply's usage, nothing when they make no sense: the image is paid for either way."""
    try:
        return _Usage.model_validate(raw).model_dump(exclude_none=True)
    except pydantic.ValidationError:
        return {}


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise _no_answer() from error


def _no_answer() -> BadUpstream:
    return BadUpstream(f"{PROVIDER} answered something that is no image", metadata={"provider": PROVIDER})
