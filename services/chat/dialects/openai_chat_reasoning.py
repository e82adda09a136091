"""What a model of another family thought, in the messages of OpenAI's chat completions, and back.

`reasoning_content` is its text, where endpoints of this dialect tell it. `thinking_blocks` are the pieces with their
proofs (see `thinking_proofs`): the SDKs keep fields that they do not know, so that a client that sends the message back
with a tool's result sends them too.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from services.chat.dialects.thinking_proofs import is_proof, proof_of, proven
from services.chat.turn import Thinking

TEXT = "reasoning_content"
BLOCKS = "thinking_blocks"


def thought_fields(thinking: Sequence[Thinking]) -> dict[str, Any]:
    """Makes the fields of a message that tell what was thought; none where nothing was."""
    text = "".join(one.text for one in thinking)
    blocks = [block for one in thinking if (block := block_of(one)) is not None]
    return {**({TEXT: text} if text else {}), **({BLOCKS: blocks} if blocks else {})}


def block_of(thinking: Thinking) -> dict[str, Any] | None:
    """Makes the block of a piece of thinking; None for one without a proof, which nobody wants back."""
    proof = proof_of(thinking)
    if proof is None:
        return None
    if thinking.redacted:
        return {"type": "redacted_thinking", "data": proof}
    return {"type": "thinking", "thinking": thinking.text, "signature": proof}


def thinking_in(message: Mapping[str, Any]) -> Sequence[Thinking]:
    """Returns the thinking that a message brings back, as far as Gaia told it; what others told is not among it."""
    blocks = message.get(BLOCKS)
    found = []
    for block in blocks if isinstance(blocks, list) else ():
        if not isinstance(block, dict):
            continue
        text, proof = block.get("thinking") or "", block.get("signature") or block.get("data")
        if is_proof(proof) and isinstance(text, str):
            found.append(proven(text, proof))
    return found


def without_gaias(messages: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Returns messages for a model that can read no proof: without the thinking that Gaia told."""
    if not any(BLOCKS in message for message in messages):
        return messages
    return [_without(message) if thinking_in(message) else message for message in messages]


def _without(message: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in message.items() if name not in (TEXT, BLOCKS)}
