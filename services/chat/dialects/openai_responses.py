"""Requests of OpenAI's responses: checked at the door, and translated for providers of other families."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, ClassVar

from services.chat.dialects import openai_checks as checks
from services.chat.dialects import openai_responses_input as conversation
from services.chat.dialects.base import SAYS_NOTHING, Stamp, says_something
from services.chat.dialects.json_body import read_object
from services.chat.dialects.openai_responses_reasoning import is_gaias
from services.chat.dialects.openai_responses_reply import error_record, response
from services.chat.dialects.openai_responses_stream import ResponseWriter
from services.chat.dialects.openai_responses_tools import check_tools, translate_choice, translate_tools
from services.chat.records import Stored
from services.chat.turn import Dialect, JsonSchema, Message, Original, Reply, Role, Turn, say
from shared.errors import GaiaError, InvalidArgument, Violation

# Fields of which a translated request knows the meaning, or that are without one there: `max_tool_calls` counts those
# of tools that OpenAI runs, `include` asks for what such tools found, `stream_options` for padding.
_TRANSLATED = frozenset(
    {
        "include",
        "input",
        "instructions",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "model",
        "parallel_tool_calls",
        "reasoning",
        "safety_identifier",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "text",
        "tool_choice",
        "tools",
        "top_p",
        "user",
    }
)
# Preferences: without them the reply may differ in style, price or speed, not in what it is.
_PREFERENCES = frozenset(
    {
        "context_management",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "service_tier",
        "truncation",
    }
)
# Values that say no more than leaving the field out.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "background": (False,),
    "background_options": ({},),
    "context_management": ([],),
    "prompt_cache_options": ({},),
    "service_tier": ("auto", "default"),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
}
_KEPT_BY_OPENAI = frozenset({"previous_response_id", "conversation", "prompt"})
_CONTINUES = ("previous_response_id", "conversation")
_LOGPROBS = "message.output_text.logprobs"


@dataclass(frozen=True, slots=True)
class ResponseRequest:
    """Implements `services.chat.dialects.base.Asked`."""

    body: Mapping[str, Any]
    _numbers: Iterator[int] = field(default_factory=count, repr=False, compare=False)
    """Numbers of the events of the stream."""
    dialect = Dialect.RESPONSES
    field_names: ClassVar[Mapping[str, str]] = {
        "response_format": "text.format",
        "reasoning_effort": "reasoning.effort",
        "max_tokens": "max_output_tokens",
        "image_detail": "input_image.detail",
    }
    end_marker = b""

    @property
    def model(self) -> str:
        """Name of the model, as the client calls it."""
        name: str = self.body["model"]
        return name

    @property
    def stream(self) -> bool:
        """Whether the answer is a stream."""
        return self.body.get("stream") is True

    @property
    def keeps_content(self) -> bool:
        """Whether Gaia may keep what was said; the client may forbid it with `"store": false`."""
        return self.body.get("store") is not False

    @property
    def max_output_tokens(self) -> int | None:
        """The most tokens of the reply, as far as the client limits them."""
        return self.body.get("max_output_tokens")

    def same_dialect(self) -> Turn:
        """Returns the turn for OpenAI itself: the request as it is, without what only other families can read."""
        body = self.body
        items = conversation.items_of(body.get("input"))
        if any(is_gaias(item) for item in items):
            body = {**body, "input": [item for item in items if not is_gaias(item)]}
        return Turn((), original=Original(self.dialect, body, in_background=body.get("background") is True))

    def new_input(self) -> Sequence[Stored]:
        """Returns what is stored of it."""
        body = self.body
        goes_on = any(body.get(name) for name in _CONTINUES)
        instructions = None if goes_on else body.get("instructions")
        return conversation.new_input(body.get("input"), instructions, keep_content=self.keeps_content)

    def encode(self, reply: Reply, model: str, stamp: Stamp) -> bytes:
        """Encodes a whole reply."""
        return response(self.body, reply, model, stamp)

    def writer(self, stamp: Stamp) -> ResponseWriter:
        """Makes the writer of a stream."""
        return ResponseWriter(self.body, stamp, self._numbers)

    def error_record(self, error: GaiaError) -> bytes:
        """Encodes an error in the middle of a stream."""
        return error_record(error, next(self._numbers))

    def translated(self) -> tuple[Turn, tuple[str, ...]]:
        """Returns the turn for a provider of another dialect, and the names of the preferences that were left out.

        Raises InvalidArgument that names all fields whose loss would change what the reply is.
        """
        body, refused, left_out = self.body, list[Violation](), list[str]()
        for name, value in body.items():
            if name in _TRANSLATED or value is None or value in _NEUTRAL.get(name, ()):
                continue
            if name == "background":
                refused.append(Violation(name, "must be false: this model's provider makes no reply in the background"))
            elif name in _PREFERENCES:
                left_out.append(name)
            elif name in _KEPT_BY_OPENAI:
                refused.append(Violation(name, conversation.KEPT_BY_OPENAI))
            else:
                refused.append(Violation(name[:64], "has no counterpart for this model's provider; leave it out"))
        if (body.get("prompt_cache_options") or {}).get("prewarm"):
            refused.append(Violation("prompt_cache_options.prewarm", "cannot be done by this model's provider"))
        if _LOGPROBS in (body.get("include") or ()):
            refused.append(Violation("include", f"cannot hold {_LOGPROBS} for this model's provider"))
        messages = self._messages(refused, left_out)
        tools = translate_tools(body.get("tools") or (), refused, left_out)
        tool_choice, tools = translate_choice(body.get("tool_choice"), tools, refused)
        turn = Turn(
            messages,
            tools=tools,
            tool_choice=tool_choice,
            parallel_tool_calls=body.get("parallel_tool_calls"),
            response_schema=_response_schema(body.get("text") or {}, refused, left_out),
            max_tokens=body.get("max_output_tokens"),
            temperature=body.get("temperature"),
            top_p=body.get("top_p"),
            reasoning_effort=_reasoning_effort(body.get("reasoning") or {}, refused, left_out),
            end_user=body.get("safety_identifier") or body.get("user"),
        )
        if refused:
            raise InvalidArgument.of(*checks.bounded(refused))
        return turn, tuple(left_out)

    def _messages(self, refused: list[Violation], left_out: list[str]) -> list[Message]:
        body = self.body
        said = conversation.messages(conversation.items_of(body.get("input")), refused, left_out)
        if not refused and not says_something(said):
            refused.append(Violation("input", SAYS_NOTHING))
        instructions = body.get("instructions")
        return [say(Role.SYSTEM, instructions), *said] if instructions else said


def parse(data: bytes) -> ResponseRequest:
    """Reads a request. Raises InvalidArgument that names all fields that are wrong."""
    body = read_object(data)
    violations = checks.faults(body, _CHECKS, _REQUIRED)
    if body.get("input") is not None:
        violations += conversation.check_input(body["input"])
    elif not any(body.get(name) for name in _KEPT_BY_OPENAI):
        violations.append(Violation("input", "is missing"))
    if all(body.get(name) for name in _CONTINUES):
        violations.append(Violation("conversation", "cannot be sent together with previous_response_id"))
    violations += check_tools(body.get("tools"))
    violations += _check_format(body.get("text"))
    if violations:
        raise InvalidArgument.of(*checks.bounded(violations))
    return ResponseRequest(body)


def _check_format(text: Any) -> list[Violation]:
    form = text.get("format") if isinstance(text, dict) else None
    if form is None:
        return []
    if not isinstance(form, dict) or not isinstance(form.get("type"), str):
        return [Violation("text.format", "must be an object with a type")]
    if form["type"] != "json_schema":
        return []
    violations = []
    if not isinstance(form.get("name"), str):
        violations.append(Violation("text.format.name", "must be a string"))
    if not isinstance(form.get("schema"), dict):
        violations.append(Violation("text.format.schema", "must be a JSON schema: an object"))
    if not isinstance(form.get("strict"), bool | None):
        violations.append(Violation("text.format.strict", "must be true or false"))
    return violations


_REQUIRED = frozenset({"model"})
_CHECKS: Mapping[str, checks.Check] = {
    "model": checks.model_name,
    "background": checks.is_a(bool, "true or false"),
    "background_options": checks.is_a(dict, "an object"),
    "conversation": checks.is_a((str, dict), "a string or an object"),
    "include": checks.strings,
    "instructions": checks.is_a(str, "a string"),
    "max_output_tokens": checks.count,
    "max_tool_calls": checks.count,
    "metadata": checks.metadata,
    "parallel_tool_calls": checks.is_a(bool, "true or false"),
    "previous_response_id": checks.is_a(str, "a string"),
    "prompt": checks.is_a(dict, "an object"),
    "prompt_cache_options": checks.is_a(dict, "an object"),
    "reasoning": checks.is_a(dict, "an object"),
    "safety_identifier": checks.is_a(str, "a string"),
    "store": checks.is_a(bool, "true or false"),
    "stream": checks.is_a(bool, "true or false"),
    "stream_options": checks.is_a(dict, "an object"),
    "temperature": checks.number(0, 2),
    "text": checks.is_a(dict, "an object"),
    "tool_choice": checks.is_a((str, dict), "a string or an object"),
    "top_logprobs": checks.number(0, 20),
    "top_p": checks.number(0, 1),
    "user": checks.is_a(str, "a string"),
}


def _response_schema(text: Mapping[str, Any], refused: list[Violation], left_out: list[str]) -> JsonSchema | None:
    for name, value in text.items():
        if name == "verbosity" and value not in (None, "medium"):
            left_out.append("text.verbosity")
        elif name not in ("verbosity", "format") and value is not None:
            refused.append(Violation(f"text.{name[:64]}", "has no counterpart for this model's provider"))
    form = text.get("format")
    if form is None or form["type"] == "text":
        return None
    if form["type"] != "json_schema":
        refused.append(Violation("text.format.type", "must be text or json_schema for this model's provider"))
        return None
    if form.get("description"):
        left_out.append("text.format.description")
    return JsonSchema(form["name"], form["schema"], form.get("strict"))


def _reasoning_effort(reasoning: Mapping[str, Any], refused: list[Violation], left_out: list[str]) -> str | None:
    """`summary` is heeded without a word: the thinking of other families' models is shown where there is any."""
    for name, value in reasoning.items():
        if value is None or name in ("effort", "summary", "generate_summary"):
            continue
        if name not in ("context", "mode"):
            refused.append(Violation(f"reasoning.{name[:64]}", "has no counterpart for this model's provider"))
        elif value not in ("auto", "standard"):
            left_out.append(f"reasoning.{name}")
    effort = reasoning.get("effort")
    if not isinstance(effort, str | None):
        refused.append(Violation("reasoning.effort", "must be a string"))
        return None
    return effort
