"""Requests of OpenAI's chat completions."""

import orjson
import pytest

from services.chat.dialects.openai_chat import parse
from services.chat.dialects.openai_content import MAX_VIOLATIONS, new_input
from services.chat.turn import Dialect, Image, Original, Role, Text, Tool, ToolCall, ToolChoice, ToolMode
from shared.errors import InvalidArgument

ASK = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def request(**fields):
    return parse(orjson.dumps({**ASK, **fields}))


def test_what_the_client_sent_is_kept_as_it_is():
    sent = {**ASK, "unheard_of": {"a": [1, None]}, "temperature": 0}
    asked = parse(orjson.dumps(sent))
    assert asked.body == sent
    assert asked.same_dialect().original == Original(Dialect.CHAT_COMPLETIONS, sent)
    assert (asked.model, asked.stream, asked.include_usage, asked.keeps_content) == ("m", False, False, True)


def test_its_switches_are_read():
    asked = request(stream=True, stream_options={"include_usage": True}, store=False)
    assert (asked.stream, asked.include_usage, asked.keeps_content) == (True, True, False)


def test_a_translated_request_keeps_its_meaning():
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    turn, left_out = request(
        messages=[
            {"role": "developer", "content": "be kind"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "see"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}},
                ],
            },
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "c", "content": "r"},
        ],
        tools=[{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
        tool_choice={"type": "function", "function": {"name": "f"}},
        response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": {"a": 1}, "strict": True}},
        max_tokens=5,
        max_completion_tokens=7,
        stop=["a", "b"],
        user="u",
        seed=1,
        logprobs=False,
        n=1,
        verbosity="low",
        metadata=None,
    ).translated()
    assert left_out == ("seed", "verbosity")
    assert [message.role for message in turn.messages] == [Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.TOOL]
    assert turn.messages[1].parts == (Text("see"), Image(media_type="image/png", data="QQ=="))
    assert turn.messages[2].tool_calls == (ToolCall("c", "f", "{}"),)
    assert turn.messages[3].tool_call_id == "c"
    assert turn.tools == [Tool("f", "d", {"type": "object"})]
    assert turn.tool_choice == ToolChoice(ToolMode.NAMED, "f")
    assert turn.response_schema is not None
    assert turn.response_schema.schema == {"a": 1}
    assert (turn.max_tokens, turn.stop, turn.end_user) == (7, ("a", "b"), "u")


@pytest.mark.parametrize(
    "field",
    [
        {"n": 2},
        {"logprobs": True},
        {"top_logprobs": 3},
        {"logit_bias": {"1": 5}},
        {"audio": {}},
        {"modalities": ["text", "audio"]},
        {"functions": [{"name": "f"}]},
        {"web_search_options": {}},
        {"from_the_future": 0},
    ],
)
def test_what_would_change_the_reply_is_refused_by_name(field):
    [name] = field
    with pytest.raises(InvalidArgument, match=f"^{name}: "):
        request(**field).translated()


def test_every_violation_is_named_at_once_and_not_ten_thousand_of_them():
    with pytest.raises(InvalidArgument) as caught:
        request(temperature="hot", messages=[{"role": "wizard", "content": "x"}, {"role": "user", "content": 3}])
    fields = [violation.field for violation in caught.value.violations]
    assert fields == ["temperature", "messages[0].role", "messages[1].content"]
    with pytest.raises(InvalidArgument) as caught:
        request(messages=[3] * 10_000)
    assert len(caught.value.violations) == MAX_VIOLATIONS


def test_what_is_kept_of_a_request_is_what_is_new_in_it():
    messages = [
        {"role": "user", "content": "old"},
        {"role": "assistant", "content": "reply"},
        {"role": "tool", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        {"role": "user", "content": [{"type": "file"}]},
    ]
    kept = new_input(messages, keep_content=True)
    assert [(one.role, one.content) for one in kept] == [(Role.TOOL, "a\nb"), (Role.USER, "[file]")]
    assert [one.content for one in new_input(messages, keep_content=False)] == ["", ""]
    assert new_input(messages[:2], keep_content=True) == []
