"""OpenAI, and any endpoint that speaks its chat completions."""

import contextlib
import datetime as dt
from collections.abc import AsyncGenerator, Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from dataclasses import replace
from urllib.parse import quote, urlencode

import openai

from services.chat.catalogue import ModelSpec
from services.chat.media.kinds import Kind
from services.chat.media.payload import Incoming, Payload
from services.chat.providers import errors
from services.chat.providers import openai_responses_wire as responses
from services.chat.providers.base import Progress, Query
from services.chat.providers.openai_wire import ChunkDecoder, decode_reply, encode_request, wants_usage
from services.chat.providers.sse import EventReader, EventTooLarge
from services.chat.providers.upstream import Upstream, drain, tls_context
from services.chat.turn import Delta, Dialect, Reply, Turn
from services.chat.unseen import SEARCHING

PATH = "/chat/completions"
MAKING: Mapping[Kind, str] = {
    Kind.EMBEDDINGS: "/embeddings",
    Kind.IMAGES: "/images/generations",
    Kind.SPEECH: "/audio/speech",
    Kind.TRANSCRIPTIONS: "/audio/transcriptions",
}
PROBE_PATH = "/models"
NO_KEY = "none"
"""What is sent to an endpoint that wants no key: the SDK insists on one."""


class OpenAIProvider:
    """Implements `services.chat.providers.base.Provider`.

    `max_tokens_field` is `max_completion_tokens` at OpenAI, `max_tokens` at endpoints that know only the older name.
    `dialects` holds the responses where the endpoint has them; what is no client's own request goes as a completion.
    """

    takes: AbstractSet[str] = frozenset(
        {
            "tools",
            "response_schema",
            "schema_bounds",
            "image_detail",
            "temperature",
            "top_p",
            "stop",
            "reasoning_effort",
            "parallel_tool_calls",
            "end_user",
        }
    )

    kinds: AbstractSet[Kind] = frozenset(Kind)

    def __init__(self, upstream: Upstream, *, max_tokens_field: str, dialects: AbstractSet[Dialect]) -> None:
        self.id = upstream.provider
        self.dialects = dialects
        self._upstream = upstream
        self._max_tokens_field = max_tokens_field

    async def complete(self, turn: Turn, model: ModelSpec) -> Reply:
        """Returns the whole reply."""
        if turn.original is not None and turn.original.dialect is Dialect.RESPONSES:
            body = responses.encode_request(turn.original, model.id, stream=False)
            return responses.decode_reply(
                self.id, await self._upstream.fetch(responses.PATH, body), may_go_on=turn.original.in_background
            )
        body = encode_request(turn, model.id, stream=False, max_tokens_field=self._max_tokens_field)
        reply = decode_reply(self.id, await self._upstream.fetch(PATH, body))
        if reply.usage is not None and self._searches(turn, model):
            reply = replace(reply, usage=replace(reply.usage, web_searches=1))
        return reply

    def stream(self, turn: Turn, model: ModelSpec) -> AsyncGenerator[Delta]:
        """Yields the reply as it arrives."""
        path, body, decoder = self._exchange(turn, model)
        return self._read(self._upstream.stream(path, body), decoder, searches=self._searches(turn, model))

    async def retrieve(self, response_id: str, query: Query = ()) -> Progress:
        """Returns a response as it is now."""
        path = f"{responses.PATH}/{quote(response_id, safe='')}"
        body = await self._upstream.fetch(path, None, method="GET", query=urlencode(query))
        return responses.decode_progress(self.id, body)

    async def cancel(self, response_id: str) -> Progress:
        """Ends a response that is being made in the background."""
        path = f"{responses.PATH}/{quote(response_id, safe='')}/cancel"
        return responses.decode_progress(self.id, await self._upstream.fetch(path, None))

    def follow(self, response_id: str, query: Query = ()) -> AsyncGenerator[Delta]:
        """Yields the events of a response, those to come too."""
        path = f"{responses.PATH}/{quote(response_id, safe='')}"
        told = urlencode([*query, ("stream", "true")])
        decoder = responses.ResponseDecoder(self.id, setting=self._upstream.setting)
        return self._read(self._upstream.stream(path, None, method="GET", query=told), decoder, searches=False)

    async def _read(
        self, stream: AsyncGenerator[bytes], decoder: ChunkDecoder | responses.ResponseDecoder, *, searches: bool
    ) -> AsyncGenerator[Delta]:
        """Yields what a stream brings."""
        reader = EventReader()
        async with aclosing(stream) as chunks:
            try:
                async for chunk in chunks:
                    if (events := reader.feed(chunk)) and (delta := decoder.decode(events)) is not None:
                        yield _with_search(delta) if searches else delta
                    if decoder.failure is not None:
                        raise decoder.failure
                    if decoder.done:
                        await drain(chunks)
                        break
            except EventTooLarge as error:
                raise errors.nonsense(self.id, "an event of several megabytes") from error
        if (failure := errors.instead_of_events(self.id, reader.rest, self._upstream.setting)) is not None:
            raise failure
        if (delta := decoder.decode(reader.end())) is not None:
            yield _with_search(delta) if searches else delta
        decoder.check_end()

    @contextlib.asynccontextmanager
    async def make(self, kind: Kind, payload: Payload) -> AsyncGenerator[Incoming]:
        """Yields the response to a request for something that is no conversation."""
        async with self._upstream.exchange(MAKING[kind], payload) as incoming:
            yield incoming

    async def probe(self) -> None:
        """Asks for its models."""
        await self._upstream.probe(PROBE_PATH)

    async def close(self) -> None:
        """Closes its connections."""
        await self._upstream.close()

    def _searches(self, turn: Turn, model: ModelSpec) -> bool:
        """Whether OpenAI searches the web for a completion, which it is paid for and no usage tells.

        Responses tell of each search.
        """
        if Dialect.RESPONSES not in self.dialects:
            return False
        original = turn.original
        if original is not None and original.dialect is Dialect.RESPONSES:
            return False
        wanted = original is not None and original.body.get("web_search_options") is not None
        return wanted or SEARCHING in model.id

    def _exchange(self, turn: Turn, model: ModelSpec) -> tuple[str, bytes, ChunkDecoder | responses.ResponseDecoder]:
        """Returns where a stream is asked for, with what, and what decodes it."""
        setting = self._upstream.setting
        if turn.original is not None and turn.original.dialect is Dialect.RESPONSES:
            body = responses.encode_request(turn.original, model.id, stream=True)
            return responses.PATH, body, responses.ResponseDecoder(self.id, setting=setting)
        body = encode_request(turn, model.id, stream=True, max_tokens_field=self._max_tokens_field)
        return PATH, body, ChunkDecoder(self.id, show_usage=wants_usage(turn), setting=setting)


def _with_search(delta: Delta) -> Delta:
    if delta.usage is not None:
        delta.usage = replace(delta.usage, web_searches=1)
    return delta


def connect_openai(
    provider: str,
    *,
    api_key: str,
    base_url: str | None,
    setting: str,
    connect_seconds: float,
    silence_seconds: float,
    connections: int,
    now: Callable[[], dt.datetime],
    is_openai: bool,
) -> OpenAIProvider:
    """Makes the adapter of OpenAI (`is_openai`) or of another endpoint of its dialect; connects to nothing yet."""
    tls = tls_context()
    client = openai.AsyncOpenAI(
        api_key=api_key or NO_KEY,
        base_url=base_url,
        max_retries=0,
        http_client=openai.DefaultAioHttpClient(verify=tls, follow_redirects=False),
        # The account that the environment names is one at OpenAI, and nobody else's business.
        default_headers=None if is_openai else {"OpenAI-Organization": openai.Omit(), "OpenAI-Project": openai.Omit()},  # type: ignore[dict-item] # the SDK takes Omit here, its annotation does not say so
    )
    upstream = Upstream(
        provider,
        client,
        tls=tls,
        connect_seconds=connect_seconds,
        silence_seconds=silence_seconds,
        connections=connections,
        setting=setting,
        now=now,
    )
    if is_openai:
        both = frozenset({Dialect.CHAT_COMPLETIONS, Dialect.RESPONSES})
        return OpenAIProvider(upstream, max_tokens_field="max_completion_tokens", dialects=both)
    return OpenAIProvider(upstream, max_tokens_field="max_tokens", dialects=frozenset({Dialect.CHAT_COMPLETIONS}))
