"""The built-in provider for development: it needs no key, is deterministic, and says what it is.

No language model is behind it. It repeats what it was told, so that a reader can see which conversation reached it. It
counts a token for each run of letters or digits and for each other character that is not white space.
"""

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import Any

import orjson

from services.chat.catalogue import ModelSpec, ProviderSpec
from services.chat.media import local_vectors
from services.chat.media.kinds import Kind
from services.chat.media.payload import Incoming, Payload
from services.chat.turn import Delta, Dialect, FinishReason, Message, Reply, Role, Turn, Usage
from shared.errors import InvalidArgument

ID = "local"
MODEL = "local-echo"
WINDOW = 32_768
FREE = Decimal(0)
EMBEDDER = "local-embedding"
MOST_EMBEDDED = 8_192
"""Most words of a text that a vector is made of."""

_TOKEN = re.compile(r"\w+|[^\w\s]")
_WORD = re.compile(r"\s*\S+\s*")


def local_spec() -> ProviderSpec:
    """Returns the provider as the catalogue lists it."""
    model = ModelSpec(
        id=MODEL,
        provider=ID,
        name="Local development echo",
        capabilities=("chat", "streaming"),
        max_tokens=WINDOW // 2,
        context_window=WINDOW,
        input_price=FREE,
        output_price=FREE,
        supports_temperature=False,
        description="Answers without a language model, for development and tests: repeats what it was told.",
    )
    embedder = ModelSpec(
        id=EMBEDDER,
        provider=ID,
        name="Local development embedding",
        capabilities=(Kind.EMBEDDINGS.value,),
        context_window=MOST_EMBEDDED,
        input_price=FREE,
        output_price=FREE,
        description="Vectors without a language model, for development and tests: they tell which words texts share.",
    )
    return ProviderSpec(
        id=ID, name="Gaia local development provider", models=(model,), default_model=MODEL, makers=(embedder,)
    )


class LocalProvider:
    """Implements `services.chat.providers.base.Provider`."""

    id = ID
    dialects: AbstractSet[Dialect] = frozenset()
    takes = frozenset({"stop"})
    kinds: AbstractSet[Kind] = frozenset({Kind.EMBEDDINGS})

    async def complete(self, turn: Turn, model: ModelSpec) -> Reply:  # noqa: ARG002 - the protocol's
        """Returns the whole reply."""
        text, reason = _answer(turn)
        return Reply(text, finish_reason=reason, usage=_usage(turn.messages, text))

    async def stream(self, turn: Turn, model: ModelSpec) -> AsyncGenerator[Delta]:  # noqa: ARG002 - the protocol's
        """Yields the reply word by word."""
        text, reason = _answer(turn)
        for word in _WORD.findall(text):
            # The others get their turn between two words, as they would while a real provider thinks.
            await asyncio.sleep(0)
            yield Delta(word)
        yield Delta(finish_reason=reason, usage=_usage(turn.messages, text))

    async def probe(self) -> None:
        """Is always there."""

    @contextlib.asynccontextmanager
    async def make(self, kind: Kind, payload: Payload) -> AsyncGenerator[Incoming]:  # noqa: ARG002 - the protocol's
        """Yields the response with the vectors."""
        assert isinstance(payload, bytes)
        yield Incoming("application/json", _embedded(orjson.loads(payload)))

    async def close(self) -> None:
        """Has nothing to close."""


def count_tokens(text: str) -> int:
    """Counts tokens by this provider's rule."""
    return len(_TOKEN.findall(text))


async def _embedded(body: dict[str, Any]) -> AsyncGenerator[bytes]:
    given = body["input"]
    inputs = [given] if isinstance(given, str) or isinstance(given[0], int) else given
    dimensions = body.get("dimensions") or local_vectors.DIMENSIONS
    if dimensions > local_vectors.MAX_DIMENSIONS:
        raise InvalidArgument.field("dimensions", f"must be at most {local_vectors.MAX_DIMENSIONS} for {EMBEDDER}")
    encode = local_vectors.in_base64 if body.get("encoding_format") == "base64" else list
    data, tokens = [], 0
    for number, one in enumerate(inputs):
        words = local_vectors.words_of(one) if isinstance(one, str) else list(map(str, one))
        if len(words) > MOST_EMBEDDED:
            raise InvalidArgument.field(
                "input", f"text {number + 1} has {len(words)} tokens; {EMBEDDER} takes at most {MOST_EMBEDDED}"
            )
        tokens += len(words)
        vector = local_vectors.vector_of(words, dimensions)
        data.append({"object": "embedding", "index": number, "embedding": encode(vector)})
        # The others get their turn between two texts.
        await asyncio.sleep(0)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    yield orjson.dumps({"object": "list", "data": data, "model": EMBEDDER, "usage": usage})


def _usage(messages: Sequence[Message], text: str) -> Usage:
    return Usage(sum(count_tokens(message.text) for message in messages), count_tokens(text))


def _answer(turn: Turn) -> tuple[str, FinishReason]:
    text = _compose(turn.messages)
    ends = [at for stop in turn.stop if stop and (at := text.find(stop)) >= 0]
    if ends:
        text = text[: min(ends)]
    if turn.max_tokens is not None:
        tokens = list(_TOKEN.finditer(text))
        if len(tokens) > turn.max_tokens:
            return text[: tokens[turn.max_tokens].start()].rstrip(), FinishReason.LENGTH
    return text, FinishReason.STOP


def _compose(messages: Sequence[Message]) -> str:
    said = [message.text.strip() for message in messages if message.role is Role.USER]
    system = [message.text.strip() for message in messages if message.role is Role.SYSTEM]
    results = [message.text.strip() for message in messages if message.role is Role.TOOL]
    lines = ["I am Gaia's local development provider; there is no language model behind me."]
    lines += [f"My instructions are: {text}" for text in system if text]
    if said:
        lines.append(f"You said: {said[-1]}")
    lines += [f"A tool answered: {text}" for text in results[-1:]]
    if len(said) > 1:
        lines.append(f"This is message {len(said)} of yours that I can see; the first was: {said[0]}")
    return "\n".join(lines)
