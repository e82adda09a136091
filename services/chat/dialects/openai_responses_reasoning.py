"""What a model of another family thought, as reasoning items of OpenAI's responses, and back.

The item's `encrypted_content`, which clients send back as it is, carries the proof; see `thinking_proofs`.
"""

from collections.abc import Mapping
from typing import Any

from services.chat.dialects.thinking_proofs import is_proof, proof_of, proven
from services.chat.turn import Thinking


def reasoning_item(thinking: Thinking, item_id: str) -> dict[str, Any]:
    """Makes the item of a piece of thinking."""
    summary = [{"type": "summary_text", "text": thinking.text}] if thinking.text else []
    return {"id": item_id, "type": "reasoning", "summary": summary, "encrypted_content": proof_of(thinking)}


def is_gaias(item: Any) -> bool:
    """Whether an item of the input is thinking of a model of another family than OpenAI's."""
    return isinstance(item, dict) and item.get("type") == "reasoning" and is_proof(item.get("encrypted_content"))


def thinking_in(item: Mapping[str, Any]) -> Thinking:
    """Returns the thinking in an item that `is_gaias`."""
    return proven("".join(part["text"] for part in item["summary"]), item["encrypted_content"])
