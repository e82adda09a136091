"""What is kept of conversations, as the domain knows it."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from services.chat.turn import Message, Reply, Role, ToolCall


@dataclass(frozen=True, slots=True)
class Loaded:
    """A conversation as it is stored: `id` is None for a default conversation that does not exist yet.

    `system_prompt` is the persona's, None where the user has no such persona. The messages are the newest, in order.
    """

    id: uuid.UUID | None
    system_prompt: str | None
    messages: Sequence[Message]


@dataclass(frozen=True, slots=True)
class Stored:
    """A message about to be stored. Provider, model, tokens and finish reason are a reply's."""

    role: Role
    content: str
    tool_calls: Sequence[ToolCall] = ()
    provider: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    finish_reason: str | None = None
    is_complete: bool = True


def stored_reply(reply: Reply, provider: str, model: str, *, is_complete: bool, keep_content: bool = True) -> Stored:
    """Makes what is stored of a reply; without `keep_content` only what it cost."""
    usage = reply.usage
    return Stored(
        role=Role.ASSISTANT,
        content=reply.text if keep_content else "",
        tool_calls=reply.tool_calls if keep_content else (),
        provider=provider,
        model=model,
        input_tokens=usage.input_tokens if usage else None,
        output_tokens=usage.output_tokens if usage else None,
        finish_reason=reply.finish_reason.value if is_complete else None,
        is_complete=is_complete,
    )
