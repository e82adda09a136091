"""Requests of OpenAI's chat completions: checked at the door, and translated for providers of other families."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from services.chat.dialects import openai_checks as checks
from services.chat.dialects import openai_content
from services.chat.dialects.base import Stamp
from services.chat.dialects.json_body import read_object
from services.chat.dialects.openai_chat_reasoning import without_gaias
from services.chat.dialects.openai_chat_reply import DONE, ChunkWriter, completion, error_record
from services.chat.dialects.openai_chat_tools import check_tools, translate_choice, translate_tools
from services.chat.records import Stored
from services.chat.turn import Dialect, JsonSchema, Original, Reply, Turn
from shared.errors import GaiaError, InvalidArgument, Violation

# Fields of which a translated request knows the meaning.
_TRANSLATED = frozenset(
    {
        "messages",
        "model",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "stop",
        "n",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "response_format",
        "reasoning_effort",
        "user",
        "safety_identifier",
        "store",
    }
)
# Preferences: without them the reply may differ in style, price or speed, not in what it is.
_PREFERENCES = frozenset(
    {
        "seed",
        "frequency_penalty",
        "presence_penalty",
        "service_tier",
        "metadata",
        "prediction",
        "verbosity",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
    }
)
KNOWN = frozenset(
    {
        *_TRANSLATED,
        *_PREFERENCES,
        "audio",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "modalities",
        "moderation",
        "top_logprobs",
        "web_search_options",
    }
)
"""Fields of the dialect, for requests that may hold others beside them."""

MAX_CHOICES = 128
"""Most choices that OpenAI makes of one request."""
UNNAMED = "default"
"""Stands for a model that the client did not name."""

# Values that say no more than leaving the field out.
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "service_tier": ("auto", "default"),
    "verbosity": ("medium",),
    "functions": ([],),
    "function_call": ("none", "auto"),
}


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """Implements `services.chat.dialects.base.Asked`."""

    body: Mapping[str, Any]
    dialect = Dialect.CHAT_COMPLETIONS
    field_names: ClassVar[Mapping[str, str]] = {"image_detail": "image_url.detail"}
    end_marker = DONE

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
    def include_usage(self) -> bool:
        """Whether a stream ends with its usage."""
        options = self.body.get("stream_options")
        return isinstance(options, dict) and options.get("include_usage") is True

    @property
    def keeps_content(self) -> bool:
        """Whether Gaia may keep what was said; the client may forbid it with `"store": false`."""
        return self.body.get("store") is not False

    @property
    def max_output_tokens(self) -> int | None:
        """The most tokens of all choices together, as far as the client limits them."""
        limit: int | None = self.body.get("max_completion_tokens") or self.body.get("max_tokens")
        return None if limit is None else limit * (self.body.get("n") or 1)

    def instructed(self, system_prompt: str) -> "CompletionRequest":
        """Returns the request with instructions before its messages."""
        first = {"role": "system", "content": system_prompt}
        return CompletionRequest({**self.body, "messages": [first, *self.body["messages"]]})

    def same_dialect(self) -> Turn:
        """Returns the turn for a provider of the same dialect: the request as it is, but for what no other can read."""
        body, told = self.body, self.body["messages"]
        if (messages := without_gaias(told)) is not told:
            body = {**body, "messages": messages}
        return Turn((), original=Original(self.dialect, body))

    def new_input(self) -> Sequence[Stored]:
        """Returns what is stored of it."""
        return openai_content.new_input(self.body["messages"], keep_content=self.keeps_content)

    def encode(self, reply: Reply, model: str, stamp: Stamp) -> bytes:
        """Encodes a whole reply."""
        return completion(reply, stamp, model, shows_thinking=True)

    def writer(self, stamp: Stamp) -> ChunkWriter:
        """Makes the writer of a stream."""
        return ChunkWriter(stamp, include_usage=self.include_usage, shows_thinking=True)

    def error_record(self, error: GaiaError) -> bytes:
        """Encodes an error in the middle of a stream."""
        return error_record(error)

    def translated(self) -> tuple[Turn, tuple[str, ...]]:
        """Returns the turn for a provider of another dialect, and the names of the preferences that were left out.

        Raises InvalidArgument that names all fields whose loss would change what the reply is.
        """
        body, refused, left_out = self.body, list[Violation](), list[str]()
        for name, value in body.items():
            if name in _TRANSLATED or value is None or value in _NEUTRAL.get(name, ()):
                continue
            if name in _PREFERENCES:
                left_out.append(name)
            else:
                refused.append(Violation(name[:64], "has no counterpart for this model's provider; leave it out"))
        if body.get("n") not in (None, 1):
            refused.append(Violation("n", "must be 1 for this model's provider"))
        messages = openai_content.messages(body["messages"], refused, left_out)
        tools = translate_tools(body.get("tools") or (), refused, left_out)
        tool_choice, tools = translate_choice(body.get("tool_choice"), tools, refused)
        turn = Turn(
            messages,
            tools=tools,
            tool_choice=tool_choice,
            parallel_tool_calls=body.get("parallel_tool_calls"),
            response_schema=_response_schema(body.get("response_format"), refused, left_out),
            max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
            temperature=body.get("temperature"),
            top_p=body.get("top_p"),
            stop=_stop(body.get("stop")),
            reasoning_effort=body.get("reasoning_effort"),
            end_user=body.get("safety_identifier") or body.get("user"),
        )
        if refused:
            raise InvalidArgument.of(*checks.bounded(refused))
        return turn, tuple(left_out)


def parse(data: bytes) -> CompletionRequest:
    """Reads a request. Raises InvalidArgument that names all fields that are wrong."""
    return checked(read_object(data))


def checked(body: Mapping[str, Any]) -> CompletionRequest:
    """Checks a request. Raises InvalidArgument that names all fields that are wrong."""
    violations = checks.faults(body, _CHECKS, _REQUIRED)
    violations += openai_content.check_messages(body.get("messages"))
    violations += check_tools(body.get("tools"))
    violations += _check_form(body.get("response_format"))
    if violations:
        raise InvalidArgument.of(*checks.bounded(violations))
    return CompletionRequest(body)


def _strings(value: Any) -> str:
    return "" if isinstance(value, str) or not checks.strings(value) else "a string or a list of strings"


def _choices(value: Any) -> str:
    return "" if not checks.count(value) and value <= MAX_CHOICES else f"an integer from 1 to {MAX_CHOICES}"


def _check_form(form: Any) -> list[Violation]:
    if not isinstance(form, dict):
        return []
    if not isinstance(form.get("type"), str):
        return [Violation("response_format.type", "must be a string")]
    if form["type"] != "json_schema":
        return []
    described = form.get("json_schema")
    if not isinstance(described, dict):
        return [Violation("response_format.json_schema", "must be an object")]
    violations = []
    for name, kind, wanted in (
        ("name", str | None, "a string"),
        ("schema", dict | None, "a JSON schema: an object"),
        ("strict", bool | None, "true or false"),
    ):
        if not isinstance(described.get(name), kind):
            violations.append(Violation(f"response_format.json_schema.{name}", f"must be {wanted}"))
    return violations


_SCHEMA = frozenset({"name", "schema", "strict"})
_REQUIRED = frozenset({"model"})
_CHECKS: Mapping[str, checks.Check] = {
    "model": checks.model_name,
    "audio": checks.is_a(dict, "an object"),
    "frequency_penalty": checks.number(-2, 2),
    "function_call": checks.is_a((str, dict), "a string or an object"),
    "functions": checks.is_a(list, "a list of objects"),
    "logit_bias": checks.is_a(dict, "an object"),
    "logprobs": checks.is_a(bool, "true or false"),
    "max_completion_tokens": checks.count,
    "max_tokens": checks.count,
    "metadata": checks.metadata,
    "modalities": checks.strings,
    "n": _choices,
    "parallel_tool_calls": checks.is_a(bool, "true or false"),
    "prediction": checks.is_a(dict, "an object"),
    "presence_penalty": checks.number(-2, 2),
    "reasoning_effort": checks.is_a(str, "a string"),
    "response_format": checks.is_a(dict, "an object"),
    "safety_identifier": checks.is_a(str, "a string"),
    "seed": checks.whole,
    "stop": _strings,
    "store": checks.is_a(bool, "true or false"),
    "stream": checks.is_a(bool, "true or false"),
    "stream_options": checks.is_a(dict, "an object"),
    "temperature": checks.number(0, 2),
    "tool_choice": checks.is_a((str, dict), "a string or an object"),
    "top_logprobs": checks.number(0, 20),
    "top_p": checks.number(0, 1),
    "user": checks.is_a(str, "a string"),
    "web_search_options": checks.is_a(dict, "an object"),
}


def _response_schema(form: Any, refused: list[Violation], left_out: list[str]) -> JsonSchema | None:
    if form is None or form["type"] == "text":
        return None
    if form["type"] != "json_schema":
        refused.append(Violation("response_format.type", "must be text or json_schema for this model's provider"))
        return None
    described = form["json_schema"]
    left_out += [f"response_format.json_schema.{name}" for name in checks.unknown(described, _SCHEMA)]
    if described.get("schema") is None:
        refused.append(Violation("response_format.json_schema.schema", "must be a JSON schema"))
        return None
    return JsonSchema(described.get("name") or "reply", described["schema"], described.get("strict"))


def _stop(stop: Any) -> Sequence[str]:
    return (stop,) if isinstance(stop, str) else tuple(stop or ())
