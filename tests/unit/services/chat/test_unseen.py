"""What a request costs beyond what stands in it."""

import pytest

from services.chat.turn import Dialect, Document, Message, Original, Role, Text, Turn, say
from services.chat.unseen import has_unseen_input, tools_of_the_provider


def original(dialect: Dialect, **body) -> Turn:
    return Turn((), original=Original(dialect, body))


def user(part):
    return [{"role": "user", "content": [part]}]


RESPONSES, CHAT, MESSAGES = Dialect.RESPONSES, Dialect.CHAT_COMPLETIONS, Dialect.MESSAGES


@pytest.mark.parametrize(
    "turn",
    [
        original(RESPONSES, input="x", previous_response_id="r"),
        original(RESPONSES, input="x", conversation={"id": "c"}),
        original(RESPONSES, prompt={"id": "p"}),
        original(RESPONSES, input=[{"type": "item_reference", "id": "x"}]),
        original(RESPONSES, input=[{"id": "x"}]),
        original(RESPONSES, input=[{"id": "x", "type": None}]),
        original(RESPONSES, input=user({"type": "input_file", "file_url": "https://example.test"})),
        original(RESPONSES, input=user({"type": "input_image", "file_id": "f"})),
        original(CHAT, messages=user({"type": "file", "file": {"file_id": "f"}})),
        original(CHAT, messages=[{"role": "assistant", "audio": {"id": "a"}}]),
        original(MESSAGES, messages=user({"type": "document", "source": {"type": "url", "url": "https://a.test"}})),
        original(MESSAGES, messages=[], thread={"type": "continue", "previous_message_id": "m"}),
        original(MESSAGES, messages=user({"type": "image", "source": {"type": "file", "file_id": "f"}})),
        # A few bytes of a PDF may be many pages.
        original(MESSAGES, messages=user({"type": "document", "source": {"type": "base64", "data": "QQ=="}})),
        original(CHAT, messages=user({"type": "file", "file": {"file_data": "data:application/pdf;base64,QQ=="}})),
        original(RESPONSES, input=user({"type": "input_file", "file_data": "data:application/pdf;base64,QQ=="})),
        original(CHAT, messages=user({"type": "video_url", "video_url": {"url": "https://example.test"}})),
        Turn((Message(Role.USER, (Document(url="https://example.test"),)),)),
        Turn((Message(Role.USER, (Document(media_type="application/pdf", data="QQ=="),)),)),
    ],
)
def test_a_request_that_stands_for_more_than_it_holds(turn):
    assert has_unseen_input(turn)


@pytest.mark.parametrize(
    "turn",
    [
        original(RESPONSES, input="x", previous_response_id=None),
        original(RESPONSES, input=[{"type": "message", "id": "m", "role": "user", "content": "file_id"}]),
        original(RESPONSES, input=[{"type": "reasoning", "id": "r", "summary": []}]),
        original(RESPONSES, input="x", tools=[{"type": "function", "parameters": {"file_id": {"type": "string"}}}]),
        original(CHAT, messages=user({"type": "image_url", "image_url": {"url": "https://example.test"}}), prompt="x"),
        original(MESSAGES, messages=user({"type": "document", "source": {"type": "text", "data": "x"}})),
        original(MESSAGES, messages=user({"type": "tool_use", "id": "t", "name": "f", "input": {"file_id": "x"}})),
        Turn((say(Role.USER, "x"), Message(Role.USER, (Text("x"), Document(media_type="text/plain", data="x"))))),
    ],
)
def test_a_request_that_holds_all_there_is(turn):
    assert not has_unseen_input(turn)


def test_tools_that_providers_run_are_found_and_those_of_the_client_are_not():
    kinds = ["function", "web_search_preview", "custom", "file_search", "mcp", "bash_20250124", "web_fetch_20250910"]
    turn = original(RESPONSES, tools=[{"type": kind} for kind in kinds], web_search_options={})
    assert tools_of_the_provider(turn) == [
        "tools[1].type",
        "tools[3].type",
        "tools[4].type",
        "tools[6].type",
        "web_search_options",
    ]
    beside = original(MESSAGES, tools=[{"type": "advisor_20260301", "model": "m"}], fallbacks="default", compaction={})
    assert tools_of_the_provider(beside) == ["tools[0].type", "fallbacks", "compaction"]
    assert tools_of_the_provider(original(CHAT, tools="none")) == []
    assert tools_of_the_provider(Turn((say(Role.USER, "x"),))) == ()


def test_a_tool_of_which_nobody_knows_who_runs_it_is_taken_for_the_providers():
    kinds = ["tool_search_tool_regex_20251119", "advisor_20260301", "what_comes_next", None, "computer_use_preview"]
    tools = [*({"type": kind} for kind in kinds), {"type": "shell"}]
    tools.append({"type": "shell", "environment": {"type": "container_auto"}})
    assert tools_of_the_provider(original(RESPONSES, tools=tools)) == [
        "tools[0].type",
        "tools[1].type",
        "tools[2].type",
        "tools[6].type",
    ]


def test_a_conversation_that_is_to_be_summed_up_is_another_call():
    edits = [{"type": "clear_tool_uses_20250919"}, {"type": "compact_20260112"}]
    managed = original(MESSAGES, context_management={"edits": edits})
    assert tools_of_the_provider(managed) == ["context_management.edits[1].type"]
    managed = original(RESPONSES, context_management=[{"type": "compaction", "compact_threshold": 1000}])
    assert tools_of_the_provider(managed) == ["context_management[0].type"]
    assert tools_of_the_provider(original(MESSAGES, fallbacks=[{"model": "x"}])) == ["fallbacks"]
