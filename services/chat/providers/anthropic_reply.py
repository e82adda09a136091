"""Replies and deltas out of what Anthropic's messages API sends. Thinking is not part of the reply's text."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from services.chat.providers import errors
from services.chat.providers.checked import count, text
from services.chat.turn import Delta, FinishReason, Reply, ToolCall, ToolCallDelta, Usage
from shared.errors import GaiaError

_REASONS: Mapping[str, FinishReason] = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "pause_turn": FinishReason.STOP,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.CONTENT_FILTER,
}


def decode_reply(provider: str, body: bytes) -> Reply:
    """Decodes a whole reply. Raises BadUpstream for what is none."""
    try:
        decoded = orjson.loads(body)
        blocks = decoded["content"]
        return Reply(
            text="".join([block["text"] for block in blocks if block["type"] == "text"]),
            tool_calls=[
                ToolCall(text(block["id"]), text(block["name"]), orjson.dumps(block["input"]).decode())
                for block in blocks
                if block["type"] == "tool_use"
            ],
            finish_reason=_REASONS.get(decoded["stop_reason"], FinishReason.STOP),
            usage=_usage({}, decoded["usage"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise errors.nonsense(provider, "something that is no message") from error


class EventDecoder:
    """Decodes the events of one stream."""

    def __init__(self, provider: str, setting: str = "") -> None:
        self._provider = provider
        self._setting = setting
        self._usage: Mapping[str, Any] = {}
        self._tools: dict[int, int] = {}  # a tool call's number among the calls, by its number among the blocks
        self._whole_inputs: dict[int, str] = {}
        self._finished = False
        self.done = False
        self.failure: GaiaError | None = None

    def decode(self, events: Sequence[bytes]) -> Delta | None:
        """Decodes events that arrived together; None where they add nothing.

        An error or nonsense among them is put down as `failure`, so that what came before it is not lost.
        """
        delta = Delta()
        texts: list[str] = []
        calls: list[ToolCallDelta] = []
        for data in events:
            try:
                event = orjson.loads(data)
                self._take(event, texts, calls, delta)
            except GaiaError as failure:
                self.failure = failure
            except (ValueError, TypeError, KeyError, AttributeError):
                self.failure = errors.nonsense(self._provider, "an event that is none")
            if self.done or self.failure is not None:
                break
        delta.text, delta.tool_calls = "".join(texts), calls
        return delta if delta.text or calls or delta.finish_reason is not None or delta.usage is not None else None

    def check_end(self) -> None:
        """Raises the failure, or the error of a stream that was over before the reply was."""
        if self.failure is not None:
            raise self.failure
        if not (self.done and self._finished):
            raise errors.cut(self._provider)

    def _take(self, event: Mapping[str, Any], texts: list[str], calls: list[ToolCallDelta], delta: Delta) -> None:
        match event["type"]:
            case "content_block_delta":
                self._take_piece(event["index"], event["delta"], texts, calls)
            case "content_block_start":
                self._take_block(event["index"], event["content_block"], texts, calls)
            case "content_block_stop":
                whole = self._whole_inputs.pop(event["index"], "")
                if whole:
                    calls.append(ToolCallDelta(self._tools[event["index"]], arguments=whole))
            case "message_start":
                self._usage = event["message"]["usage"]
                delta.usage = _usage({}, self._usage)
            case "message_delta":
                # The counts of this event are those of the whole message so far.
                delta.usage = _usage(self._usage, event["usage"])
                if reason := event["delta"].get("stop_reason"):
                    self._finished = True
                    delta.finish_reason = _REASONS.get(reason, FinishReason.STOP)
            case "message_stop":
                self.done = True
            case "error":
                raise errors.from_stream(self._provider, event.get("error"), self._setting)
            case _:
                pass  # `ping`, and kinds to come, which the API asks clients to pass over

    def _take_block(self, index: int, block: Mapping[str, Any], texts: list[str], calls: list[ToolCallDelta]) -> None:
        if block["type"] == "text":
            texts.append(text(block.get("text") or ""))
        elif block["type"] == "tool_use":
            self._tools[index] = len(self._tools)
            calls.append(ToolCallDelta(self._tools[index], text(block["id"]), text(block["name"])))
            # Arguments come in pieces; a call without pieces has them here, or has none.
            self._whole_inputs[index] = orjson.dumps(block.get("input") or {}).decode()

    def _take_piece(self, index: int, piece: Mapping[str, Any], texts: list[str], calls: list[ToolCallDelta]) -> None:
        if piece["type"] == "text_delta":
            texts.append(text(piece["text"]))
        elif piece["type"] == "input_json_delta" and index in self._tools and piece["partial_json"]:
            self._whole_inputs.pop(index, None)
            calls.append(ToolCallDelta(self._tools[index], arguments=text(piece["partial_json"])))


def _usage(first: Mapping[str, Any], last: Mapping[str, Any]) -> Usage:
    def tokens(name: str) -> int:
        value = last.get(name)
        return count(first.get(name) if value is None else value)

    cached = tokens("cache_read_input_tokens")
    details = last.get("output_tokens_details") or {}
    return Usage(
        # What was read from the cache or written to it is counted beside the rest.
        input_tokens=tokens("input_tokens") + cached + tokens("cache_creation_input_tokens"),
        output_tokens=tokens("output_tokens"),
        cached_input_tokens=cached,
        reasoning_tokens=count(details.get("thinking_tokens")),
    )
