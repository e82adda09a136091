"""What a request costs beyond what stands in it: input that its provider keeps or fetches, tools that this one runs."""

from collections.abc import Sequence
from typing import Any

from services.chat.turn import Dialect, Document, Turn

_KEPT = ("previous_response_id", "conversation", "prompt")
"""Fields of OpenAI's responses that stand for input which OpenAI keeps."""
_FILES = ("file_id", "file_url")
_RUN_BY_PROVIDERS = (
    "code_execution",
    "code_interpreter",
    "file_search",
    "image_generation",
    "mcp",
    "web_fetch",
    "web_search",
)
"""How the types of tools begin, in every dialect, that a provider runs and has paid for by the call."""
_SWITCHES = ("web_search_options", "mcp_servers")
"""Fields that give the model such tools without a tool of that type."""


def has_unseen_input(turn: Turn) -> bool:
    """Whether the model reads more than the request holds. How much is not known; a window's worth at the most."""
    original = turn.original
    if original is None:
        return any(isinstance(part, Document) and part.url for one in turn.messages for part in one.parts)
    if original.dialect is Dialect.RESPONSES and any(original.body.get(name) for name in _KEPT):
        return True
    items = original.body.get("input")
    if isinstance(items, list) and any(_is_reference(item) for item in items):
        return True
    waiting: list[Any] = [items, original.body.get("messages")]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting += one
        elif isinstance(one, dict):
            if _stands_for_more(one):
                return True
            # What a tool is called with is the model's own words.
            waiting += [value for name, value in one.items() if name != "input"]
    return False


def tools_of_the_provider(turn: Turn) -> Sequence[str]:
    """Returns the places in a request of tools that the provider runs itself, for a price that depends on the model."""
    if turn.original is None:
        return ()
    body = turn.original.body
    tools = body.get("tools")
    places = [
        f"tools[{number}].type"
        for number, tool in enumerate(tools if isinstance(tools, list) else ())
        if isinstance(tool, dict) and str(tool.get("type")).startswith(_RUN_BY_PROVIDERS)
    ]
    return [*places, *(name for name in _SWITCHES if body.get(name) is not None)]


def _is_reference(item: Any) -> bool:
    if not isinstance(item, dict):
        return False
    kind = item.get("type")
    return kind == "item_reference" or (kind is None and "role" not in item)


def _stands_for_more(one: dict[str, Any]) -> bool:
    match one:
        case {"type": "document", "source": {"type": "url" | "file"}}:
            return True
        case {"role": "assistant", "audio": {"id": str()}}:
            return True
        case _:
            return any(isinstance(one.get(name), str) for name in _FILES)
