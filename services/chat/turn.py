"""One turn of a conversation, as Gaia sees it whatever the dialect in front and the provider behind."""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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


Part = Text | Image


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool that the model asks for; `arguments` is JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """A message. `tool_calls` belong to the assistant; `tool_call_id` names what a tool's message answers."""

    role: Role
    parts: tuple[Part, ...]
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""

    @property
    def text(self) -> str:
        """The text of all parts; an image is `[image]`."""
        return "".join(part.text if isinstance(part, Text) else "[image]" for part in self.parts)


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
class Turn:
    """What a model is asked. None means the provider's default.

    `openai_body` is the client's own request where the client speaks OpenAI's dialect: a provider of the same family
    gets all of its fields, known to Gaia or not.
    """

    messages: Sequence[Message]
    tools: Sequence[Tool] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_schema: JsonSchema | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: Sequence[str] = ()
    reasoning_effort: str | None = None
    end_user: str | None = None
    openai_body: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a reply used. Cached tokens are part of the input, reasoning tokens part of the output."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call: id and name come with the first one, `arguments` piece by piece."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(slots=True)
class Delta:
    """What arrived of a reply at one time: what was there together is told together.

    `openai_records` are the server-sent events of a provider of OpenAI's family, as they came, without its `[DONE]`;
    `other_choices` is text of choices beside the first one, by their number.
    """

    text: str = ""
    tool_calls: Sequence[ToolCallDelta] = ()
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    openai_records: bytes = b""
    other_choices: Sequence[tuple[int, str]] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply.

    `usage` is None where the provider reported none. `openai_body` is the response of a provider of OpenAI's family, as
    it came; `other_choices` is the text of choices beside the first one.
    """

    text: str
    tool_calls: Sequence[ToolCall] = ()
    finish_reason: FinishReason = FinishReason.STOP
    usage: Usage | None = None
    openai_body: bytes = b""
    other_choices: Sequence[str] = ()


@dataclass(slots=True)
class ReplyBuilder:
    """Puts a reply together from its deltas; at any time it holds what arrived so far."""

    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    _texts: list[str] = field(default_factory=list)
    _others: dict[int, list[str]] = field(default_factory=dict)
    _calls: dict[int, tuple[str, str, list[str]]] = field(default_factory=dict)

    def add(self, delta: Delta) -> None:
        """Takes a delta in."""
        if delta.text:
            self._texts.append(delta.text)
        for index, text in delta.other_choices:
            self._others.setdefault(index, []).append(text)
        for call in delta.tool_calls:
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

    def build(self) -> Reply:
        """Returns the reply as far as it arrived."""
        calls = [ToolCall(call_id, name, "".join(arguments)) for call_id, name, arguments in self._calls.values()]
        return Reply(
            text="".join(self._texts),
            tool_calls=calls,
            finish_reason=self.finish_reason or FinishReason.STOP,
            usage=self.usage,
            other_choices=["".join(self._others[index]) for index in sorted(self._others)],
        )
