"""Replies and deltas out of what Anthropic's messages API sends. Thinking is not part of the reply's text.

For a client of this dialect the bytes are passed on as they came; what they say is read beside.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from services.chat.kept_ids import told_ids
from services.chat.providers import errors
from services.chat.providers.checked import count, text
from services.chat.providers.halves import Halves
from services.chat.providers.server_tools import with_message_tools
from services.chat.tiers import told_tier
from services.chat.turn import (
    Delta,
    FinishReason,
    Reply,
    Served,
    Thinking,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from shared.errors import GaiaError

_ASIDE = frozenset({"compaction", "advisor_message", "fallback_message"})
"""Kinds of iterations that are not in the counts of a message, or were another model's."""
_REASONS: Mapping[str, FinishReason] = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "pause_turn": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.CONTENT_FILTER,
}


_THINKING = frozenset({"thinking", "redacted_thinking", "thinking_delta", "signature_delta"})
"""Types of the blocks, and of their pieces, that are thinking."""


def decode_reply(provider: str, body: bytes, *, is_kept: bool = False) -> Reply:
    """Decodes a whole reply. `is_kept`: Anthropic keeps it, to go on from. Raises BadUpstream for what is none."""
    try:
        decoded = orjson.loads(body)
        if decoded.get("type") == "error":
            raise errors.from_stream(provider, decoded.get("error"))
        blocks = decoded["content"]
        return Reply(
            text="".join([block["text"] for block in blocks if block["type"] == "text"]),
            tool_calls=[
                ToolCall(text(block["id"]), text(block["name"]), orjson.dumps(block["input"]).decode())
                for block in blocks
                if block["type"] == "tool_use"
            ],
            finish_reason=_REASONS.get(decoded["stop_reason"], FinishReason.STOP),
            usage=_usage(
                {}, decoded["usage"], [block["name"] for block in blocks if block["type"] == "server_tool_use"]
            ),
            served=told_tier(decoded["usage"]),
            thinking=_thinking_in(blocks),
            body=body,
            kept_ids=(*_message_id(decoded, is_kept=is_kept), *_kept_ids(decoded)),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise errors.nonsense(provider, "something that is no message") from error


def _thinking_in(blocks: Sequence[Mapping[str, Any]]) -> Sequence[Thinking]:
    found, said = [], 0
    for block in blocks:
        match block["type"]:
            case "text":
                said += len(block["text"])
            case "thinking":
                found.append(Thinking(text(block["thinking"]), text(block.get("signature") or ""), at=said))
            case "redacted_thinking":
                found.append(Thinking(redacted=text(block["data"]), at=said))
    return found


def decode_count(provider: str, body: bytes) -> int:
    """Decodes how many tokens a request has. Raises BadUpstream for what is no count."""
    try:
        return count(orjson.loads(body)["input_tokens"])
    except (ValueError, TypeError, KeyError) as error:
        raise errors.nonsense(provider, "something that is no count of tokens") from error


class EventDecoder:
    """Decodes the events of one stream. `keeps_records`: the client is to get them as they came.

    `is_kept` is as with `decode_reply`.
    """

    def __init__(self, provider: str, setting: str = "", *, keeps_records: bool = False, is_kept: bool = False) -> None:
        self._provider = provider
        self._setting = setting
        self._keeps_records = keeps_records
        self._is_kept = is_kept
        self._usage: Mapping[str, Any] = {}
        self._tools: dict[int, int] = {}  # a tool call's number among the calls, by its number among the blocks
        self._whole_inputs: dict[int, str] = {}
        self._ran: list[str] = []
        self._finished = False
        self._halves = Halves()
        self._began = False
        self.done = False
        self.failure: GaiaError | None = None

    def decode(self, events: Sequence[bytes]) -> list[Delta]:
        """Decodes events that arrived together: one delta, several where thinking begins or ends among them, or none.

        An error or nonsense among them is put down as `failure`, so that what came before it is not lost.
        """
        gathered = [_Gathered()]
        for sent in events:
            try:
                event, data = self._halves.load(sent)
                if gathered[-1].ended_thinking or (gathered[-1].spoke and _is_thinking(event)):
                    gathered.append(_Gathered())
                self._take(event, gathered[-1])
                if self._keeps_records:
                    gathered[-1].keep(event["type"], data, is_last=self.done)
            except GaiaError as failure:
                self.failure = failure
            except (ValueError, TypeError, KeyError, AttributeError):
                self.failure = errors.nonsense(self._provider, "an event that is none")
            if self.done or self.failure is not None:
                break
        deltas = [delta for one in gathered if (delta := one.delta()) is not None]
        if not self._began:
            for delta in deltas:
                delta.is_idle = True
        return deltas

    def check_end(self) -> None:
        """Raises the failure, or the error of a stream that was over before the reply was."""
        if self.failure is not None:
            raise self.failure
        if not (self.done and self._finished):
            raise errors.cut(self._provider)

    def _take(self, event: Mapping[str, Any], gathered: "_Gathered") -> None:
        self._began = self._began or _says(event)
        match event["type"]:
            case "content_block_delta":
                self._take_piece(event["index"], event["delta"], gathered)
            case "content_block_start":
                self._take_block(event["index"], event["content_block"], gathered)
            case "content_block_stop":
                whole = self._whole_inputs.pop(event["index"], "")
                if whole:
                    gathered.calls.append(ToolCallDelta(self._tools[event["index"]], arguments=whole))
            case "message_start":
                self._usage = event["message"]["usage"]
                gathered.usage, gathered.served = _usage({}, self._usage), told_tier(self._usage)
                gathered.kept_ids += _message_id(event["message"], is_kept=self._is_kept)
                gathered.kept_ids += _kept_ids(event["message"])
            case "message_delta":
                # The counts of this event are those of the whole message so far.
                gathered.usage = _usage(self._usage, event["usage"], self._ran)
                gathered.kept_ids += _kept_ids(event["delta"])
                if reason := event["delta"].get("stop_reason"):
                    self._finished = True
                    gathered.finish_reason = _REASONS.get(reason, FinishReason.STOP)
            case "message_stop":
                self.done = True
            case "error":
                raise errors.from_stream(self._provider, event.get("error"), self._setting)
            case _:
                pass  # `ping`, and kinds to come, which the API asks clients to pass over

    def _take_block(self, index: int, block: Mapping[str, Any], gathered: "_Gathered") -> None:
        match block["type"]:
            case "text":
                gathered.texts.append(text(block.get("text") or ""))
            case "tool_use":
                self._tools[index] = len(self._tools)
                gathered.calls.append(ToolCallDelta(self._tools[index], text(block["id"]), text(block["name"])))
                # Arguments come in pieces; a call without pieces has them here, or has none.
                self._whole_inputs[index] = orjson.dumps(block.get("input") or {}).decode()
            case "server_tool_use":
                self._ran.append(text(block["name"]))
            case "thinking":
                gathered.thoughts.append(text(block.get("thinking") or ""))
            case "redacted_thinking":
                gathered.redacted = text(block["data"])

    def _take_piece(self, index: int, piece: Mapping[str, Any], gathered: "_Gathered") -> None:
        match piece["type"]:
            case "text_delta":
                gathered.texts.append(text(piece["text"]))
            case "input_json_delta" if index in self._tools and piece["partial_json"]:
                self._whole_inputs.pop(index, None)
                gathered.calls.append(ToolCallDelta(self._tools[index], arguments=text(piece["partial_json"])))
            case "thinking_delta":
                gathered.thoughts.append(text(piece["thinking"]))
            case "signature_delta":
                gathered.signature = text(piece["signature"])


@dataclass(slots=True)
class _Gathered:
    """What events that arrived together say, piece by piece."""

    texts: list[str] = field(default_factory=list)
    calls: list[ToolCallDelta] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    records: list[bytes] = field(default_factory=list)
    signature: str = ""
    redacted: str = ""
    last_record: bytes = b""
    finish_reason: FinishReason | None = None
    usage: Usage | None = None
    kept_ids: tuple[str, ...] = ()
    served: Served = ()

    @property
    def ended_thinking(self) -> bool:
        """Whether a piece of thinking is complete, so that the next one needs a delta of its own."""
        return bool(self.signature or self.redacted)

    @property
    def spoke(self) -> bool:
        """Whether there is more than thinking, which a delta's thinking stands before."""
        return bool(self.texts or self.calls)

    def keep(self, kind: str, data: bytes, *, is_last: bool) -> None:
        """Keeps an event as it came."""
        record = b"event: %b\ndata: %b\n\n" % (kind.encode(), data)
        if is_last:
            self.last_record = record
        else:
            self.records.append(record)

    def delta(self) -> Delta | None:
        """Returns it all as a delta; None where nothing was said."""
        delta = Delta(
            text="".join(self.texts),
            tool_calls=self.calls,
            finish_reason=self.finish_reason,
            usage=self.usage,
            thinking="".join(self.thoughts),
            signature=self.signature,
            redacted=self.redacted,
            records=b"".join(self.records),
            last_record=self.last_record,
            kept_ids=self.kept_ids,
            served=self.served,
        )
        says = delta.text or self.calls or delta.thinking or self.ended_thinking or delta.records or delta.last_record
        return delta if says or self.finish_reason is not None or self.usage is not None else None


def _is_thinking(event: Mapping[str, Any]) -> bool:
    inner = event.get("delta") if event["type"] == "content_block_delta" else event.get("content_block")
    return isinstance(inner, dict) and inner.get("type") in _THINKING


def _message_id(message: Mapping[str, Any], *, is_kept: bool) -> tuple[str, ...]:
    return told_ids(message.get("id")) if is_kept else ()


def _says(event: Mapping[str, Any]) -> bool:
    """Whether an event says more than that a reply, or a piece of its text, begins."""
    kind = event["type"]
    if kind == "content_block_start":
        return event["content_block"]["type"] not in ("text", "thinking")
    if kind == "content_block_delta":
        return any(value for name, value in event["delta"].items() if name != "type")
    return kind not in ("message_start", "ping")


def _kept_ids(message: Mapping[str, Any]) -> tuple[str, ...]:
    """The sandbox that the message's tools ran in."""
    container = message.get("container")
    return told_ids(container.get("id")) if isinstance(container, dict) else ()


def _usage(first: Mapping[str, Any], last: Mapping[str, Any], ran: Sequence[str] = ()) -> Usage:
    """`ran` are the names of the tools that Anthropic ran."""

    def tokens(name: str) -> int:
        value = last.get(name)
        return count(first.get(name) if value is None else value)

    cached = tokens("cache_read_input_tokens")
    written = tokens("cache_creation_input_tokens")
    creation = last.get("cache_creation") or first.get("cache_creation") or {}
    details = last.get("output_tokens_details") or {}
    aside = [one for one in last.get("iterations") or first.get("iterations") or () if one.get("type") in _ASIDE]
    if aside:
        return _usage_aside(_usage({**first, "iterations": None}, {**last, "iterations": None}, ran), aside)
    counted = Usage(
        # What was read from the cache or written to it is counted beside the rest.
        input_tokens=tokens("input_tokens") + cached + written,
        output_tokens=tokens("output_tokens"),
        cached_input_tokens=cached,
        reasoning_tokens=count(details.get("thinking_tokens")),
        cache_write_tokens=written,
        cache_write_1h_tokens=min(count(creation.get("ephemeral_1h_input_tokens")), written),
    )
    return with_message_tools(counted, last.get("server_tool_use") or first.get("server_tool_use"), ran)


def _usage_aside(counted: Usage, aside: Sequence[Mapping[str, Any]]) -> Usage:
    """Adds what is not in the counts of a message: summing its conversation up, and words of another model."""
    for one in aside:
        if one["type"] == "compaction":
            counted += _usage({}, one)
        else:
            counted = replace(counted, unpriced_calls=counted.unpriced_calls + 1)
    return counted
