"""Requests of OpenAI's responses."""

import orjson
import pytest

from services.chat.dialects.openai_responses import parse
from services.chat.turn import (
    Dialect,
    Document,
    Image,
    JsonSchema,
    Message,
    Original,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolMode,
    say,
)
from shared.errors import InvalidArgument

ASK = {"model": "m", "input": "hi"}
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "r"}
FUNCTIONS = [{"type": "function", "name": name, "parameters": {"type": "object"}} for name in ("f", "g")]


def request(**fields):
    return parse(orjson.dumps({**ASK, **fields}))


def refused_fields(**fields):
    with pytest.raises(InvalidArgument) as caught:
        request(**fields).translated()
    return [violation.field for violation in caught.value.violations]


def messages(*items, **fields):
    return list(request(input=list(items), **fields).translated()[0].messages)


def user(*parts):
    return {"role": "user", "content": list(parts)}


class TestAtTheDoor:
    def test_what_the_client_sent_is_kept_as_it_is(self):
        sent = {**ASK, "unheard_of": {"a": [1, None]}, "previous_response_id": "resp_1", "tools": [{"type": "mcp"}]}
        asked = parse(orjson.dumps(sent))
        assert asked.body == sent
        assert asked.same_dialect().original == Original(Dialect.RESPONSES, sent)
        assert (asked.model, asked.stream, asked.keeps_content, asked.max_output_tokens) == ("m", False, True, None)

    def test_its_switches_are_read(self):
        asked = request(stream=True, store=False, max_output_tokens=7)
        assert (asked.stream, asked.keeps_content, asked.max_output_tokens) == (True, False, 7)

    def test_every_violation_is_named_at_once(self):
        with pytest.raises(InvalidArgument) as caught:
            request(
                model=7,
                temperature="hot",
                background="yes",
                metadata={"a": 1},
                max_output_tokens=0,
                include="all",
                input=[
                    3,
                    {"role": "tool", "content": "x"},
                    {"role": "user"},
                    user({"type": "input_text"}, {"type": "input_image"}, {"type": "input_file", "file_url": 5}),
                    {"type": "function_call", "name": "f"},
                    {"type": "function_call_output", "call_id": "c"},
                    {"type": "reasoning", "summary": [{}]},
                    {},
                ],
                tools=[{"type": "function", "name": "", "parameters": "none", "strict": 1}, {}, 5],
                text={"format": {"type": "json_schema"}},
            )
        fields = [violation.field for violation in caught.value.violations]
        assert fields[:6] == ["model", "background", "include", "max_output_tokens", "metadata", "temperature"]
        assert fields[6:] == [
            "input[0]",
            "input[1].role",
            "input[2].content",
            "input[3].content[0].text",
            "input[3].content[1]",
            "input[3].content[2].file_url",
            "input[4].call_id",
            "input[4].arguments",
            "input[5].output",
            "input[6].summary[0].text",
            "input[7]",
            "tools[0].name",
            "tools[0].parameters",
            "tools[0].strict",
        ]

    @pytest.mark.parametrize("sent", [[], 5, None, {}])
    def test_there_must_be_an_input(self, sent):
        with pytest.raises(InvalidArgument, match=r"^input: "):
            request(input=sent)

    def test_what_openai_keeps_may_stand_for_an_input(self):
        for field in ({"previous_response_id": "r"}, {"conversation": {"id": "c"}}, {"prompt": {"id": "p"}}):
            assert request(input=None, **field).same_dialect().original is not None

    def test_a_response_and_a_conversation_are_not_both_gone_on_with(self):
        with pytest.raises(InvalidArgument, match=r"^conversation: cannot be sent together with previous_response_id"):
            request(previous_response_id="r", conversation="c")

    def test_what_nests_too_deep_is_refused(self):
        deep = b'{"model":"m","input":"hi","metadata":' + b'{"a":' * 300 + b"1" + b"}" * 301
        with pytest.raises(InvalidArgument, match=r"^body: nests more than 240 levels deep"):
            parse(deep)

    def test_ten_thousand_faults_are_not_all_told(self):
        with pytest.raises(InvalidArgument) as caught:
            request(input=[user(*[3] * 10_000)] * 5)
        assert len(caught.value.violations) == 20

    def test_thinking_of_another_familys_model_is_not_sent_to_openai(self):
        ours = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "gaia:redacted:x"}
        theirs = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "gAAAA"}
        said = user({"type": "input_text", "text": "x"})
        original = request(input=[said, ours, theirs]).same_dialect().original
        assert original is not None
        assert original.body["input"] == [said, theirs]


class TestTranslation:
    def test_a_request_keeps_its_meaning(self):
        turn, left_out = request(
            instructions="be kind",
            max_output_tokens=9,
            temperature=0.5,
            top_p=0.9,
            parallel_tool_calls=False,
            reasoning={"effort": "low", "summary": "auto", "context": "auto"},
            text={"format": {"type": "json_schema", "name": "s", "schema": {"a": 1}, "strict": True}},
            tools=[{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}}],
            tool_choice={"type": "function", "name": "f"},
            safety_identifier="u1",
            user="u2",
            metadata={"a": "b"},
            include=["reasoning.encrypted_content"],
            stream_options={"include_obfuscation": False},
            truncation="disabled",
            service_tier="auto",
            background=False,
            top_logprobs=0,
            store=True,
        ).translated()
        assert left_out == ()
        assert list(turn.messages) == [say(Role.SYSTEM, "be kind"), say(Role.USER, "hi")]
        assert (turn.max_tokens, turn.temperature, turn.top_p) == (9, 0.5, 0.9)
        assert (turn.parallel_tool_calls, turn.reasoning_effort, turn.end_user) == (False, "low", "u1")
        assert turn.response_schema == JsonSchema("s", {"a": 1}, strict=True)
        assert turn.tools == [Tool("f", "d", {"type": "object"})]
        assert turn.tool_choice == ToolChoice(ToolMode.NAMED, "f")

    def test_parts_are_translated(self):
        [message] = messages(
            user(
                {"type": "input_text", "text": "see"},
                {"type": "input_image", "image_url": "data:image/png;base64,QQ==", "detail": "low"},
                {"type": "input_image", "image_url": "https://example.test/a.png", "detail": "auto"},
                {"type": "input_file", "file_data": "data:application/pdf;base64,QQ==", "filename": "a.pdf"},
                {"type": "input_file", "file_data": "QQ==", "filename": "b.txt"},
                {"type": "input_file", "file_url": "https://example.test/c.pdf"},
            )
        )
        assert message.parts == (
            Text("see"),
            Image(media_type="image/png", data="QQ==", detail="low"),
            Image(url="https://example.test/a.png"),
            Document(media_type="application/pdf", data="QQ==", name="a.pdf"),
            Document(media_type="text/plain", data="QQ==", name="b.txt"),
            Document(url="https://example.test/c.pdf"),
        )

    def test_the_items_of_one_reply_are_one_message(self):
        thought = {"type": "reasoning", "id": "rs", "summary": [{"type": "summary_text", "text": "hm"}]}
        said = {"type": "message", "id": "msg", "role": "assistant", "status": "completed"}
        assert messages(
            {"role": "developer", "content": "be kind"},
            user({"type": "input_text", "text": "go"}),
            {**thought, "encrypted_content": "gaia:signed:proof"},
            {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "gaia:redacted:secret"},
            {**said, "content": [{"type": "output_text", "text": "wait", "annotations": []}]},
            CALL,
            {**CALL, "call_id": "c2"},
            RESULT,
            {**RESULT, "call_id": "c2", "output": [{"type": "input_text", "text": "r2"}]},
            {"role": "assistant", "content": "done"},
            {**said, "content": [{"type": "refusal", "refusal": "no more"}]},
        ) == [
            say(Role.SYSTEM, "be kind"),
            say(Role.USER, "go"),
            Message(
                Role.ASSISTANT,
                (Thinking("hm", "proof"), Thinking(redacted="secret"), Text("wait")),
                (ToolCall("c1", "f", "{}"), ToolCall("c2", "f", "{}")),
            ),
            Message(Role.TOOL, (Text("r"),), tool_call_id="c1"),
            Message(Role.TOOL, (Text("r2"),), tool_call_id="c2"),
            say(Role.ASSISTANT, "done"),
            say(Role.ASSISTANT, "no more"),
        ]

    def test_preferences_that_are_lost_are_named(self):
        thought = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "gAAAA"}
        _, left_out = request(
            input=[
                thought,
                {**user({"type": "input_text", "text": "go", "prompt_cache_breakpoint": {}}), "phase": "commentary"},
            ],
            service_tier="flex",
            truncation="auto",
            prompt_cache_key="k",
            text={"verbosity": "low"},
            reasoning={"mode": "pro"},
            tools=[{**FUNCTIONS[0], "defer_loading": True, "allowed_callers": ["direct"]}],
        ).translated()
        assert set(left_out) == {
            "input.reasoning",
            "input.phase",
            "input.content.prompt_cache_breakpoint",
            "service_tier",
            "truncation",
            "prompt_cache_key",
            "text.verbosity",
            "reasoning.mode",
            "tools[0].defer_loading",
        }

    def test_what_would_change_the_reply_is_refused_by_name_and_all_at_once(self):
        assert refused_fields(
            previous_response_id="r",
            prompt={"id": "p"},
            moderation={"model": "x"},
            top_logprobs=3,
            from_the_future=0,
            include=["message.output_text.logprobs"],
            input=[
                {"type": "web_search_call", "id": "ws"},
                {"type": "item_reference", "id": "msg_1"},
                {"id": "msg_2"},
                RESULT,
                user({"type": "input_image", "file_id": "f"}, {"type": "input_audio"}),
                user({"type": "input_image", "image_url": "gs://x/y"}, {"type": "input_file", "file_data": "QQ=="}),
            ],
            tools=[{"type": "web_search"}, {"type": "custom", "name": "x"}, {"type": "function", "name": "no spaces"}],
            tool_choice={"type": "mcp", "server_label": "x"},
        ) == [
            "previous_response_id",
            "prompt",
            "moderation",
            "top_logprobs",
            "from_the_future",
            "include",
            "input[0].type",
            "input[1]",
            "input[2]",
            "input[3].call_id",
            "input[4].content[0].file_id",
            "input[4].content[1].type",
            "input[5].content[0].image_url",
            "input[5].content[1].file_data",
            "tools[0].type",
            "tools[1].type",
            "tools[2].name",
            "tool_choice",
        ]

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"text": {"format": {"type": "json_object"}}}, "text.format.type"),
            ({"text": {"novelty": 1}}, "text.novelty"),
            ({"reasoning": {"novelty": 1}}, "reasoning.novelty"),
            ({"reasoning": {"effort": 3}}, "reasoning.effort"),
            ({"prompt_cache_options": {"prewarm": True}}, "prompt_cache_options.prewarm"),
            ({"tools": [{**FUNCTIONS[0], "async": True}]}, "tools[0].async"),
            ({"tools": [{**FUNCTIONS[0], "parameters": {"type": "array"}}]}, "tools[0].parameters.type"),
            ({"tools": FUNCTIONS, "tool_choice": {"type": "function", "name": "h"}}, "tool_choice"),
            ({"tools": FUNCTIONS, "tool_choice": {"type": "allowed_tools", "mode": "x"}}, "tool_choice"),
            ({"tools": FUNCTIONS, "tool_choice": {"type": "allowed_tools", "mode": "auto"}}, "tool_choice"),
            ({"tools": FUNCTIONS, "tool_choice": {"type": "function", "name": ["f"]}}, "tool_choice"),
            ({"tool_choice": "whatever"}, "tool_choice"),
            ({"tool_choice": "required"}, "tool_choice"),
            ({"input": ""}, "input"),
            ({"input": [{"role": "developer", "content": "be kind"}]}, "input"),
        ],
    )
    def test_what_has_no_counterpart_is_refused_with_its_place(self, fields, field):
        assert refused_fields(**fields) == [field]

    def test_allowed_tools_are_those_that_are_left(self):
        allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}
        turn, _ = request(tools=FUNCTIONS, tool_choice=allowed).translated()
        assert [tool.name for tool in turn.tools] == ["g"]
        assert turn.tool_choice == ToolChoice(ToolMode.REQUIRED)


class TestKeeping:
    def kept(self, **fields):
        return [(one.role, one.content) for one in request(**fields).new_input()]

    def test_what_is_new_since_the_last_reply_is_kept(self):
        image = {"type": "input_image", "image_url": "https://example.test/a.png"}
        old = [user({"type": "input_text", "text": "old"}), CALL]
        new = [RESULT, user({"type": "input_text", "text": "a"}, image), {"type": "item_reference", "id": "x"}]
        assert self.kept(input=[*old, *new], instructions="again") == [
            (Role.TOOL, "r"),
            (Role.USER, "a\n[input_image]"),
            (Role.USER, "[item_reference]"),
        ]

    def test_instructions_are_kept_at_the_beginning_only(self):
        assert self.kept(instructions="be kind") == [(Role.SYSTEM, "be kind"), (Role.USER, "hi")]
        assert self.kept(instructions="be kind", previous_response_id="r") == [(Role.USER, "hi")]

    def test_nothing_is_kept_of_what_the_client_will_not_have_kept(self):
        assert self.kept(instructions="be kind", store=False) == [(Role.SYSTEM, ""), (Role.USER, "")]
