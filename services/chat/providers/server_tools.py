"""What a reply says of tools that its provider ran: calls with a price, and calls of which nobody publishes one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from services.chat.providers.checked import count
from services.chat.turn import Usage

# Items of OpenAI's responses that cost no more than their tokens: what the model says, what the client runs, and calls
# of other people's servers.
_FREE_ITEMS = frozenset(
    {
        "additional_tools",
        "apply_patch_call",
        "apply_patch_call_output",
        "compaction",
        "computer_call",
        "computer_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "function_call",
        "function_call_output",
        "local_shell_call",
        "local_shell_call_output",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "mcp_list_tools",
        "message",
        "reasoning",
        "tool_search_call",
        "tool_search_output",
    }
)
_PRICED_ITEMS = frozenset({"web_search_call", "file_search_call"})
_OUTPUTS = frozenset({"shell_call_output", "program_output"})
"""They come with a call, which is counted."""

# Tools of Anthropic's that cost no more than what their usage counts.
_FREE_TOOLS = frozenset({"web_search", "web_fetch", "tool_search_tool_regex", "tool_search_tool_bm25"})
_CODE = frozenset({"code_execution", "bash_code_execution", "text_editor_code_execution"})
"""What these run for a search of the web is part of it; else it is paid by the hour of a sandbox."""


def with_response_tools(usage: Usage, response: Mapping[str, Any]) -> Usage:
    """Adds the calls of tools in a response of OpenAI's to its usage."""
    items = response.get("output") or ()
    kinds = [item.get("type") for item in items]
    if _FREE_ITEMS.issuperset(kinds):
        return usage
    unpriced = [
        item
        for item, kind in zip(items, kinds, strict=True)
        if kind not in _FREE_ITEMS | _PRICED_ITEMS | _OUTPUTS
        # A shell of the client's own costs nothing.
        and (kind != "shell_call" or _is_hosted(item))
    ]
    return replace(
        usage,
        web_searches=_searches(response, items),
        file_searches=kinds.count("file_search_call"),
        unpriced_calls=len(unpriced),
    )


def with_message_tools(usage: Usage, told: Any, names: Sequence[str]) -> Usage:
    """Adds the calls of tools in a message of Anthropic's to its usage.

    `told` is what its usage says of them, `names` are those of the calls in it.
    """
    counts = told or {}
    searches = count(counts.get("web_search_requests"))
    of_the_web = searches or count(counts.get("web_fetch_requests"))
    unpriced = [name for name in names if name not in _FREE_TOOLS and not (of_the_web and name in _CODE)]
    if not (searches or unpriced):
        return usage
    return replace(usage, web_searches=searches, unpriced_calls=len(unpriced))


def _is_hosted(item: Mapping[str, Any]) -> bool:
    environment = item.get("environment")
    return isinstance(environment, dict) and environment.get("type") != "local"


def _searches(response: Mapping[str, Any], items: Sequence[Mapping[str, Any]]) -> int:
    """As OpenAI counts them; where it does not, those that searched: opening a page costs nothing."""
    told = (response.get("tool_usage") or {}).get("web_search")
    if told:
        return count(told["num_requests"])
    actions = [item.get("action") for item in items if item.get("type") == "web_search_call"]
    return sum(not isinstance(action, dict) or action.get("type", "search") == "search" for action in actions)
