"""Requests for images."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import orjson

from services.chat.catalogue import ModelSpec
from services.chat.dialects.json_body import read_object
from services.chat.media import checks
from services.chat.media.asked import EVENTS, JSON, AsItComes, no_bound, read_json
from services.chat.media.kinds import Kind
from services.chat.pricing import PriceList
from services.chat.providers.checked import count
from services.chat.tokens import BYTES_PER_TOKEN, MOST_OVERHEAD
from services.chat.turn import Usage
from shared.errors import InvalidArgument
from shared.image_tokens import PARTIAL_TOKENS, most_image_tokens

LAST_EVENT = "image_generation.completed"
MOST_WORDS = 2_000
"""Tokens that a model may write beside an image, planning it: several times what is seen."""
_UNBOUNDED = ("complexity", "frame_count", "output_format")
"""Fields that make an image cost more, nobody says how much, unless they have one of the values of `_PLAIN`."""
_PLAIN = ("png", "webp", "jpeg")
_TOKENS = Usage(1, 1)
_INSTEAD = "gpt-image-2 for a png, webp or jpeg, with a size and a quality that you name, and without complexity"


@dataclass(frozen=True, slots=True)
class ImageRequest(AsItComes):
    """Implements `services.chat.media.asked.Asked`."""

    body: Mapping[str, Any]
    kind = Kind.IMAGES

    @property
    def model(self) -> str:
        """Name of the model, empty for the provider's first."""
        return str(self.body.get("model") or "")

    @property
    def is_stream(self) -> bool:
        """Whether images come as they take shape."""
        return self.body.get("stream") is True

    @property
    def tokens(self) -> int:
        """Those of the description."""
        return -(-len(self.body["prompt"].encode()) // BYTES_PER_TOKEN)

    @property
    def least(self) -> Usage | None:
        """The images, where it is published how many tokens they take; those are drawn, whoever waits for them."""
        tokens = most_image_tokens(self.model, self.body.get("quality") or "", self.body.get("size") or "")
        if tokens is None:
            return None
        drawn = tokens * (self.body.get("n") or 1)
        return Usage(self.tokens, drawn, output_image_tokens=drawn)

    def payload(self, model: ModelSpec) -> bytes:
        """Returns the request."""
        return orjson.dumps({**self.body, "model": model.id})

    def most(self, model: ModelSpec, prices: PriceList) -> Decimal:
        """How many tokens an image takes is published for some models, by size and quality."""
        body = self.body
        tokens = most_image_tokens(model.id, body.get("quality") or "", body.get("size") or "")
        unusual = [name for name in _UNBOUNDED if body.get(name) not in (None, *_PLAIN)]
        if tokens is None or unusual or not prices.knows(_TOKENS):
            raise no_bound(model, "an image", _INSTEAD)
        shown = (body.get("partial_images") or 0) * PARTIAL_TOKENS
        images = (body.get("n") or 1) * (tokens + shown + MOST_WORDS)
        return prices.worst(len(body["prompt"].encode()) + MOST_OVERHEAD, images)

    def accepts(self, content_type: str) -> bool:
        """JSON, or events where they were asked for: not every model has some."""
        return content_type == JSON or (self.is_stream and content_type == EVENTS)

    def usage_of(self, content_type: str, body: bytes) -> Usage | None:
        """Returns the tokens that were read and drawn."""
        read = read_json(body)
        if content_type == JSON and not isinstance(read["data"], list):
            raise TypeError("no list of images")
        usage = read.get("usage")
        if usage is None:
            return None
        heard, drawn = usage.get("input_tokens_details") or {}, usage.get("output_tokens_details")
        output = count(usage["output_tokens"])
        return Usage(
            count(usage["input_tokens"]),
            output,
            input_image_tokens=count(heard.get("image_tokens")),
            # Where nothing more is said, all that was made is the image.
            output_image_tokens=output if drawn is None else count(drawn.get("image_tokens")),
        )

    def is_last(self, event: Any) -> bool:
        """The finished image is the last one."""
        return bool(event.get("type") == LAST_EVENT)


def parse(data: bytes) -> ImageRequest:
    """Checks a request. Raises InvalidArgument that names all that is wrong."""
    body = read_object(data)
    checks.check(body, _CHECKS, ("prompt",))
    if body.get("svg") is not None:
        raise InvalidArgument.field("svg", "is not taken here: it has another model write, at a price of its own")
    return ImageRequest(body)


_CHECKS: Mapping[str, checks.Check] = {
    "model": checks.model,
    "prompt": checks.text(32_000),
    "n": checks.integer(1, 10),
    "size": checks.text(32),
    "quality": checks.text(32),
    "style": checks.text(32),
    "background": checks.text(32),
    "moderation": checks.text(32),
    "output_format": checks.text(32),
    "output_compression": checks.integer(0, 100),
    "response_format": checks.one_of("url", "b64_json"),
    "partial_images": checks.integer(0, 3),
    "stream": checks.switch,
    "user": checks.text(10_000, least=0),
}
