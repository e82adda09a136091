"""One turn of a conversation, as Gaia sees it whatever the dialect in front and the provider behind."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any


class Role(enum.StrEnum):
    """Who says a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class FinishReason(enum.StrEnum):
    """Why a reply ended. The values are OpenAI's, which the native dialect uses too."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


class Dialect(enum.StrEnum):
    """The API dialects that clients and providers speak."""

    CHAT_COMPLETIONS = "openai.chat"
    RESPONSES = "openai.responses"
    MESSAGES = "anthropic.messages"


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of text."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image by `url`, or as base64 `data` of a `media_type`. Gaia never fetches the URL; the provider does."""

    url: str = ""
    media_type: str = ""
    data: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Document:
    """A document by `url`, or as base64 `data` of a `media_type`. Gaia never fetches the URL; the provider does."""

    url: str = ""
    media_type: str = ""
    data: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Thinking:
    """What a model thought before it answered; its provider wants it back with a tool's result.

    `signature` proves where the text comes from; `redacted` is thinking that only the provider can read. In a whole
    reply, `at` is how many characters of its text were said before.
    """

    text: str = ""
    signature: str = ""
    redacted: str = ""
    at: int = 0


Part = Text | Image | Document | Thinking

_SHOWN = {Image: "[image]", Document: "[document]", Thinking: ""}


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool that the model asks for; `arguments` is JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """A message. `tool_calls` belong to the assistant.

    `tool_call_id` names what a tool's message answers; `is_error` says that the tool failed. `tokens` is what a
    provider counted for it, None where none did.
    """

    role: Role
    parts: tuple[Part, ...]
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    is_error: bool = False
    tokens: int | None = None

    @property
    def text(self) -> str:
        """The text of all parts; an image is `[image]`, a document `[document]`, thinking nothing."""
        return "".join(part.text if isinstance(part, Text) else _SHOWN[type(part)] for part in self.parts)


def say(role: Role, text: str) -> Message:
    """Makes a message of one text."""
    return Message(role, (Text(text),))


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that the model may call; `parameters` is a JSON schema, None for no parameters."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None
    strict: bool | None = None


class ToolMode(enum.StrEnum):
    """Whether the model may, must or must not call tools."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    NAMED = "named"


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """How the model may use the tools; `name` goes with NAMED."""

    mode: ToolMode
    name: str = ""


@dataclass(frozen=True, slots=True)
class JsonSchema:
    """The form that a reply must have."""

    name: str
    schema: Mapping[str, Any]
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class Original:
    """A client's own request, for a provider that speaks its dialect: all of its fields, known to Gaia or not.

    `headers` are those of the dialect that say how the body is to be read, by their lower-case names. With
    `in_background` the provider is to go on with it when it has answered it.
    """

    dialect: Dialect
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    in_background: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """What a model is asked. None means the provider's default.

    With an `original`, the provider gets that and nothing else is set. `thinking_tokens` is how many tokens the model
    may think for, 0 for not at all; `reasoning_effort` says the same in words.
    """

    messages: Sequence[Message]
    tools: Sequence[Tool] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_schema: JsonSchema | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: Sequence[str] = ()
    reasoning_effort: str | None = None
    thinking_tokens: int | None = None
    end_user: str | None = None
    original: Original | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a reply used.

    Tokens read from a provider's cache, written to it (`…_1h_…`: those of them to be kept for an hour) and those of
    sound and images are part of the input; reasoning tokens and those of sound and images are part of the output.
    Characters to be spoken, milliseconds of sound that was listened to, and calls of tools that the provider ran are no
    tokens. Of `unpriced_calls` nobody publishes a price.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0
    input_image_tokens: int = 0
    output_image_tokens: int = 0
    characters: int = 0
    audio_ms: int = 0
    web_searches: int = 0
    file_searches: int = 0
    unpriced_calls: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens

    def stated(self) -> dict[str, int]:
        """Returns the counts that are not zero, by their names."""
        return {name: count for name in _COUNTS if (count := getattr(self, name))}

    def __add__(self, other: "Usage") -> "Usage":
        """Returns both together."""
        return Usage(*(getattr(self, name) + getattr(other, name) for name in _COUNTS))


_COUNTS = tuple(one.name for one in fields(Usage))


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call: id and name come with the first one, `arguments` piece by piece."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


Served = tuple[tuple[str, str], ...]
"""Names and values of what a reply says of how it was served."""


@dataclass(slots=True)
class Delta:
    """What arrived of a reply at one time: what was there together is told together.

    `records` are the server-sent events of the turn's original dialect, as they came, and `last_record` those that tell
    the client that the reply is whole: they wait until it is stored. `other_choices` is text of choices beside the
    first one, by their number; `signature` and `redacted` end a piece of thinking (see Thinking). `is_refusal`,
    `kept_ids` and `served` are as in a Reply. One that `is_idle` says no more than that the provider is there.
    """

    text: str = ""
    tool_calls: Sequence[ToolCallDelta] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    thinking: str = ""
    signature: str = ""
    redacted: str = ""
    records: bytes = b""
    last_record: bytes = b""
    other_choices: Sequence[tuple[int, str]] = ()
    is_refusal: bool = False
    kept_ids: Sequence[str] = ()
    served: Served = ()
    is_idle: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply.

    `usage` is None where the provider reported none. `body` is the response to a turn's original, as it came;
    `other_choices` is the text of choices beside the first one. `is_refusal`: the model says in the text that it will
    not answer, which is not of the form that was asked for. `kept_ids` name what the provider keeps of it, for
    requests to come (see `services.chat.kept_ids`). `served` is how the provider says that it served the call, as far
    as that changes its price (see `services.chat.tiers`).
    """

    text: str
    tool_calls: Sequence[ToolCall] = ()
    finish_reason: FinishReason = FinishReason.STOP
    usage: Usage | None = None
    thinking: Sequence[Thinking] = ()
    body: bytes = b""
    other_choices: Sequence[str] = ()
    is_refusal: bool = False
    kept_ids: Sequence[str] = ()
    served: Served = ()


@dataclass(frozen=True, slots=True)
class UnfinishedReply(Reply):
    """The answer of a provider that goes on in the background: nothing but its `body`, which says under which id.

    `endpoint` is the number of the provider's endpoint that said so.
    """

    response_id: str = ""
    endpoint: int = 1


PIECE_BYTES = 64
"""What keeping a piece of a reply takes beside its characters."""


@dataclass(slots=True)
class ReplyBuilder:
    """Puts a reply together from its deltas; at any time it holds what arrived so far.

    `size` is about how many bytes that takes; bounding it is up to whoever adds.
    """

    size: int = 0
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    last_record: bytes = b""
    is_refusal: bool = False
    kept_ids: list[str] = field(default_factory=list)
    served: Served = ()
    _texts: list[str] = field(default_factory=list)
    _thoughts: list[str] = field(default_factory=list)
    _thinking: list[Thinking] = field(default_factory=list)
    _others: dict[int, list[str]] = field(default_factory=dict)
    _calls: dict[int, tuple[str, str, list[str]]] = field(default_factory=dict)

    def add(self, delta: Delta) -> None:
        """Takes a delta in."""
        self.size += len(delta.text) + len(delta.thinking) + PIECE_BYTES
        if delta.text:
            self._texts.append(delta.text)
        if delta.thinking:
            self._thoughts.append(delta.thinking)
        if delta.signature:
            self._thinking.append(Thinking("".join(self._thoughts), delta.signature))
            self._thoughts = []
        if delta.redacted:
            self._thinking.append(Thinking(redacted=delta.redacted))
        if delta.last_record:
            self.last_record += delta.last_record
        if delta.is_refusal:
            self.is_refusal = True
        if delta.kept_ids:
            self.kept_ids += delta.kept_ids
        if delta.served:
            self.served = delta.served
        for index, text in delta.other_choices:
            self.size += len(text) + PIECE_BYTES
            self._others.setdefault(index, []).append(text)
        for call in delta.tool_calls:
            self.size += len(call.arguments) + PIECE_BYTES
            known = self._calls.get(call.index)
            if known is None:
                self._calls[call.index] = (call.id, call.name, [call.arguments])
            else:
                known[2].append(call.arguments)
        if delta.finish_reason is not None:
            self.finish_reason = delta.finish_reason
        if delta.usage is not None:
            self.usage = delta.usage

    @property
    def has_content(self) -> bool:
        """Whether anything of the reply arrived."""
        return bool(self._texts or self._calls or self._others)

    @property
    def is_told(self) -> bool:
        """Whether the provider said that the reply is whole, and what it took."""
        return self.usage is not None and self.finish_reason is not None

    def build(self) -> Reply:
        """Returns the reply as far as it arrived."""
        calls = [ToolCall(call_id, name, "".join(arguments)) for call_id, name, arguments in self._calls.values()]
        unsigned = [Thinking("".join(self._thoughts))] if self._thoughts else []
        return Reply(
            text="".join(self._texts),
            thinking=[*self._thinking, *unsigned],
            tool_calls=calls,
            finish_reason=self.finish_reason or FinishReason.STOP,
            usage=self.usage,
            other_choices=["".join(self._others[index]) for index in sorted(self._others)],
            is_refusal=self.is_refusal,
            kept_ids=self.kept_ids,
            served=self.served,
        )
