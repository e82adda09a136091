"""Tools that a provider ran: what of them is paid for, and what nobody publishes a price of."""

import pytest

from services.chat.providers.server_tools import with_message_tools, with_response_tools
from services.chat.turn import Usage

TOKENS = Usage(7, 3)


def counts(usage: Usage) -> tuple[int, int, int]:
    assert (usage.input_tokens, usage.output_tokens) == (7, 3)
    return usage.web_searches, usage.file_searches, usage.unpriced_calls


def search(action: str) -> dict[str, object]:
    return {"type": "web_search_call", "action": {"type": action}}


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ({}, (0, 0, 0)),
        ({"output": [{"type": "message"}, {"type": "function_call"}, {"type": "mcp_call"}]}, (0, 0, 0)),
        ({"output": [search("search"), search("open_page"), {"type": "web_search_call"}]}, (2, 0, 0)),
        ({"output": [search("search")], "tool_usage": {"web_search": {"num_requests": 3}}}, (3, 0, 0)),
        ({"output": [{"type": "file_search_call"}, {"type": "file_search_call"}]}, (0, 2, 0)),
        ({"output": [{"type": "code_interpreter_call"}, {"type": "image_generation_call"}]}, (0, 0, 2)),
        ({"output": [{"type": "shell_call", "environment": {"type": "local"}}]}, (0, 0, 0)),
        ({"output": [{"type": "shell_call", "environment": {"type": "container_reference"}}]}, (0, 0, 1)),
        ({"output": [{"type": "from_tomorrow"}]}, (0, 0, 1)),
    ],
)
def test_calls_in_a_response_of_openais(response, expected):
    assert counts(with_response_tools(TOKENS, response)) == expected


@pytest.mark.parametrize(
    ("told", "names", "expected"),
    [
        (None, [], (0, 0, 0)),
        ({"web_search_requests": 2, "web_fetch_requests": 1}, ["web_search", "web_search", "web_fetch"], (2, 0, 0)),
        (None, ["bash_code_execution", "tool_search_tool_bm25"], (0, 0, 1)),
        ({"web_fetch_requests": 1, "web_search_requests": 0}, ["web_fetch", "code_execution"], (0, 0, 0)),
        (None, ["from_tomorrow"], (0, 0, 1)),
    ],
)
def test_calls_in_a_message_of_anthropics(told, names, expected):
    assert counts(with_message_tools(TOKENS, told, names)) == expected
