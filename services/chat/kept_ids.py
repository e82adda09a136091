"""What a provider keeps for the account that all users share: replies, their items, sound, sandboxes.

A request may name such a thing by its id only if the same user was told it; to everybody else it is not there. Files,
vector stores and prompts are no such things: only the operator makes them, for all.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from services.chat.told_faults import details
from services.chat.turn import Dialect, Original
from shared.errors import GaiaError, NotFound, Violation

MOST_IDS = 1000
"""Ids of one reply that are remembered, and that one request may name: more items than a response has."""

KEPT_IDS_DAYS = 31
"""How long an id is remembered after it was last told: OpenAI keeps its replies and Anthropic its sandboxes for 30 days
at the most, OpenAI its sandboxes for 20 minutes without use, its sound for less. What is named later is not there."""

_ID = re.compile(r"[!-~]{1,255}")
_WHOLE = frozenset(
    {
        "message",
        "apply_patch_call",
        "custom_tool_call",
        "function_call",
        "local_shell_call",
        "mcp_approval_response",
        "shell_call",
    }
)
"""Types of items that say all there is to them, whatever their id; so do the outputs of tools."""
_THREAD = "thread.previous_message_id"
_REASONS = {
    "previous_response_id": "PREVIOUS_RESPONSE_NOT_FOUND",
    "conversation": "CONVERSATION_NOT_FOUND",
}


def told_ids(*found: Any) -> tuple[str, ...]:
    """Returns what of some values of a reply can be an id, each once."""
    usable = dict.fromkeys(one for one in found if isinstance(one, str) and _ID.fullmatch(one))
    return tuple(usable)[:MOST_IDS]


def named_ids(original: Original) -> Mapping[str, str]:
    """Returns the ids in a request of what its provider keeps, with the places where they stand."""
    body = original.body
    match original.dialect:
        case Dialect.RESPONSES:
            named = _in_responses(body)
        case Dialect.MESSAGES:
            named = _in_anthropics(body)
        case Dialect.CHAT_COMPLETIONS:
            named = _in_messages(body.get("messages"))
    found: dict[str, str] = {}
    for place, one in named:
        found.setdefault(one, place)
    return found


def not_told(named: Mapping[str, str], told: Collection[str]) -> GaiaError | None:
    """Returns the error for the first id of a request that its user was not told, None where there is none."""
    for one, place in named.items():
        if one not in told:
            what = f"there is no {one[:255]} that was told to you; "
            return NotFound(
                f"{place}: {what}send the conversation itself, or the id of a reply that you got",
                reason=_REASONS.get(place, "NOT_FOUND"),
                # The SDK sends the whole conversation when it reads this.
                metadata=details("thread_not_found") if place == _THREAD else None,
                violations=(Violation(place, f"{what}send the conversation itself"),),
            )
    return None


def _in_responses(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if isinstance(previous := body.get("previous_response_id"), str) and previous:
        yield "previous_response_id", previous
    conversation = body.get("conversation")
    if isinstance(conversation, dict):
        conversation = str(conversation.get("id"))
    if conversation:
        yield "conversation", conversation
    for number, tool in enumerate(body.get("tools") or ()):
        place = f"tools[{number}]"
        yield from _in_container(f"{place}.container", tool.get("container"))
        if isinstance(environment := tool.get("environment"), dict):
            yield from _in_container(f"{place}.environment.container_id", environment.get("container_id"))
    items = body.get("input")
    if not isinstance(items, list):
        return
    for number, item in enumerate(items):
        place = f"input[{number}]"
        kind = str(item.get("type") or ("message" if "role" in item else "item_reference"))
        yield from _in_container(f"{place}.container_id", item.get("container_id"))
        if isinstance(environment := item.get("environment"), dict):
            yield from _in_container(f"{place}.environment.container_id", environment.get("container_id"))
        is_whole = kind in _WHOLE or kind.endswith("_output") or item.get("encrypted_content")
        if not is_whole and isinstance(item.get("id"), str):
            yield f"{place}.id", item["id"]


def _in_anthropics(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from _in_container("container", body.get("container"))
    thread = body.get("thread")
    if isinstance(thread, dict) and isinstance(previous := thread.get("previous_message_id"), str):
        yield _THREAD, previous


def _in_messages(messages: Any) -> Iterator[tuple[str, str]]:
    """Sound that the model made is named by its id; messages that are no objects were refused before."""
    for number, message in enumerate(messages):
        if isinstance(audio := message.get("audio"), dict) and isinstance(audio.get("id"), str):
            yield f"messages[{number}].audio.id", audio["id"]


def _in_container(place: str, value: Any) -> Iterator[tuple[str, str]]:
    """A sandbox is named by a string, or by an object with its id; an object without one asks for a new one."""
    if isinstance(value, dict):
        value = value.get("id")
    if isinstance(value, str) and value:
        yield place, value
