"""What a request costs beyond what stands in it: input that its provider keeps or fetches, tools that this one runs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from services.chat.turn import Dialect, Document, Turn

_KEPT = ("previous_response_id", "conversation", "prompt")
"""Fields of OpenAI's responses that stand for input which OpenAI keeps."""
_FILES = ("file_id", "file_url")
_RUN_BY_CLIENTS = (
    "apply_patch",
    "bash_",
    "computer",
    "custom",
    "function",
    "local_shell",
    "memory_",
    "namespace",
    "text_editor_",
)
"""How the types of tools begin, in every dialect, that cost no more than the tokens of their calls. A provider runs all
others itself, as often as its model likes, and has that paid for, or reads the whole request again for each call."""
_SWITCHES = ("web_search_options", "mcp_servers", "fallbacks", "compaction")
"""Fields that give the model such tools without a tool of that type, or that have it asked more than once."""

SEARCHING = "-search-"
"""In the names of OpenAI's models that search the web for every completion."""


def has_unseen_input(turn: Turn) -> bool:
    """Whether the model reads more than the request holds. How much is not known; a window's worth at the most."""
    original = turn.original
    if original is None:
        parts = (part for one in turn.messages for part in one.parts)
        return any(isinstance(part, Document) and (part.url or not _is_text(part.media_type)) for part in parts)
    if original.dialect is Dialect.RESPONSES and any(original.body.get(name) for name in _KEPT):
        return True
    thread = original.body.get("thread")
    if isinstance(thread, dict) and thread.get("previous_message_id"):
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
    """Returns the places in a request of what makes its price depend on the model: tools that the provider runs."""
    if turn.original is None:
        return ()
    body = turn.original.body
    tools = body.get("tools")
    places = [
        f"tools[{number}].type"
        for number, tool in enumerate(tools if isinstance(tools, list) else ())
        if isinstance(tool, dict) and not _is_run_by_client(tool)
    ]
    places += [name for name in _SWITCHES if body.get(name) is not None]
    return [*places, *_compactions(body.get("context_management"))]


def _is_run_by_client(tool: Mapping[str, Any]) -> bool:
    kind = tool.get("type")
    if kind == "shell":
        environment = tool.get("environment")
        return not isinstance(environment, dict) or environment.get("type") == "local"
    return kind is None or str(kind).startswith(_RUN_BY_CLIENTS)


def _compactions(management: Any) -> Iterator[str]:
    """Tells where a request has its conversation summed up when that gets long, by another call of the model."""
    place, edits = "context_management", management
    if isinstance(management, dict):
        place, edits = "context_management.edits", management.get("edits")
    for number, edit in enumerate(edits if isinstance(edits, list) else ()):
        if isinstance(edit, dict) and str(edit.get("type")).startswith("compact"):
            yield f"{place}[{number}].type"


def _is_reference(item: Any) -> bool:
    if not isinstance(item, dict):
        return False
    kind = item.get("type")
    return kind == "item_reference" or (kind is None and "role" not in item)


def _stands_for_more(one: dict[str, Any]) -> bool:
    match one:
        case {"type": "document", "source": {"type": "url" | "file" | "base64"}}:
            # A few bytes of a PDF may be many pages.
            return True
        case {"type": "file" | "input_file"} | {"type": "input_video" | "video" | "video_url" | "audio_url"}:
            return True
        case {"role": "assistant", "audio": {"id": str()}}:
            return True
        case _:
            return any(isinstance(one.get(name), str) for name in _FILES)


def _is_text(media_type: str) -> bool:
    return media_type.startswith("text/")
