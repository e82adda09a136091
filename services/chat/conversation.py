"""From a stored conversation to the messages that a model is sent."""

from collections.abc import Sequence

from services.chat.catalogue import ModelSpec
from services.chat.tokens import MOST_CHARACTERS_PER_TOKEN, estimate, newest_that_fit
from services.chat.turn import Message, Role, say
from shared.errors import InvalidArgument

ASSUMED_WINDOW = 8192
"""Window of a model of which none is known: the smallest among those in use."""
MAX_REPLY_SHARE = 4
"""A reply gets room for as many tokens as were asked for, at least a quarter of the window where it was not said."""


def history_characters(model: ModelSpec) -> int:
    """Returns how many characters of history can fit a model's window at most; more need not be read."""
    return (model.context_window or ASSUMED_WINDOW) * MOST_CHARACTERS_PER_TOKEN


def assemble(
    system_prompt: str, history: Sequence[Message], message: str, model: ModelSpec, max_tokens: int | None
) -> list[Message]:
    """Returns the persona's instructions, as much of the newest history as fits, and the new message.

    Raises InvalidArgument when the new message alone does not fit the model's window.
    """
    window = model.context_window or ASSUMED_WINDOW
    first = [say(Role.SYSTEM, system_prompt)] if system_prompt else []
    last = say(Role.USER, message)
    reserved = min(max_tokens, window // 2) if max_tokens else window // MAX_REPLY_SHARE
    needed = estimate(last) + sum(map(estimate, first))
    if model.context_window is not None and needed > window:
        raise InvalidArgument.field(
            "message", f"takes about {needed} tokens with its instructions; {model.id} reads at most {window}"
        )
    kept = newest_that_fit(history, window - reserved - needed)
    start = next((at for at, one in enumerate(kept) if one.role is Role.USER), len(kept))
    # A conversation that begins with an answer makes no sense to a model, and some refuse it.
    return [*first, *kept[start:], last]
