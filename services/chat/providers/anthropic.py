"""Anthropic's Claude."""

import datetime as dt
from collections.abc import AsyncGenerator, Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import aclosing

import anthropic

from services.chat.catalogue import ModelSpec
from services.chat.providers import errors
from services.chat.providers.anthropic_reply import EventDecoder, decode_count, decode_reply
from services.chat.providers.anthropic_request import encode_request
from services.chat.providers.sse import EventReader, EventTooLarge
from services.chat.providers.upstream import Upstream, drain, tls_context
from services.chat.turn import Delta, Dialect, Reply, Turn

PATH = "/v1/messages"
COUNT_PATH = "/v1/messages/count_tokens"
PROBE_PATH = "/v1/models"


class AnthropicProvider:
    """Implements `services.chat.providers.base.Provider`."""

    dialects: AbstractSet[Dialect] = frozenset({Dialect.MESSAGES})
    takes: AbstractSet[str] = frozenset(
        {
            "tools",
            "response_schema",
            "stop",
            "reasoning_effort",
            "thinking_tokens",
            "parallel_tool_calls",
            "end_user",
        }
    )

    def __init__(self, upstream: Upstream) -> None:
        self.id = upstream.provider
        self._upstream = upstream

    async def complete(self, turn: Turn, model: ModelSpec) -> Reply:
        """Returns the whole reply."""
        body = encode_request(turn, model.id, stream=False)
        reply = await self._upstream.fetch(PATH, body, headers=_headers(turn))
        return decode_reply(self.id, reply, is_kept=_is_kept(turn))

    async def count_tokens(self, turn: Turn, model: ModelSpec) -> int:
        """Returns how many tokens the turn has, as Anthropic counts them; see `services.chat.counting`."""
        body = encode_request(turn, model.id, stream=False)
        return decode_count(self.id, await self._upstream.fetch(COUNT_PATH, body, headers=_headers(turn)))

    async def stream(self, turn: Turn, model: ModelSpec) -> AsyncGenerator[Delta]:
        """Yields the reply as it arrives."""
        body = encode_request(turn, model.id, stream=True)
        reader = EventReader()
        decoder = EventDecoder(
            self.id, self._upstream.setting, keeps_records=turn.original is not None, is_kept=_is_kept(turn)
        )
        async with aclosing(self._upstream.stream(PATH, body, headers=_headers(turn))) as chunks:
            try:
                async for chunk in chunks:
                    if events := reader.feed(chunk):
                        for delta in decoder.decode(events):
                            yield delta
                    if decoder.failure is not None:
                        raise decoder.failure
                    if decoder.done:
                        await drain(chunks)
                        break
            except EventTooLarge as error:
                raise errors.nonsense(self.id, "an event of several megabytes") from error
        if (failure := errors.instead_of_events(self.id, reader.rest, self._upstream.setting)) is not None:
            raise failure
        for delta in decoder.decode(reader.end()):
            yield delta
        decoder.check_end()

    async def probe(self) -> None:
        """Asks for its models."""
        await self._upstream.probe(PROBE_PATH)

    async def close(self) -> None:
        """Closes its connections."""
        await self._upstream.close()


def _is_kept(turn: Turn) -> bool:
    """Whether Anthropic is to keep the conversation, so that its reply can be gone on from."""
    return turn.original is not None and turn.original.body.get("thread") is not None


def _headers(turn: Turn) -> Mapping[str, str]:
    return turn.original.headers if turn.original is not None else {}


def connect_anthropic(
    provider: str,
    *,
    api_key: str,
    base_url: str | None,
    setting: str,
    connect_seconds: float,
    silence_seconds: float,
    connections: int,
    now: Callable[[], dt.datetime],
) -> AnthropicProvider:
    """Makes the adapter; connects to nothing yet."""
    tls = tls_context()
    client = anthropic.AsyncAnthropic(
        api_key=api_key,
        base_url=base_url,
        max_retries=0,
        http_client=anthropic.DefaultAioHttpClient(verify=tls, follow_redirects=False),
        # The SDK's own tracing can record prompts and replies.
        open_telemetry=False,
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
    return AnthropicProvider(upstream)
