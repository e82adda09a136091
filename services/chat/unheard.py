"""What a model used whose reply nobody waited for: it worked until it was cut off, and its provider counts that."""

from services.chat.catalogue import ModelSpec
from services.chat.tokens import turn_tokens
from services.chat.turn import Turn, Usage

TOKENS_A_SECOND = 100
"""What a fast model writes or thinks: like every estimate of tokens, rather too many than too few."""


def used_unheard(turn: Turn, model: ModelSpec, seconds: float, most: int | None, *, is_stream: bool) -> Usage:
    """Estimates what a model used in so many seconds in which not a word of it arrived.

    It read the whole turn, and wrote at most as much as the client (`most`) and the model allow. In a stream, what it
    wrote would have arrived, so there it can only have thought, if it does.
    """
    if is_stream and "reasoning" not in model.capabilities:
        return Usage(turn_tokens(turn))
    written = int(seconds * TOKENS_A_SECOND)
    limits = [limit for limit in (most, model.max_tokens) if limit is not None]
    return Usage(turn_tokens(turn), min([written, *limits]))
