"""The requests and replies of version 1: Gaia's native fields and OpenAI's side by side."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from services.chat.dialects import openai_chat
from services.chat.dialects.base import Stamp
from services.chat.dialects.json_body import read_object
from services.chat.dialects.openai_chat_reply import DONE, ChunkWriter, completion
from services.chat.turn import Reply
from shared.errors import InvalidArgument, Violation


@dataclass(frozen=True, slots=True)
class CombinedRequest:
    """A request that was read, and checked as far as it is OpenAI's.

    `fields` is all that the client sent. `completion` is OpenAI's part of it where there are `messages`, else None; its
    `model` is empty where the client named none.
    """

    fields: Mapping[str, Any]
    completion: openai_chat.CompletionRequest | None
    stream: bool


def parse(data: bytes) -> CombinedRequest:
    """Reads a request. Raises InvalidArgument that names all fields that are wrong."""
    fields = read_object(data)
    if fields.get("stream") not in (None, True, False):
        raise InvalidArgument.field("stream", "must be true or false")
    stream = fields.get("stream") is True
    if fields.get("messages") is None:
        return CombinedRequest(fields, None, stream)
    if fields.get("message") is not None:
        raise InvalidArgument.of(
            Violation("message", "cannot be sent together with messages"),
            Violation("messages", "leave out one of both"),
        )
    known = {name: value for name, value in fields.items() if name in openai_chat.KNOWN}
    if not known.get("model"):
        known["model"] = openai_chat.UNNAMED
    return CombinedRequest(fields, openai_chat.checked(known), stream)


def encode(body: bytes, reply: Reply, *, provider: str, conversation_id: str, more: Mapping[str, Any]) -> bytes:
    """Adds Gaia's fields to the JSON of a chat completion."""
    combined = orjson.loads(body)
    if reply.usage is not None:
        usage = combined.get("usage") or {}
        counts = {"input_tokens": reply.usage.input_tokens, "output_tokens": reply.usage.output_tokens}
        combined["usage"] = {**usage, **counts, "total_tokens": reply.usage.total_tokens}
    own = {"response": reply.text, "provider": provider, "conversation_id": conversation_id}
    return orjson.dumps({**combined, **own, **more})


def encode_reply(
    reply: Reply,
    *,
    stamp: Stamp,
    model: str,
    provider: str,
    conversation_id: str,
    more: Mapping[str, Any],
) -> bytes:
    """Encodes the reply of the native chat."""
    body = completion(reply, stamp, model)
    return encode(body, reply, provider=provider, conversation_id=conversation_id, more=more)


def last_records(writer: ChunkWriter, reply: Reply, model: str, *, provider: str, conversation_id: str) -> bytes:
    """Returns the end of the native chat's stream: the chunk with the finish reason, and the end marker."""
    own = {"provider": provider, "conversation_id": conversation_id}
    return writer.last(reply.finish_reason, model, reply.usage, own) + DONE
