"""What a model of another family thought, as reasoning items of OpenAI's responses, and back.

Its provider wants its thinking back as it was, with the proof of where it comes from, when a tool's result is sent.
The item's `encrypted_content`, which clients send back as it is, carries the proof, marked as Gaia's for OpenAI, which
cannot read it.
"""

from collections.abc import Mapping
from typing import Any

from services.chat.turn import Thinking

_SIGNED = "gaia:signed:"
_REDACTED = "gaia:redacted:"


def reasoning_item(thinking: Thinking, item_id: str) -> dict[str, Any]:
    """Makes the item of a piece of thinking."""
    summary = [{"type": "summary_text", "text": thinking.text}] if thinking.text else []
    return {"id": item_id, "type": "reasoning", "summary": summary, "encrypted_content": _proof(thinking)}


def is_gaias(item: Any) -> bool:
    """Whether an item of the input is thinking of a model of another family than OpenAI's."""
    if not isinstance(item, dict) or item.get("type") != "reasoning":
        return False
    proof = item.get("encrypted_content")
    return isinstance(proof, str) and proof.startswith((_SIGNED, _REDACTED))


def thinking_in(item: Mapping[str, Any]) -> Thinking:
    """Returns the thinking in an item that `is_gaias`."""
    proof: str = item["encrypted_content"]
    if proof.startswith(_REDACTED):
        return Thinking(redacted=proof.removeprefix(_REDACTED))
    text = "".join(part["text"] for part in item["summary"])
    return Thinking(text, proof.removeprefix(_SIGNED))


def _proof(thinking: Thinking) -> str | None:
    if thinking.redacted:
        return _REDACTED + thinking.redacted
    return _SIGNED + thinking.signature if thinking.signature else None
