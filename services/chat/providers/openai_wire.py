"""OpenAI's chat completions as a provider speaks them: requests out of turns, replies and deltas out of its bytes."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from services.chat.kept_ids import told_ids
from services.chat.providers import errors
from services.chat.providers.checked import count, text
from services.chat.providers.halves import Halves
from services.chat.tiers import told_tier
from services.chat.turn import (
    Delta,
    Document,
    FinishReason,
    Image,
    Message,
    Part,
    Reply,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolCallDelta,
    ToolChoice,
    ToolMode,
    Turn,
    Usage,
)
from shared.errors import GaiaError, InvalidArgument

DONE = b"[DONE]"

_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}


def encode_request(turn: Turn, model: str, *, stream: bool, max_tokens_field: str) -> bytes:
    """Encodes a turn. The usage of a stream is always asked for, since it must be metered."""
    body = dict(turn.original.body) if turn.original is not None else _body(turn, max_tokens_field)
    body["model"] = model
    if stream:
        asked = body.get("stream_options")
        body["stream"] = True
        body["stream_options"] = {**(asked if isinstance(asked, dict) else {}), "include_usage": True}
    return orjson.dumps(body)


def wants_usage(turn: Turn) -> bool:
    """Whether the client asked for the usage of its stream itself."""
    options = turn.original.body.get("stream_options") if turn.original is not None else None
    return isinstance(options, dict) and options.get("include_usage") is True


def decode_reply(provider: str, body: bytes) -> Reply:
    """Decodes a whole reply. Raises BadUpstream for what is none."""
    try:
        decoded = orjson.loads(body)
        if decoded.get("error") and not decoded.get("choices"):
            raise errors.from_stream(provider, decoded["error"])
        first, *others = decoded["choices"]
        message = first["message"]
        calls = [
            ToolCall(text(call.get("id") or ""), text(call["function"]["name"]), _arguments(call["function"]))
            for call in message.get("tool_calls") or ()
            if "function" in call
        ]
        return Reply(
            text=_said(message),
            tool_calls=calls,
            finish_reason=_REASONS.get(first["finish_reason"], FinishReason.STOP),
            usage=decode_usage(decoded.get("usage")),
            body=body,
            other_choices=[_said(other["message"]) for other in others],
            is_refusal=_refuses(message),
            thinking=[Thinking(thought)] if (thought := _thought(message)) else (),
            served=told_tier(decoded),
            kept_ids=told_ids(audio.get("id")) if (audio := message.get("audio")) else (),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise errors.nonsense(provider, "something that is no chat completion") from error


def decode_usage(usage: Any) -> Usage | None:
    """Decodes the usage of a reply; None where there is none."""
    if not usage:
        return None
    read = usage.get("prompt_tokens_details") or {}
    written = usage.get("completion_tokens_details") or {}
    return Usage(
        input_tokens=count(usage["prompt_tokens"]),
        output_tokens=count(usage["completion_tokens"]),
        cached_input_tokens=count(read.get("cached_tokens")),
        cache_write_tokens=count(read.get("cache_write_tokens")),
        input_audio_tokens=count(read.get("audio_tokens")),
        reasoning_tokens=count(written.get("reasoning_tokens")),
        output_audio_tokens=count(written.get("audio_tokens")),
    )


class ChunkDecoder:
    """Decodes the events of one stream. `show_usage`: pass the event of the usage on, since the client asked for it."""

    def __init__(self, provider: str, *, show_usage: bool, setting: str = "") -> None:
        self._provider = provider
        self._show_usage = show_usage
        self._setting = setting
        self._halves = Halves()
        self._calls: dict[int, tuple[int, str]] = {}  # a call's number and id, by the number that it is told by
        self._finished: dict[int, bool] = {}
        self._began = False
        self.done = False
        self.failure: GaiaError | None = None

    def decode(self, events: Sequence[bytes]) -> Delta | None:
        """Decodes events that arrived together; None where they add nothing.

        An error or nonsense among them is put down as `failure`, so that what came before it is not lost.
        """
        delta = Delta()
        texts: list[str] = []
        others: list[tuple[int, str]] = []
        calls: list[ToolCallDelta] = []
        records: list[bytes] = []
        for sent in events:
            if sent == DONE:
                self.done = True
                break
            try:
                chunk, event = self._load(sent)
                choices = chunk.get("choices") or ()
                usage = decode_usage(chunk.get("usage"))
                for choice in choices:
                    self._add(choice, texts, others, calls, delta)
            except GaiaError as failure:
                self.failure = failure
                break
            except (ValueError, TypeError, KeyError, AttributeError):
                self.failure = errors.nonsense(self._provider, "a chunk that is none")
                break
            if usage is not None:
                delta.usage, delta.served = usage, told_tier(chunk)
            if self._show_usage or "usage" not in chunk:
                records.append(event)
            elif choices or usage is None:
                records.append(_without_usage(event, chunk))
        delta.text, delta.other_choices, delta.tool_calls = "".join(texts), others, calls
        delta.records = b"".join([_record(event) for event in records])
        delta.is_idle = not self._began
        return delta if delta.records or delta.usage is not None else None

    def check_end(self) -> None:
        """Raises the failure, or the error of a stream that was over before the reply was."""
        if self.failure is not None:
            raise self.failure
        # Some endpoints leave the end marker out: every choice that began has come to its end then.
        finished = self._finished.values()
        if not any(finished) or not (self.done or all(finished)):
            raise errors.cut(self._provider)

    def _load(self, sent: bytes) -> tuple[dict[str, Any], bytes]:
        chunk, event = self._halves.load(sent)
        if chunk.get("error"):
            raise errors.from_stream(self._provider, chunk["error"], self._setting)
        return chunk, event

    def _add(
        self,
        choice: Mapping[str, Any],
        texts: list[str],
        others: list[tuple[int, str]],
        calls: list[ToolCallDelta],
        delta: Delta,
    ) -> None:
        index, added, reason = choice.get("index") or 0, choice.get("delta") or {}, choice.get("finish_reason")
        piece = _said(added)
        if not self._began:
            self._began = bool(reason) or any(value for name, value in added.items() if name != "role")
        if not index and (thought := _thought(added)):
            delta.thinking += thought
        if audio := added.get("audio"):
            delta.kept_ids = (*delta.kept_ids, *told_ids(audio.get("id")))
        if reason:
            self._finished[index] = True
        else:
            self._finished.setdefault(index, False)
        if index:
            if piece:
                others.append((int(index), piece))
            return
        if piece:
            texts.append(piece)
            delta.is_refusal = delta.is_refusal or _refuses(added)
        for call in added.get("tool_calls") or ():
            function, call_id = call.get("function") or {}, text(call.get("id") or "")
            calls.append(
                ToolCallDelta(
                    self._number(int(call.get("index") or 0), call_id),
                    call_id,
                    text(function.get("name") or ""),
                    _arguments(function),
                )
            )
        if reason:
            delta.finish_reason = _REASONS.get(reason, FinishReason.STOP)

    def _number(self, told: int, call_id: str) -> int:
        """Returns a call's number among the calls. Some endpoints tell each by the same one, and a new id."""
        known = self._calls.get(told)
        if known is None or (call_id and known[1] and call_id != known[1]):
            highest = max((number for number, _ in self._calls.values()), default=-1)
            self._calls[told] = known = (told if known is None and told > highest else highest + 1, call_id)
        return known[0]


def _said(message: Mapping[str, Any]) -> str:
    """The text of a message, or of a piece of one; of sound it is what was heard. Some endpoints tell it in parts."""
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(text(part["text"]) for part in content if part["type"] == "text")
    audio = message.get("audio") or {}
    return text(content or message.get("refusal") or audio.get("transcript") or "")


def _arguments(function: Mapping[str, Any]) -> str:
    """The arguments of a call: JSON as text. Some endpoints tell the JSON itself."""
    arguments = function.get("arguments")
    if isinstance(arguments, dict):
        return orjson.dumps(arguments).decode()
    return "" if arguments is None else text(arguments)


def _refuses(message: Mapping[str, Any]) -> bool:
    """Whether the text of a message, or of a piece of one, is a refusal."""
    return bool(message.get("refusal")) and not message.get("content")


def _without_usage(event: bytes, chunk: dict[str, Any]) -> bytes:
    """Returns a chunk without the usage, which Gaia asked for and not the client."""
    # As most endpoints write a usage that is still to come; inside of a text the quotes would be escaped.
    shorter = event.replace(b',"usage":null', b"")
    if b'"usage"' not in shorter:
        return shorter
    del chunk["usage"]
    return orjson.dumps(chunk)


def _thought(said: Mapping[str, Any]) -> str:
    """What the model thought, as other endpoints of this dialect tell it; OpenAI itself keeps it to itself."""
    thought = said.get("reasoning_content") or said.get("reasoning")
    return thought if isinstance(thought, str) else ""


def _record(event: bytes) -> bytes:
    return b"data: " + (event.replace(b"\n", b"\ndata: ") if b"\n" in event else event) + b"\n\n"


def _body(turn: Turn, max_tokens_field: str) -> dict[str, Any]:
    body: dict[str, Any] = {"messages": _messages(turn.messages)}
    if turn.max_tokens is not None:
        body[max_tokens_field] = turn.max_tokens
    for name in ("temperature", "top_p", "reasoning_effort", "parallel_tool_calls"):
        value = getattr(turn, name)
        if value is not None:
            body[name] = value
    if turn.stop:
        body["stop"] = list(turn.stop)
    if turn.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": _without_none(
                    {
                        "name": tool.name,
                        "description": tool.description or None,
                        "parameters": tool.parameters,
                        "strict": tool.strict,
                    }
                ),
            }
            for tool in turn.tools
        ]
    if turn.tool_choice is not None:
        body["tool_choice"] = _tool_choice(turn.tool_choice)
    if turn.response_schema is not None:
        schema = turn.response_schema
        described = {"name": schema.name, "schema": schema.schema, "strict": schema.strict}
        body["response_format"] = {"type": "json_schema", "json_schema": _without_none(described)}
    if turn.end_user is not None:
        body["user"] = turn.end_user
    return body


def _messages(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """A tool's message takes text only: what else it showed stands in a message of the user after all results."""
    encoded: list[dict[str, Any]] = []
    shown: list[Part] = []
    for message in messages:
        if message.role is Role.TOOL:
            encoded.append(_result(message))
            shown += [part for part in message.parts if isinstance(part, Image | Document)]
        elif not shown:
            encoded.append(_message(message))
        else:
            if message.role is Role.USER:
                encoded.append(_message(replace(message, parts=(*shown, *message.parts))))
            else:
                encoded += [_message(Message(Role.USER, tuple(shown))), _message(message)]
            shown = []
    if shown:
        encoded.append(_message(Message(Role.USER, tuple(shown))))
    return encoded


def _result(message: Message) -> dict[str, Any]:
    # There is no field that says that the tool failed; the model must learn it from the text.
    said = f"Error: {message.text}" if message.is_error else message.text
    return {"role": "tool", "tool_call_id": message.tool_call_id, "content": said}


def _message(message: Message) -> dict[str, Any]:
    encoded: dict[str, Any] = {"role": message.role.value}
    # What another provider's model thought says nothing to this one.
    parts = [part for part in message.parts if not isinstance(part, Thinking)]
    if all(isinstance(part, Text) for part in parts):
        encoded["content"] = message.text
    else:
        encoded["content"] = [_part(part) for part in parts]
    if message.tool_calls:
        encoded["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    return encoded


def _part(part: Text | Image | Document) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, Document):
        return {"type": "file", "file": _file(part)}
    return {"type": "image_url", "image_url": _image(part)}


def _file(document: Document) -> dict[str, Any]:
    if document.url:
        raise InvalidArgument.field("messages", "a document must be sent as base64 data for this model's provider")
    name = document.name or "document"
    return {"filename": name, "file_data": f"data:{document.media_type};base64,{document.data}"}


def _image(image: Image) -> dict[str, Any]:
    url = image.url or f"data:{image.media_type};base64,{image.data}"
    return {"url": url, "detail": image.detail} if image.detail else {"url": url}


def _tool_choice(choice: ToolChoice) -> Any:
    if choice.mode is ToolMode.NAMED:
        return {"type": "function", "function": {"name": choice.name}}
    return choice.mode.value


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
