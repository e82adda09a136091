"""Requests of OpenAI's chat completions."""

from typing import get_type_hints

import orjson
import pytest
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)

from services.chat.dialects.openai_chat import KNOWN, parse
from services.chat.dialects.openai_checks import MAX_VIOLATIONS
from services.chat.dialects.openai_content import new_input
from services.chat.turn import Dialect, Document, Image, Original, Role, Text, Tool, ToolCall, ToolChoice, ToolMode
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
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QQ=="}},
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
    assert turn.messages[1].parts == (
        Text("see"),
        Image(media_type="image/png", data="QQ=="),
        Document(media_type="application/pdf", data="QQ==", name="a.pdf"),
    )
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


class TestAtTheDoor:
    def test_every_field_of_the_sdk_is_known(self):
        fields = get_type_hints(CompletionCreateParamsNonStreaming) | get_type_hints(CompletionCreateParamsStreaming)
        assert set(fields) <= KNOWN

    @pytest.mark.parametrize(
        ("fields", "where"),
        [
            ({"n": 129}, "n"),
            ({"seed": "x"}, "seed"),
            ({"seed": True}, "seed"),
            ({"logprobs": 1}, "logprobs"),
            ({"top_logprobs": 21}, "top_logprobs"),
            ({"modalities": "text"}, "modalities"),
            ({"metadata": {"a": 1}}, "metadata"),
            ({"presence_penalty": 3}, "presence_penalty"),
            ({"tools": "none"}, "tools"),
            ({"tools": [5]}, "tools[0]"),
            ({"tools": [{"function": {"name": "f"}}]}, "tools[0].type"),
            ({"tools": [{"type": "function"}]}, "tools[0].function"),
            ({"tools": [{"type": "function", "function": {"name": 5}}]}, "tools[0].function.name"),
            (
                {"tools": [{"type": "function", "function": {"name": "f", "parameters": "x"}}]},
                "tools[0].function.parameters",
            ),
            ({"response_format": {}}, "response_format.type"),
            ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
            (
                {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": 5}}},
                "response_format.json_schema.schema",
            ),
            (
                {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "QQ=="}}]}]},
                "messages[0].content[0].input_audio.format",
            ),
            (
                {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": 5}}]}]},
                "messages[0].content[0].file.file_data",
            ),
        ],
    )
    def test_a_wrong_kind_is_told_with_its_place(self, fields, where):
        with pytest.raises(InvalidArgument) as caught:
            request(**fields)
        assert [violation.field for violation in caught.value.violations] == [where]

    def test_sound_and_what_is_new_passes_to_providers_of_the_family(self):
        part = {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}, "novelty": {"a": 1}}
        image = {"type": "image_url", "image_url": {"url": "https://example.test", "novelty": {"a": 1}}}
        asked = request(
            messages=[{"role": "user", "content": [part, image, {"type": "novelty"}]}], audio={"voice": "x"}
        )
        assert asked.same_dialect().original == Original(Dialect.CHAT_COMPLETIONS, asked.body)


class TestTranslation:
    def refused(self, **fields):
        with pytest.raises(InvalidArgument) as caught:
            request(**fields).translated()
        return [violation.field for violation in caught.value.violations]

    def test_all_that_has_no_counterpart_is_told_at_once(self):
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        assert self.refused(
            n=2,
            logprobs=True,
            messages=[
                {"role": "user", "content": "x", "tool_calls": [call]},
                {"role": "function", "name": "f", "content": "x"},
                {"role": "assistant", "audio": {"id": "a"}},
                {"role": "assistant", "tool_calls": [{"id": "c", "type": "custom"}]},
                {"role": "tool", "tool_call_id": "unheard", "content": "x"},
                {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}]},
                {"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]},
            ],
            tools=[{"type": "custom", "custom": {"name": "x"}}],
            tool_choice="required",
            response_format={"type": "json_object"},
        ) == [
            "logprobs",
            "n",
            "messages[0].tool_calls",
            "messages[1]",
            "messages[2].audio",
            "messages[3].tool_calls[0]",
            "messages[4].tool_call_id",
            "messages[5].content[0].type",
            "messages[6].content[0].file",
            "tools[0].type",
            "tool_choice",
            "response_format.type",
        ]

    @pytest.mark.parametrize(
        "said",
        [
            [{"role": "user", "content": ""}],
            [{"role": "system", "content": "be kind"}],
            [{"role": "assistant", "content": None}],
        ],
    )
    def test_there_must_be_something_to_answer(self, said):
        assert self.refused(messages=said) == ["messages"]

    def test_what_is_lost_of_messages_and_tools_is_named(self):
        part = {"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit"}}
        function = {"name": "f", "novelty": 1}
        _, left_out = request(
            messages=[{"role": "user", "name": "Ada", "content": [part]}],
            tools=[{"type": "function", "function": function, "cache_control": {"type": "ephemeral"}}],
            response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": {}, "description": "d"}},
        ).translated()
        assert left_out == (
            "messages.content.prompt_cache_breakpoint",
            "messages.name",
            "tools[0].cache_control",
            "tools[0].function.novelty",
            "response_format.json_schema.description",
        )

    def test_a_refusal_is_what_the_assistant_said(self):
        said = [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, "refusal": "no"}]
        turn, _ = request(messages=said).translated()
        assert turn.messages[1].parts == (Text("no"),)

    def test_allowed_tools_are_those_that_are_left(self):
        tools = [{"type": "function", "function": {"name": name}} for name in ("f", "g")]
        turn, _ = request(
            tools=tools,
            tool_choice={"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [tools[1]]}},
        ).translated()
        assert [tool.name for tool in turn.tools] == ["g"]
        assert turn.tool_choice == ToolChoice(ToolMode.AUTO)
