"""Requests of OpenAI's chat completions: checked at the door, and translated for providers of other families."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from services.chat.dialects import openai_content
from services.chat.dialects.base import Stamp
from services.chat.dialects.openai_chat_reply import DONE, ChunkWriter, completion, error_record
from services.chat.records import Stored
from services.chat.turn import Dialect, JsonSchema, Original, Reply, Tool, ToolChoice, ToolMode, Turn
from shared.errors import GaiaError, InvalidArgument, Violation

MAX_MODEL_NAME = 200

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
        """Returns the turn for a provider of the same dialect: the request as it is."""
        return Turn((), original=Original(self.dialect, self.body))

    def new_input(self) -> Sequence[Stored]:
        """Returns what is stored of it."""
        return openai_content.new_input(self.body["messages"], keep_content=self.keeps_content)

    def encode(self, reply: Reply, model: str, stamp: Stamp) -> bytes:
        """Encodes a whole reply."""
        return completion(reply, stamp, model)

    def writer(self, stamp: Stamp) -> ChunkWriter:
        """Makes the writer of a stream."""
        return ChunkWriter(stamp, include_usage=self.include_usage)

    def error_record(self, error: GaiaError) -> bytes:
        """Encodes an error in the middle of a stream."""
        return error_record(error)

    def translated(self) -> tuple[Turn, tuple[str, ...]]:
        """Returns the turn for a provider of another dialect, and the names of the preferences that were left out.

        Raises InvalidArgument that names all fields whose loss would change what the reply is.
        """
        body, refused, left_out = self.body, [], []
        for name, value in body.items():
            if name in _TRANSLATED or value is None or value in _NEUTRAL.get(name, ()):
                continue
            if name in _PREFERENCES:
                left_out.append(name)
            else:
                refused.append(Violation(name, "has no counterpart for this model's provider; leave it out"))
        if body.get("n") not in (None, 1):
            refused.append(Violation("n", "must be 1 for this model's provider"))
        if refused:
            raise InvalidArgument.of(*refused)
        turn = Turn(
            openai_content.messages(body["messages"]),
            tools=_tools(body.get("tools")),
            tool_choice=_tool_choice(body.get("tool_choice")),
            parallel_tool_calls=body.get("parallel_tool_calls"),
            response_schema=_response_schema(body.get("response_format")),
            max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
            temperature=body.get("temperature"),
            top_p=body.get("top_p"),
            stop=_stop(body.get("stop")),
            reasoning_effort=body.get("reasoning_effort"),
            end_user=body.get("safety_identifier") or body.get("user"),
        )
        return turn, tuple(left_out)


def parse(data: bytes) -> CompletionRequest:
    """Reads a request. Raises InvalidArgument that names all fields that are wrong."""
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise InvalidArgument.field("body", f"is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise InvalidArgument.field("body", "must be a JSON object")
    return checked(body)


def checked(body: Mapping[str, Any]) -> CompletionRequest:
    """Checks a request. Raises InvalidArgument that names all fields that are wrong."""
    violations = [fault for name, check in _CHECKS.items() if (fault := _fault(body, name, check))]
    violations += openai_content.check_messages(body.get("messages"))
    if violations:
        raise InvalidArgument.of(*violations)
    return CompletionRequest(body)


def _fault(body: Mapping[str, Any], name: str, check: "_Check") -> Violation | None:
    value = body.get(name)
    if value is None:
        return Violation(name, "is missing") if name in _REQUIRED else None
    wanted = check(value)
    return Violation(name, f"must be {wanted}") if wanted else None


_Check = Callable[[Any], str]
_REQUIRED = frozenset({"model"})


def _is(kind: type | tuple[type, ...], wanted: str) -> _Check:
    return lambda value: "" if isinstance(value, kind) else wanted


def _number(low: float, high: float) -> _Check:
    def check(value: Any) -> str:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return "" if is_number and low <= value <= high else f"a number from {low:g} to {high:g}"

    return check


def _count(value: Any) -> str:
    return "" if isinstance(value, int) and not isinstance(value, bool) and value >= 1 else "an integer of 1 or more"


def _model(value: Any) -> str:
    if isinstance(value, str) and 0 < len(value) <= MAX_MODEL_NAME:
        return ""
    return f"a string of 1 to {MAX_MODEL_NAME} characters"


def _strings(value: Any) -> str:
    if isinstance(value, str) or (isinstance(value, list) and all(isinstance(one, str) for one in value)):
        return ""
    return "a string or a list of strings"


def _tool_list(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(one, dict) for one in value):
        return ""
    return "a list of objects"


_CHECKS: Mapping[str, _Check] = {
    "model": _model,
    "stream": _is(bool, "true or false"),
    "stream_options": _is(dict, "an object"),
    "store": _is(bool, "true or false"),
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "max_tokens": _count,
    "max_completion_tokens": _count,
    "n": _count,
    "stop": _strings,
    "tools": _tool_list,
    "tool_choice": _is((str, dict), "a string or an object"),
    "parallel_tool_calls": _is(bool, "true or false"),
    "response_format": _is(dict, "an object"),
    "reasoning_effort": _is(str, "a string"),
    "user": _is(str, "a string"),
    "safety_identifier": _is(str, "a string"),
}

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def _tools(tools: Any) -> Sequence[Tool]:
    translated = []
    for number, tool in enumerate(tools or ()):
        where = f"tools[{number}]"
        if tool.get("type") != "function":
            raise InvalidArgument.field(f"{where}.type", "must be function for this model's provider")
        function = tool.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidArgument.field(f"{where}.function.name", "must be 1 to 64 letters, digits, _ or -")
        parameters = function.get("parameters")
        if parameters is not None and not isinstance(parameters, dict):
            raise InvalidArgument.field(f"{where}.function.parameters", "must be a JSON schema")
        translated.append(Tool(name, str(function.get("description") or ""), parameters, function.get("strict")))
    return translated


def _tool_choice(choice: Any) -> ToolChoice | None:
    if choice is None:
        return None
    if choice in ("auto", "none", "required"):
        return ToolChoice(ToolMode(choice))
    function = choice.get("function") if isinstance(choice, dict) and choice.get("type") == "function" else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise InvalidArgument.field(
            "tool_choice", 'must be auto, none, required or {"type": "function", "function": {"name": …}}'
        )
    return ToolChoice(ToolMode.NAMED, name)


def _response_schema(form: Any) -> JsonSchema | None:
    if form is None or form.get("type") == "text":
        return None
    described = form.get("json_schema")
    if form.get("type") != "json_schema" or not isinstance(described, dict):
        raise InvalidArgument.field("response_format", "must be of type text or json_schema for this model's provider")
    schema = described.get("schema")
    if not isinstance(schema, dict):
        raise InvalidArgument.field("response_format.json_schema.schema", "must be a JSON schema")
    return JsonSchema(str(described.get("name") or "reply"), schema, described.get("strict"))


def _stop(stop: Any) -> Sequence[str]:
    return (stop,) if isinstance(stop, str) else tuple(stop or ())
