"""Estimating tokens before a provider counts them: to trim a conversation, to hold a rate, to bound a cost."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from services.chat.turn import Document, Image, Message, Part, Reply, Role, Text, Thinking, Turn

BYTES_PER_TOKEN = 3
"""Fewer than any current tokenizer needs for prose, in any script: the estimate is rather too high than too low."""
MOST_CHARACTERS_PER_TOKEN = 6
"""About what the longest words of prose have that are a token; more history cannot fit a window."""
UNLIKELY_BYTES_PER_TOKEN = 12
"""A count by which a token has more bytes than this is not that of its message alone."""
TOKENS_PER_MESSAGE = 4
"""What surrounds a message: its role and its end."""
TOKENS_PER_IMAGE = 1600
"""What a picture of 1.15 megapixels costs, the largest that providers do not scale down."""
MOST_TOKENS_PER_IMAGE = 8_000
"""More than OpenAI's and Anthropic's models count for a picture, but for those of `_FINER`."""
_FINER = (("gpt-4o-mini", 50_000),)
"""How the ids of models begin that count pictures by a measure of their own: 2,833 and 5,667 for each of 8 tiles."""
_MEASURED = ("claude-", "gpt-", "chatgpt-", "o1", "o3", "o4")
MOST_TOKENS_ELSEWHERE = 20_000
"""More than the models of other makers count for a picture."""
PICTURES_IN_ORIGINAL = 4
"""For how many pictures one counts that is to be seen in its original size."""
MOST_TOKENS_PER_TOOL = 1_000
"""What a provider tells its model of a tool of its own, such as a computer's screen, beyond what the request says."""
BYTES_PER_DOCUMENT_TOKEN = 12
"""Fewer than a page of a document has for each of the tokens that it is counted as, text and picture together."""
MOST_OVERHEAD = 1_000
"""What a provider adds of its own to a request: the instructions for tools, the frame of a conversation."""
_PICTURES = ("image_url", "input_image", "image", "computer_screenshot")
"""Types of the parts that are pictures, in every dialect; how many bytes they have says nothing of their tokens."""


def estimate(message: Message) -> int:
    """Returns how many tokens a message took when a provider counted them, else may take: rather too many."""
    if message.tokens is not None:
        return message.tokens + TOKENS_PER_MESSAGE
    data = sum(_data_tokens(part) for part in message.parts)
    size = len(message.text.encode()) + sum(len(call.name) + len(call.arguments) for call in message.tool_calls)
    return -(-size // BYTES_PER_TOKEN) + TOKENS_PER_MESSAGE + data


def with_counts(
    messages: Sequence[Message], read: Sequence[int | None], written: Sequence[int | None]
) -> list[Message]:
    """Returns messages with what providers counted for them, as far as that can be told.

    `read` and `written` are the tokens of the request and the reply that each reply was stored with. A reply took what
    was written; a question took what its request read beyond the request and the reply before it. Where a conversation
    was trimmed or its instructions changed in between, that is no count of the question, and shows.
    """
    counted = list(messages)
    before: int | None = None
    for number, message in enumerate(messages):
        if message.role is not Role.ASSISTANT:
            continue
        now, reply = read[number], written[number]
        if reply is not None and len(message.text.encode()) <= reply * UNLIKELY_BYTES_PER_TOKEN:
            counted[number] = replace(message, tokens=reply)
        if before is not None and now is not None and number > 1 and messages[number - 2].role is Role.ASSISTANT:
            question, size = messages[number - 1], len(messages[number - 1].text.encode())
            tokens = now - before
            if size <= tokens * UNLIKELY_BYTES_PER_TOKEN and tokens <= size + 2 * TOKENS_PER_MESSAGE:
                counted[number - 1] = replace(question, tokens=tokens)
        before = None if now is None or reply is None else now + reply
    return counted


def newest_that_fit(messages: Sequence[Message], budget: int) -> Sequence[Message]:
    """Returns the last messages whose tokens fit the budget together."""
    start = len(messages)
    for message in reversed(messages):
        budget -= estimate(message)
        if budget < 0:
            break
        start -= 1
    return messages[start:]


def reply_tokens(reply: Reply) -> int:
    """Returns how many tokens a reply may have taken, rather too many than too few."""
    said = [reply.text, *reply.other_choices, *(one.text for one in reply.thinking)]
    size = sum(len(text.encode()) for text in said) + sum(len(call.arguments) for call in reply.tool_calls)
    return -(-size // BYTES_PER_TOKEN)


def turn_tokens(turn: Turn) -> int:
    """Returns how many tokens a turn may take, rather too many than too few."""
    if turn.original is not None:
        text, pictures = _measure(turn.original.body)
        return -(-text // BYTES_PER_TOKEN) + pictures * TOKENS_PER_IMAGE
    tools = sum(len(orjson.dumps(tool.parameters)) + len(tool.description) for tool in turn.tools)
    return sum(map(estimate, turn.messages)) + -(-tools // BYTES_PER_TOKEN)


def most_per_picture(model: str) -> int:
    """Returns a number of tokens that a model cannot exceed for a picture."""
    for beginning, tokens in _FINER:
        if model.startswith(beginning):
            return tokens
    return MOST_TOKENS_PER_IMAGE if model.startswith(_MEASURED) else MOST_TOKENS_ELSEWHERE


def most_predicted(turn: Turn) -> int:
    """Returns the most tokens of a reply that the request predicts: those that do not come true are paid for, too."""
    prediction = None if turn.original is None else turn.original.body.get("prediction")
    return 0 if prediction is None else len(orjson.dumps(prediction))


def most_tokens(turn: Turn, per_picture: int = MOST_TOKENS_PER_IMAGE) -> int:
    """Returns a number of tokens that a turn cannot exceed: no tokenizer makes more of a text than it has bytes."""
    if turn.original is not None:
        text, pictures = _measure(turn.original.body)
        return text + pictures * per_picture + MOST_OVERHEAD + _typed_tools(turn.original.body) * MOST_TOKENS_PER_TOOL
    most = MOST_OVERHEAD + sum(
        len(orjson.dumps(tool.parameters)) + len(tool.description.encode()) + len(tool.name) for tool in turn.tools
    )
    if turn.response_schema is not None:
        most += len(orjson.dumps(turn.response_schema.schema))
    for message in turn.messages:
        most += len(message.text.encode()) + 4 * TOKENS_PER_MESSAGE
        most += sum(len(call.name) + len(call.arguments.encode()) for call in message.tool_calls)
        most += sum(_most_of(part, per_picture) for part in message.parts)
    return most


def _data_tokens(part: Part) -> int:
    match part:
        case Image():
            return TOKENS_PER_IMAGE
        case Document():
            return max(TOKENS_PER_IMAGE, len(part.data) // BYTES_PER_DOCUMENT_TOKEN)
        case Thinking():
            return len(part.text) // BYTES_PER_TOKEN
        case Text():
            return 0


def _most_of(part: Part, per_picture: int) -> int:
    match part:
        case Image():
            return per_picture
        case Document():
            return max(MOST_TOKENS_PER_IMAGE, len(part.data))
        case Thinking():
            return len(part.text.encode()) + len(part.signature) + len(part.redacted)
        case Text():
            return 0


def _typed_tools(body: Mapping[str, Any]) -> int:
    tools = body.get("tools")
    kinds = [one.get("type") for one in tools if isinstance(one, dict)] if isinstance(tools, list) else []
    return sum(kind not in (None, "function", "custom") for kind in kinds)


def _measure(value: Any) -> tuple[int, int]:
    """Counts the bytes of a request that a model may read as text, and its pictures."""
    text = pictures = 0
    waiting = [(value, False)]
    while waiting:
        one, in_picture = waiting.pop()
        if isinstance(one, dict):
            if one.get("type") in _PICTURES:
                in_picture = True
                pictures += 1
            if in_picture and one.get("detail") == "original":
                pictures += PICTURES_IN_ORIGINAL - 1
            for name, inner in one.items():
                text += len(name) + 2
                # Its bytes say nothing of a picture's tokens. What is in no picture is read, whatever it is called.
                is_picture = name == "data" or (name in ("url", "image_url") and str(inner).startswith("data:image/"))
                if not (in_picture and is_picture and isinstance(inner, str)):
                    waiting.append((inner, in_picture))
        elif isinstance(one, list):
            waiting += [(inner, in_picture) for inner in one]
        elif isinstance(one, str):
            text += len(one.encode())
        else:
            text += 8
    return text, pictures
