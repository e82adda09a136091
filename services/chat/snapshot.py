"""An answer as it is kept, so that the same request can be answered with it again."""

import datetime as dt
import uuid
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from services.chat.turn import FinishReason, Reply, Thinking, ToolCall, Usage
from shared.idempotency import TOO_LARGE, too_large

MAX_BYTES = 8 * 1024 * 1024
"""Largest answer that is kept: a longer one is not told again."""


@dataclass(frozen=True, slots=True)
class Told:
    """An answer that was given, and what its client was told beside.

    `conversation_id` is None for the user's default conversation where it did not exist before. `records` and
    `last_record` are a stream in its own dialect.
    """

    call_id: uuid.UUID
    created_at: dt.datetime
    reply: Reply
    provider: str
    model: str
    fallback_used: bool
    total_ms: int
    conversation_id: uuid.UUID | None = None
    records: bytes = b""
    last_record: bytes = b""


def encode(told: Told) -> bytes:
    """Encodes an answer; TOO_LARGE where it is too large to be kept."""
    reply = told.reply
    encoded = orjson.dumps(
        {
            "call_id": str(told.call_id),
            "created_at": told.created_at,
            "provider": told.provider,
            "model": told.model,
            "fallback_used": told.fallback_used,
            "total_ms": told.total_ms,
            "conversation_id": told.conversation_id and str(told.conversation_id),
            "text": reply.text,
            "tool_calls": [asdict(call) for call in reply.tool_calls],
            "finish_reason": reply.finish_reason.value,
            "usage": None if reply.usage is None else reply.usage.stated(),
            "thinking": [asdict(one) for one in reply.thinking],
            "other_choices": list(reply.other_choices),
            "is_refusal": reply.is_refusal,
            "body": reply.body.decode(),
            "records": told.records.decode(),
            "last_record": told.last_record.decode(),
        }
    )
    return encoded if len(encoded) <= MAX_BYTES else TOO_LARGE


def decode(data: bytes) -> Told:
    """Decodes an answer. Raises AlreadyExists for one that was too large."""
    if data == TOO_LARGE:
        raise too_large()
    kept: dict[str, Any] = orjson.loads(data)
    conversation_id = kept["conversation_id"]
    return Told(
        call_id=uuid.UUID(kept["call_id"]),
        created_at=dt.datetime.fromisoformat(kept["created_at"]),
        reply=Reply(
            kept["text"],
            tool_calls=[ToolCall(**call) for call in kept["tool_calls"]],
            finish_reason=FinishReason(kept["finish_reason"]),
            usage=None if kept["usage"] is None else Usage(**kept["usage"]),
            thinking=[Thinking(**one) for one in kept["thinking"]],
            body=kept["body"].encode(),
            other_choices=kept["other_choices"],
            # Answers of the release before do not say.
            is_refusal=kept.get("is_refusal", False),
        ),
        provider=kept["provider"],
        model=kept["model"],
        fallback_used=kept["fallback_used"],
        total_ms=kept["total_ms"],
        conversation_id=uuid.UUID(conversation_id) if conversation_id else None,
        records=kept["records"].encode(),
        last_record=kept["last_record"].encode(),
    )
