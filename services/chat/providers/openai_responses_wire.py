"""OpenAI's responses as OpenAI speaks them: a client's own request goes out, what comes back is passed on as it is.

Requests are encoded, and of what comes back only that is decoded which is metered, stored, or an error.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from services.chat.kept_ids import told_ids
from services.chat.providers import errors
from services.chat.providers.base import Progress
from services.chat.providers.checked import count, text
from services.chat.providers.halves import Halves
from services.chat.providers.server_tools import with_response_tools
from services.chat.tiers import told_tier
from services.chat.turn import Delta, FinishReason, Original, Reply, ToolCall, ToolCallDelta, UnfinishedReply, Usage
from shared.errors import GaiaError

PATH = "/responses"

_UNDER_WAY = frozenset({"queued", "in_progress"})
_OVER = frozenset({"completed", "failed", "cancelled", "incomplete"})
_ENDS = frozenset({"response.completed", "response.incomplete"})
_REASONS: Mapping[str, FinishReason] = {
    "max_output_tokens": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
}
_BEGINNINGS = frozenset(
    {
        "keepalive",
        "response.created",
        "response.queued",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
    }
)
"""Events that may come long before the first one that says something."""
_STATUSES: Mapping[str, int] = {"server_error": 500, "rate_limit_exceeded": 429, "vector_store_timeout": 504}
"""Of a response that failed, by its error's code; all other codes say what is wrong with the request."""
_NAME = re.compile(r"[a-z0-9_.]{1,100}")


def encode_request(original: Original, model: str, *, stream: bool) -> bytes:
    """Encodes a client's request, for the model by the name that OpenAI knows."""
    body = {**original.body, "model": model}
    if stream:
        body["stream"] = True
    return orjson.dumps(body)


def decode_reply(provider: str, body: bytes, *, may_go_on: bool = False) -> Reply:
    """Decodes a whole reply; an UnfinishedReply where the provider `may_go_on` in the background, and does.

    Raises BadUpstream for what is none, and the error of a response that failed.
    """
    try:
        response = orjson.loads(body)
        if "status" not in response and response.get("error"):
            raise errors.from_stream(provider, response["error"])
        if response["status"] == "failed":
            failure, used = _failure(provider, response.get("error")), _usage(response)
            raise failure from (None if used is None else errors.Reported(used))
        if may_go_on and response["status"] in _UNDER_WAY:
            [told] = told_ids(response["id"])
            return UnfinishedReply("", body=body, kept_ids=(told,), response_id=told)
        if response["status"] not in ("completed", "incomplete"):
            raise ValueError("the response is not whole")
        return _reply(response, body)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise errors.nonsense(provider, "something that is no response") from error


def decode_progress(provider: str, body: bytes) -> Progress:
    """Decodes a response that the provider keeps, in whatever state it is. Raises BadUpstream for what is none."""
    try:
        response = orjson.loads(body)
        status = text(response["status"])
        began, ended = response.get("created_at"), response.get("completed_at")
        has_times = isinstance(began, int | float) and isinstance(ended, int | float)
        return Progress(
            reply=_reply(response, body),
            is_over=status in _OVER,
            has_failed=status == "failed",
            was_cancelled=status == "cancelled",
            total_ms=max(0.0, (ended - began) * 1000) if has_times else None,
            error=str((response.get("error") or {}).get("code") or "") if status == "failed" else "",
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise errors.nonsense(provider, "something that is no response") from error


def _reply(response: Mapping[str, Any], body: bytes) -> Reply:
    """Reads what is there of a response."""
    texts: list[str] = []
    calls: list[ToolCall] = []
    for item in response["output"]:
        if item["type"] == "message":
            texts += [text(part.get("text") or part.get("refusal") or "") for part in item["content"] or ()]
        elif item["type"] == "function_call":
            calls.append(ToolCall(text(item["call_id"]), text(item["name"]), text(item["arguments"])))
    return Reply(
        text="".join(texts),
        tool_calls=calls,
        finish_reason=_finish_reason(response, has_calls=bool(calls)),
        usage=_usage(response),
        body=body,
        kept_ids=_kept_ids(response),
        served=told_tier(response),
    )


class ResponseDecoder:
    """Decodes the events of one stream."""

    def __init__(self, provider: str, *, setting: str = "") -> None:
        self._provider = provider
        self._setting = setting
        self._calls: set[int] = set()
        self._untold: set[int] = set()
        self._halves = Halves()
        self._began = False
        self.done = False
        self.failure: GaiaError | None = None

    def decode(self, events: Sequence[bytes]) -> Delta | None:
        """Decodes events that arrived together; None where they add nothing.

        An error or nonsense among them is put down as `failure`, so that what came before it is not lost.
        """
        delta = Delta()
        texts: list[str] = []
        calls: list[ToolCallDelta] = []
        records: list[bytes] = []
        for sent in events:
            try:
                event, data = self._halves.load(sent)
                self._began = self._began or (event["type"] not in _BEGINNINGS and event.get("delta") != "")
                self._take(event, texts, calls, delta)
                record = _record(event["type"], data)
            except GaiaError as failure:
                self.failure = failure
            except (ValueError, TypeError, KeyError, AttributeError):
                self.failure = errors.nonsense(self._provider, "an event that is none")
            if self.failure is not None:
                break
            if self.done:
                delta.last_record = record
                break
            records.append(record)
        delta.text, delta.tool_calls, delta.records = "".join(texts), calls, b"".join(records)
        delta.is_idle = not self._began
        return delta if records or self.done or delta.usage is not None else None

    def check_end(self) -> None:
        """Raises the failure, or the error of a stream that was over before the reply was."""
        if self.failure is not None:
            raise self.failure
        if not self.done:
            raise errors.cut(self._provider)

    def _take(self, event: Mapping[str, Any], texts: list[str], calls: list[ToolCallDelta], delta: Delta) -> None:
        match event["type"]:
            case "response.output_text.delta" | "response.refusal.delta":
                texts.append(text(event["delta"]))
            case "response.function_call_arguments.delta":
                self._untold.discard(event["output_index"])
                calls.append(ToolCallDelta(count(event["output_index"]), arguments=text(event["delta"])))
            case "response.output_item.added" if event["item"]["type"] == "function_call":
                index, item = count(event["output_index"]), event["item"]
                self._calls.add(index)
                self._untold.add(index)
                calls.append(ToolCallDelta(index, text(item["call_id"]), text(item["name"])))
            case "response.output_item.done" if event["output_index"] in self._untold:
                # The arguments did not come in pieces.
                self._untold.discard(event["output_index"])
                calls.append(ToolCallDelta(event["output_index"], arguments=text(event["item"]["arguments"])))
            case kind if kind in _ENDS:
                response = event["response"]
                delta.finish_reason = _finish_reason(response, has_calls=bool(self._calls))
                delta.usage, delta.served = _usage(response), told_tier(response)
                delta.kept_ids = _kept_ids(response)
                self.done = True
            case "response.created" | "response.queued":
                delta.kept_ids = told_ids((event.get("response") or {}).get("id"))
            case "response.failed":
                delta.usage, delta.served = _usage(event["response"]), told_tier(event["response"])
                raise _failure(self._provider, event["response"].get("error"), self._setting)
            case "error":
                raise errors.from_stream(self._provider, event.get("error") or event, self._setting)
            case _:
                pass  # the many kinds that add nothing to what is metered or stored, and those to come


def _record(kind: str, data: bytes) -> bytes:
    if not _NAME.fullmatch(kind):
        raise ValueError("the type of an event is no name")
    lines = data.replace(b"\n", b"\ndata: ") if b"\n" in data else data
    return b"event: " + kind.encode() + b"\ndata: " + lines + b"\n\n"


def _kept_ids(response: Mapping[str, Any]) -> Sequence[str]:
    items = response.get("output") or ()
    return told_ids(
        response.get("id"),
        *(item.get("id") for item in items),
        *(item["container_id"] for item in items if "container_id" in item),
        *(item["environment"].get("container_id") for item in items if isinstance(item.get("environment"), dict)),
    )


def _finish_reason(response: Mapping[str, Any], *, has_calls: bool) -> FinishReason:
    if response["status"] == "incomplete":
        details = response.get("incomplete_details") or {}
        return _REASONS.get(str(details.get("reason")), FinishReason.STOP)
    return FinishReason.TOOL_CALLS if has_calls else FinishReason.STOP


def _failure(provider: str, error: Any, setting: str = "") -> GaiaError:
    told = error if isinstance(error, dict) else {"code": "server_error"}
    status = _STATUSES.get(str(told.get("code")), 400)
    return errors.from_status(provider, status, str(told.get("message") or "no message"), setting=setting)


def _usage(response: Mapping[str, Any]) -> Usage | None:
    usage = response.get("usage")
    if not usage:
        return None
    read = usage.get("input_tokens_details") or {}
    written = usage.get("output_tokens_details") or {}
    tokens = Usage(
        input_tokens=count(usage["input_tokens"]),
        output_tokens=count(usage["output_tokens"]),
        cached_input_tokens=count(read.get("cached_tokens")),
        cache_write_tokens=count(read.get("cache_write_tokens")),
        reasoning_tokens=count(written.get("reasoning_tokens")),
    )
    return with_response_tools(tokens, response)
