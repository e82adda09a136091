"""Requests of Anthropic's messages: checked at the door, and translated for providers of other families."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from services.chat.dialects import anthropic_content, anthropic_tools
from services.chat.dialects.anthropic_losses import Losses
from services.chat.dialects.anthropic_messages_reply import MessageWriter, error_record, message
from services.chat.dialects.base import Stamp
from services.chat.dialects.json_body import read_object
from services.chat.records import Stored
from services.chat.told_faults import details
from services.chat.turn import Dialect, JsonSchema, Original, Reply, Turn
from shared.errors import GaiaError, InvalidArgument, Violation

BETA = "anthropic-beta"
HEADERS = ("anthropic-version", BETA)
"""Headers that say how Anthropic is to read the body."""
MAX_MODEL_NAME = 200
MIN_BUDGET = 1024

# Fields of which a translated request knows the meaning.
_TRANSLATED = frozenset(
    {
        "model",
        "messages",
        "max_tokens",
        "system",
        "stream",
        "stop_sequences",
        "temperature",
        "top_p",
        "top_k",
        "tools",
        "tool_choice",
        "thinking",
        "output_config",
        "output_format",
        "metadata",
        "thread",
    }
)
# Preferences: without them the reply may differ in style, price or speed, not in what it is.
_PREFERENCES = frozenset({"cache_control", "service_tier", "speed", "diagnostics", "context_management"})
# Values that say no more than leaving the field out.
_NEUTRAL: Mapping[str, Sequence[Any]] = {
    "service_tier": ("auto",),
    "speed": ("standard",),
    "mcp_servers": ([],),
}
# A budget of thinking in OpenAI's words. The smallest one is 1,024; beyond 16,384 Claude seldom uses it up.
_EFFORTS: Sequence[tuple[int, str]] = ((4096, "low"), (16_384, "medium"))


@dataclass(frozen=True, slots=True)
class MessagesRequest:
    """Implements `services.chat.dialects.base.Asked`. `headers` are those of `HEADERS` that the client sent."""

    body: Mapping[str, Any]
    headers: Mapping[str, str]
    request_id: str
    dialect = Dialect.MESSAGES
    field_names: ClassVar[Mapping[str, str]] = {
        "stop": "stop_sequences",
        "response_format": "output_config.format",
        "reasoning_effort": "output_config.effort",
        "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    }
    end_marker = b""
    keeps_content = True

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
    def max_output_tokens(self) -> int | None:
        """The most tokens of the reply; None where only tokens are counted."""
        limit: int | None = self.body.get("max_tokens")
        return limit

    @property
    def shows_thinking(self) -> bool:
        """Whether the client asked to see what the model thinks; one that did not may not expect such blocks."""
        wanted = self.body.get("thinking")
        return wanted is not None and wanted["type"] != "disabled" and wanted.get("display") != "omitted"

    def same_dialect(self) -> Turn:
        """Returns the turn for Anthropic: the request as it is."""
        return Turn((), original=Original(self.dialect, self.body, self.headers))

    def new_input(self) -> Sequence[Stored]:
        """Returns what is stored of it."""
        return anthropic_content.new_input(self.body.get("system"), self.body["messages"])

    def encode(self, reply: Reply, model: str, stamp: Stamp) -> bytes:
        """Encodes a whole reply."""
        return message(reply, stamp, model, shows_thinking=self.shows_thinking)

    def writer(self, stamp: Stamp) -> MessageWriter:
        """Makes the writer of a stream."""
        return MessageWriter(stamp, shows_thinking=self.shows_thinking)

    def error_record(self, error: GaiaError) -> bytes:
        """Encodes an error in the middle of a stream."""
        return error_record(error, self.request_id)

    def translated(self) -> tuple[Turn, tuple[str, ...]]:
        """Returns the turn for a provider of another dialect, and the names of the preferences that were left out.

        Raises InvalidArgument that names all fields whose loss would change what the reply is.
        """
        body, losses = self.body, Losses()
        for name, value in body.items():
            if name in _TRANSLATED or value is None or value in _NEUTRAL.get(name, ()):
                continue
            if name in _PREFERENCES:
                losses.leave_out(name)
            else:
                losses.refuse(name[:64])
        if body.get("max_tokens") == 0:
            losses.refuse("max_tokens", "must be 1 or more: this model's provider keeps no prompts for later")
        if has_thread := body.get("thread") is not None:
            losses.refuse("thread", "cannot be kept by this model's provider; send the whole conversation")
        if self.headers.get(BETA):
            losses.leave_out(BETA)
        tools = anthropic_tools.tools(body.get("tools"), losses)
        choice, parallel = anthropic_tools.tool_choice(body.get("tool_choice"), tools, losses)
        schema, effort = _output(body, losses)
        budget, worded = _thinking(body.get("thinking"), effort, losses)
        turn = Turn(
            anthropic_content.messages(body.get("system"), body["messages"], losses),
            tools=tools,
            tool_choice=choice if tools else None,
            parallel_tool_calls=parallel if tools else None,
            response_schema=schema,
            max_tokens=body.get("max_tokens"),
            temperature=body.get("temperature"),
            top_p=body.get("top_p"),
            top_k=body.get("top_k"),
            stop=tuple(body.get("stop_sequences") or ()),
            reasoning_effort=effort or worded,
            thinking_tokens=budget,
            end_user=_end_user(body.get("metadata"), losses),
        )
        if losses.refused:
            refusal = InvalidArgument.of(*losses.refused)
            if has_thread:
                # The SDK's runner of tools, which begins a thread by itself, goes on without one when it reads this.
                refusal.reason = "THREAD_UNSUPPORTED"
                refusal.metadata |= details("thread_unsupported_request", unsupported=["model"])
            raise refusal
        return turn, tuple(losses.left_out)


def parse(data: bytes, headers: Mapping[str, str], request_id: str, *, counts_only: bool = False) -> MessagesRequest:
    """Reads a request. `headers` are the client's; `counts_only`: its tokens are counted, so it needs no limit.

    Raises InvalidArgument that names all fields that are wrong.
    """
    body = read_object(data)
    required = {"model"} if counts_only else {"model", "max_tokens"}
    violations: list[Violation] = []
    for name, check in _CHECKS.items():
        value = body.get(name)
        if value is not None:
            violations += check(value, name)
        elif name in required:
            violations.append(Violation(name, "is missing"))
    violations += anthropic_content.check_system(body.get("system"))
    violations += _check_thread(body.get("thread"))
    if body.get("messages") != [] or not _continues(body):
        # A reply that paused is gone on with by saying nothing.
        violations += anthropic_content.check_messages(body.get("messages"))
    violations += anthropic_tools.check_tools(body.get("tools"))
    violations += anthropic_tools.check_tool_choice(body.get("tool_choice"))
    if violations:
        raise InvalidArgument.of(*violations)
    return MessagesRequest(body, {name: headers[name] for name in HEADERS if name in headers}, request_id)


_Check = Callable[[Any, str], Sequence[Violation]]


def _must_be(wanted: str, is_right: Callable[[Any], bool]) -> _Check:
    return lambda value, name: () if is_right(value) else (Violation(name, f"must be {wanted}"),)


def _is_integer(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _continues(body: Mapping[str, Any]) -> bool:
    """Whether a request goes on with what Anthropic keeps of a conversation."""
    thread = body.get("thread")
    return isinstance(thread, dict) and thread.get("type") == "continue"


def _check_thread(thread: Any) -> Sequence[Violation]:
    if thread is None:
        return ()
    if not isinstance(thread, dict) or not isinstance(thread.get("type"), str):
        return (Violation("thread.type", "must be create or continue"),)
    if thread["type"] == "continue" and not isinstance(thread.get("previous_message_id"), str):
        return (Violation("thread.previous_message_id", "must be the id of a reply"),)
    return ()


def _check_thinking(value: Any, name: str) -> Sequence[Violation]:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return (Violation(f"{name}.type", "must be enabled, adaptive or disabled"),)
    budget = value.get("budget_tokens")
    if value["type"] == "enabled" and not _is_integer(budget, MIN_BUDGET):
        return (Violation(f"{name}.budget_tokens", f"must be an integer of {MIN_BUDGET} or more"),)
    return ()


def _check_output(value: Any, name: str) -> Sequence[Violation]:
    if not isinstance(value, dict):
        return (Violation(name, "must be an object"),)
    effort = value.get("effort")
    if effort is not None and not isinstance(effort, str):
        return (Violation(f"{name}.effort", "must be low, medium, high, xhigh or max"),)
    form = value.get("format")
    return _check_format(form, f"{name}.format") if form is not None else ()


def _check_format(value: Any, name: str) -> Sequence[Violation]:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        return (Violation(f"{name}.type", "must be json_schema"),)
    if value["type"] == "json_schema" and not isinstance(value.get("schema"), dict):
        return (Violation(f"{name}.schema", "must be a JSON schema"),)
    return ()


def _check_metadata(value: Any, name: str) -> Sequence[Violation]:
    if not isinstance(value, dict):
        return (Violation(name, "must be an object"),)
    user = value.get("user_id")
    return () if user is None or isinstance(user, str) else (Violation(f"{name}.user_id", "must be a string"),)


_CHECKS: Mapping[str, _Check] = {
    "model": _must_be(
        f"a string of 1 to {MAX_MODEL_NAME} characters",
        lambda value: isinstance(value, str) and 0 < len(value) <= MAX_MODEL_NAME,
    ),
    # 0 puts the prompt into Anthropic's cache and nothing else.
    "max_tokens": _must_be("an integer of 0 or more", lambda value: _is_integer(value, 0)),
    "stream": _must_be("true or false", lambda value: isinstance(value, bool)),
    "stop_sequences": _must_be(
        "a list of strings", lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value)
    ),
    "temperature": _must_be("a number from 0 to 1", _is_share),
    "top_p": _must_be("a number from 0 to 1", _is_share),
    "top_k": _must_be("an integer of 0 or more", lambda value: _is_integer(value, 0)),
    "thinking": _check_thinking,
    "output_config": _check_output,
    "output_format": _check_format,
    "metadata": _check_metadata,
}


def _output(body: Mapping[str, Any], losses: Losses) -> tuple[JsonSchema | None, str | None]:
    """Returns the form that the reply must have, and the effort. `output_format` is the older name of the form."""
    config = body.get("output_config") or {}
    losses.check_fields(config, frozenset({"effort", "format"}), "output_config")
    place, form = "output_config.format", config.get("format")
    if form is None:
        place, form = "output_format", body.get("output_format")
    schema = None
    if form is not None and form["type"] != "json_schema":
        losses.refuse(f"{place}.type", "must be json_schema for this model's provider")
    elif form is not None:
        schema = JsonSchema("reply", form["schema"], strict=True if _is_closed(form["schema"]) else None)
    return schema, config.get("effort")


def _is_closed(schema: Any) -> bool:
    """Whether a schema keeps OpenAI's rule for strict ones: objects name and require all of their properties."""
    rest = [schema]
    while rest:
        one = rest.pop()
        if isinstance(one, list):
            rest += one
        elif isinstance(one, dict):
            properties = one.get("properties")
            if one.get("type") == "object" or isinstance(properties, dict):
                names = set(properties) if isinstance(properties, dict) else set()
                required = one.get("required")
                if one.get("additionalProperties") is not False or names != set(required or ()):
                    return False
            rest += one.values()
    return True


def _thinking(wanted: Any, effort: str | None, losses: Losses) -> tuple[int | None, str | None]:
    """Returns how many tokens the model may think for, and the same in words; None where it decides itself.

    Whether it thinks at all can be said to others by the `effort` only.
    """
    if wanted is None:
        return None, None
    match wanted["type"]:
        case "enabled":
            budget: int = wanted["budget_tokens"]
            return budget, next((word for limit, word in _EFFORTS if budget <= limit), "high")
        case "disabled":
            return 0, None
        case "adaptive" | "between_tools":
            if effort is None:
                losses.leave_out("thinking")
            return None, None
        case kind:
            losses.refuse("thinking.type", f"must be enabled, adaptive or disabled, not {kind[:64]}")
            return None, None


def _end_user(metadata: Any, losses: Losses) -> str | None:
    if not metadata:
        return None
    if any(value is not None for name, value in metadata.items() if name != "user_id"):
        losses.leave_out("metadata")
    end_user: str | None = metadata.get("user_id")
    return end_user
