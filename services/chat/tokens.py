"""Estimating tokens before a provider counts them, so that a conversation can be trimmed to a model's window."""

from collections.abc import Sequence

from services.chat.turn import Image, Message

BYTES_PER_TOKEN = 3
"""Fewer than any current tokenizer needs for prose, in any script: the estimate is rather too high than too low."""
TOKENS_PER_MESSAGE = 4
"""What surrounds a message: its role and its end."""
TOKENS_PER_IMAGE = 1600
"""What a picture of 1.15 megapixels costs, the largest that providers do not scale down."""


def estimate(message: Message) -> int:
    """Returns how many tokens a message may take, rather too many than too few."""
    images = sum(isinstance(part, Image) for part in message.parts)
    size = len(message.text.encode()) + sum(len(call.name) + len(call.arguments) for call in message.tool_calls)
    return -(-size // BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE + images * TOKENS_PER_IMAGE


def newest_that_fit(messages: Sequence[Message], budget: int) -> Sequence[Message]:
    """Returns the last messages whose tokens fit the budget together."""
    start = len(messages)
    for message in reversed(messages):
        budget -= estimate(message)
        if budget < 0:
            break
        start -= 1
    return messages[start:]
