"""The proof of where a model's thinking comes from, on its way through OpenAI's dialects, which have none like it.

A provider wants its model's thinking back as it was, with its proof, when a tool's result is sent. Clients send back
what they were told, so that it goes out and comes back marked as Gaia's: OpenAI itself could not read it.
"""

from typing import TypeGuard

from services.chat.turn import Thinking

_SIGNED = "gaia:signed:"
_REDACTED = "gaia:redacted:"


def proof_of(thinking: Thinking) -> str | None:
    """Returns the proof of a piece of thinking; None where its provider gave none."""
    if thinking.redacted:
        return _REDACTED + thinking.redacted
    return _SIGNED + thinking.signature if thinking.signature else None


def is_proof(value: object) -> TypeGuard[str]:
    """Whether a value that a client sent is such a proof."""
    return isinstance(value, str) and value.startswith((_SIGNED, _REDACTED))


def proven(text: str, proof: str) -> Thinking:
    """Returns the thinking of a text and its proof."""
    if proof.startswith(_REDACTED):
        return Thinking(redacted=proof.removeprefix(_REDACTED))
    return Thinking(text, proof.removeprefix(_SIGNED))
