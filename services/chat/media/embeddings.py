"""Requests for embeddings."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

import orjson

from services.chat.catalogue import ModelSpec
from services.chat.dialects.json_body import read_object
from services.chat.media import checks
from services.chat.media.asked import JSON, AsItComes, read_json
from services.chat.media.kinds import Kind
from services.chat.pricing import PriceList
from services.chat.providers.checked import count
from services.chat.tokens import BYTES_PER_TOKEN
from services.chat.turn import Usage

MAX_INPUTS = 2048
"""As many texts as OpenAI takes in one request."""
MAX_TOKENS_BESIDE = 16
"""Tokens that a model may add to a text, for its beginning and its end."""


@dataclass(frozen=True)
class EmbeddingRequest(AsItComes):
    """Implements `services.chat.media.asked.Asked`."""

    body: Mapping[str, Any]
    kind = Kind.EMBEDDINGS
    is_stream = False

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.body["model"])

    @property
    def tokens(self) -> int:
        """A text's bytes say how many tokens it has; tokens are counted."""
        texts, tokens, _ = self._size
        return -(-texts // BYTES_PER_TOKEN) + tokens

    @property
    def least(self) -> Usage:
        """What the texts may have."""
        return Usage(self.tokens)

    def payload(self, model: ModelSpec) -> bytes:
        """Returns the request."""
        return orjson.dumps({**self.body, "model": model.id})

    def most(self, model: ModelSpec, prices: PriceList) -> Decimal:  # noqa: ARG002 - the protocol's
        """No tokenizer makes more of a text than it has bytes."""
        texts, tokens, inputs = self._size
        return prices.worst(texts + tokens + inputs * MAX_TOKENS_BESIDE, 0)

    def accepts(self, content_type: str) -> bool:
        """JSON."""
        return content_type == JSON

    def usage_of(self, content_type: str, body: bytes) -> Usage | None:  # noqa: ARG002 - the protocol's
        """Returns the tokens that were read."""
        read = read_json(body)
        if not isinstance(read["data"], list):
            raise TypeError("no list of vectors")
        usage = read.get("usage")
        return None if usage is None else Usage(count(usage["prompt_tokens"]))

    def is_last(self, event: Any) -> bool:  # noqa: ARG002 - the protocol's
        """There are no events."""
        return False

    @cached_property
    def _size(self) -> tuple[int, int, int]:
        """Bytes of texts, tokens that were given as such, and how many inputs there are."""
        given = self.body["input"]
        inputs = [given] if isinstance(given, str) or isinstance(given[0], int) else given
        texts = sum(len(one.encode()) for one in inputs if isinstance(one, str))
        return texts, sum(len(one) for one in inputs if not isinstance(one, str)), len(inputs)


def parse(data: bytes) -> EmbeddingRequest:
    """Checks a request. Raises InvalidArgument that names all that is wrong."""
    body = read_object(data)
    checks.check(body, _CHECKS, ("model", "input"))
    return EmbeddingRequest(body)


def _input(value: Any) -> str:
    wanted = f"a text, a list of 1 to {MAX_INPUTS} texts, a list of tokens, or a list of lists of tokens; none empty"
    if isinstance(value, str):
        return "" if value else wanted
    if not isinstance(value, list) or not value:
        return wanted
    if _is_tokens(value):
        return ""
    right = all(isinstance(one, str) and one for one in value) or all(
        isinstance(one, list) and one and _is_tokens(one) for one in value
    )
    return "" if right and len(value) <= MAX_INPUTS else wanted


def _is_tokens(value: list[Any]) -> bool:
    return all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in value)


_CHECKS: Mapping[str, checks.Check] = {
    "model": checks.model,
    "input": _input,
    "dimensions": checks.integer(1, 65_536),
    "encoding_format": checks.one_of("float", "base64"),
    "user": checks.text(10_000, least=0),
}
