"""Anthropic's messages: what is refused at the door, and what becomes of a request for another family."""

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.chat.dialects.anthropic_messages import parse
from services.chat.providers.anthropic_request import encode_request
from services.chat.turn import (
    Document,
    Image,
    JsonSchema,
    Message,
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

USER = {"role": "user", "content": "hi"}
ASK = {"model": "m", "max_tokens": 9, "messages": [USER]}
TOOL = {"name": "f", "input_schema": {"type": "object"}}
EPHEMERAL = {"type": "ephemeral"}
PARALLEL = "disable_parallel_tool_use"
WHOLE = {"type": "content", "content": "whole"}


def asked(**fields):
    return parse(orjson.dumps({**ASK, **fields}), {}, "r")


def turn(**fields):
    return asked(**fields).translated()[0]


def said(*messages):
    return list(turn(messages=list(messages)).messages)


def left_out(**fields):
    return asked(**fields).translated()[1]


def refusals(**fields):
    with pytest.raises(InvalidArgument) as caught:
        asked(**fields).translated()
    return [violation.field for violation in caught.value.violations]


class TestTheDoor:
    @pytest.mark.parametrize(
        ("fields", "places"),
        [
            ({"model": None}, ["model"]),
            ({"model": ""}, ["model"]),
            ({"max_tokens": None}, ["max_tokens"]),
            ({"max_tokens": -1}, ["max_tokens"]),
            ({"max_tokens": True}, ["max_tokens"]),
            ({"stream": "yes", "temperature": 2}, ["stream", "temperature"]),
            ({"top_p": "x", "top_k": -1}, ["top_p", "top_k"]),
            ({"stop_sequences": "x"}, ["stop_sequences"]),
            ({"messages": []}, ["messages"]),
            ({"messages": [5, {"role": "wizard", "content": "x"}]}, ["messages[0]", "messages[1].role"]),
            ({"messages": [{"role": "user", "content": 5}]}, ["messages[0].content"]),
            ({"messages": [{"role": "user", "content": ""}]}, ["messages[0].content"]),
            ({"messages": [{"role": "user"}]}, ["messages[0].content"]),
            ({"system": 5}, ["system"]),
            ({"system": [{"type": "image"}, {"type": "text"}]}, ["system[0].type", "system[1].text"]),
            ({"tools": {}}, ["tools"]),
            ({"tools": [5, {"type": 5}, {}]}, ["tools[0]", "tools[1].type", "tools[2].name", "tools[2].input_schema"]),
            ({"tools": [{**TOOL, "strict": 1, "description": 2}]}, ["tools[0].description", "tools[0].strict"]),
            ({"tool_choice": "auto"}, ["tool_choice.type"]),
            ({"tool_choice": {"type": ["auto"]}}, ["tool_choice.type"]),
            ({"tool_choice": {"type": "tool"}}, ["tool_choice.name"]),
            ({"tool_choice": {"type": "any", "disable_parallel_tool_use": "x"}}, [f"tool_choice.{PARALLEL}"]),
            ({"thinking": True}, ["thinking.type"]),
            ({"thinking": {"type": "enabled", "budget_tokens": 5}}, ["thinking.budget_tokens"]),
            ({"output_config": "x"}, ["output_config"]),
            ({"output_config": {"effort": 5}}, ["output_config.effort"]),
            ({"output_config": {"format": {}}}, ["output_config.format.type"]),
            ({"output_config": {"format": {"type": "json_schema"}}}, ["output_config.format.schema"]),
            ({"metadata": {"user_id": 5}}, ["metadata.user_id"]),
            ({"thread": "x"}, ["thread.type"]),
            ({"thread": {"type": "continue"}, "messages": []}, ["thread.previous_message_id"]),
            ({"thread": {"type": "create"}, "messages": []}, ["messages"]),
        ],
    )
    def test_everything_wrong_is_named_at_once(self, fields, places):
        with pytest.raises(InvalidArgument) as caught:
            asked(**fields)
        assert [violation.field for violation in caught.value.violations] == places

    @pytest.mark.parametrize(
        ("block", "place"),
        [
            (5, ""),
            ({"type": "text"}, ".text"),
            ({"type": "image", "source": "x"}, ".source"),
            ({"type": "image", "source": {}}, ".source.type"),
            ({"type": "image", "source": {"type": "base64", "media_type": "image/png"}}, ".source.data"),
            ({"type": "document", "source": {"type": "url"}}, ".source.url"),
            ({"type": "document", "source": {"type": "content", "content": [5]}}, ".source.content[0]"),
            ({"type": "document", "source": {"type": "content", "content": 5}}, ".source.content"),
            ({"type": "tool_use", "id": "1", "name": "f", "input": "{}"}, ".input"),
            ({"type": "tool_result"}, ".tool_use_id"),
            ({"type": "tool_result", "tool_use_id": "1", "content": 5}, ".content"),
            ({"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text"}]}, ".content[0].text"),
            ({"type": "thinking", "thinking": "x"}, ".signature"),
            ({"type": "redacted_thinking"}, ".data"),
        ],
    )
    def test_a_faulty_block_is_named(self, block, place):
        with pytest.raises(InvalidArgument) as caught:
            asked(messages=[{"role": "user", "content": [block]}])
        assert [violation.field for violation in caught.value.violations] == [f"messages[0].content[0]{place}"]

    def test_blocks_in_blocks_end_somewhere(self):
        block = {"type": "text", "text": "x"}
        for _ in range(100):
            block = {"type": "tool_result", "tool_use_id": "1", "content": [block]}
        with pytest.raises(InvalidArgument, match="nests blocks"):
            asked(messages=[{"role": "user", "content": [block]}])

    @pytest.mark.parametrize(
        "fields",
        [
            {"messages": [{"role": "user", "content": [{}]}] * 10_000},
            {"messages": [{"role": "user", "content": [{}] * 10_000}]},
            {"system": [{}] * 10_000},
            {"tools": [{}] * 10_000},
        ],
    )
    def test_ten_thousand_faults_are_not_all_told(self, fields):
        with pytest.raises(InvalidArgument) as caught:
            asked(**fields)
        assert len(caught.value.violations) == 20

    def test_and_neither_are_ten_thousand_losses(self):
        assert len(refusals(messages=[{"role": "user", "content": [{"type": "odd"}] * 10_000}])) == 20

    def test_fields_and_blocks_of_tomorrow_pass_to_anthropic_with_the_headers_that_explain_them(self):
        body = {**ASK, "of_tomorrow": [1], "messages": [{"role": "user", "content": [{"type": "of_tomorrow"}]}]}
        headers = {"anthropic-beta": "b1,b2", "anthropic-version": "2023-06-01", "x-else": "no"}
        original = parse(orjson.dumps(body), headers, "r").same_dialect().original
        assert original.body == body
        assert original.headers == {"anthropic-beta": "b1,b2", "anthropic-version": "2023-06-01"}

    def test_a_request_to_count_needs_no_limit(self):
        body = {"model": "m", "messages": [USER]}
        assert parse(orjson.dumps(body), {}, "r", counts_only=True).max_output_tokens is None


class TestMessages:
    def test_instructions_come_first_as_one_message(self):
        assert turn(system="be kind").messages == [say(Role.SYSTEM, "be kind"), say(Role.USER, "hi")]
        blocks = [{"type": "text", "text": "a", "cache_control": EPHEMERAL}, {"type": "text", "text": "b"}]
        assert turn(system=blocks).messages[0] == say(Role.SYSTEM, "a\n\nb")
        assert said(USER, {"role": "system", "content": "now rhyme"}, USER)[1] == say(Role.SYSTEM, "now rhyme")

    def test_a_conversation_with_tools(self):
        assistant = {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "text", "text": "Looking.", "citations": None},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}, "caller": {"type": "direct"}},
                {"type": "tool_use", "id": "t2", "name": "f", "input": {}},
            ],
        }
        image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}}
        results = {
            "role": "user",
            "content": [
                {"type": "text", "text": "and now?"},
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "r"}, image]},
                {"type": "tool_result", "tool_use_id": "t2", "content": "no", "is_error": True},
            ],
        }
        assert said(USER, assistant, results)[1:] == [
            Message(
                Role.ASSISTANT,
                (Thinking("hm", "s"), Thinking(redacted="x"), Text("Looking.")),
                (ToolCall("t1", "f", '{"a":1}'), ToolCall("t2", "f", "{}")),
            ),
            Message(Role.TOOL, (Text("r"), Image(media_type="image/png", data="QQ==")), tool_call_id="t1"),
            Message(Role.TOOL, (Text("no"),), tool_call_id="t2", is_error=True),
            say(Role.USER, "and now?"),
        ]
        assert left_out(messages=[USER, assistant, results]) == ("messages.content.thinking",)

    def test_pictures_and_documents(self):
        pdf = {"type": "base64", "media_type": "application/pdf", "data": "QQ=="}
        found = {"type": "text", "text": "found"}
        content = [
            {"type": "image", "source": {"type": "url", "url": "https://x.test/i.png"}},
            {"type": "document", "source": pdf, "title": "T", "context": "old"},
            {"type": "document", "source": {"type": "url", "url": "https://x.test/d.pdf"}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}, "title": "P"},
            {"type": "document", "source": {"type": "content", "content": [{"type": "text", "text": "inner"}]}},
            {"type": "document", "source": WHOLE},
            {"type": "search_result", "source": "https://s.test", "title": "S", "content": [found]},
        ]
        [message] = said({"role": "user", "content": content})
        assert message.parts == (
            Image(url="https://x.test/i.png"),
            Text("old\n"),
            Document(media_type="application/pdf", data="QQ==", name="T"),
            Document(url="https://x.test/d.pdf"),
            *(Text("P\n"), Text("plain"), Text("\n\n")),
            *(Text("inner"), Text("\n\n")),
            *(Text("whole"), Text("\n\n")),
            *(Text("S\nhttps://s.test\n"), Text("found"), Text("\n\n")),
        )

    @pytest.mark.parametrize(
        ("block", "place"),
        [
            ({"type": "server_tool_use", "id": "1", "name": "web_search", "input": {}}, ".type"),
            ({"type": "image", "source": {"type": "file", "file_id": "f"}}, ".source"),
            ({"type": "image", "source": {"type": "url", "url": "file:///etc/passwd"}}, ".source.url"),
            ({"type": "image", "source": {"type": "of_tomorrow"}}, ".source.type"),
            ({"type": "document", "source": {"type": "file", "file_id": "f"}}, ".source"),
            ({"type": "document", "source": {"type": "url", "url": "gopher://x"}}, ".source.url"),
            ({"type": "document", "source": {"type": "of_tomorrow"}}, ".source.type"),
            ({"type": "document", "source": WHOLE, "citations": {"enabled": True}}, ".citations"),
            ({"type": "text", "text": "x", "of_tomorrow": 1}, ".of_tomorrow"),
            ({"type": "tool_result", "tool_use_id": "1", "toolset_name": "browser"}, ".toolset_name"),
            ({"type": "tool_result", "tool_use_id": "1", "content": [{"type": "tool_reference"}]}, ".content[0].type"),
        ],
    )
    def test_what_has_no_counterpart_is_refused_with_its_place(self, block, place):
        assert refusals(messages=[{"role": "user", "content": [block]}]) == [f"messages[0].content[0]{place}"]

    def test_a_reply_that_was_begun_cannot_be_gone_on_with(self):
        assert refusals(messages=[USER, {"role": "assistant", "content": "It is ("}]) == ["messages[1]"]

    @pytest.mark.parametrize("content", [" \n", [{"type": "text", "text": ""}]])
    def test_messages_that_say_nothing_are_refused(self, content):
        assert refusals(messages=[{"role": "user", "content": content}]) == ["messages"]

    def test_what_is_kept_is_what_was_said_since_the_last_reply(self):
        image = {"type": "image", "source": {"type": "url", "url": "https://x.test/i.png"}}
        result = {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "r"}, image]}
        said_now = {"role": "user", "content": [result, {"type": "text", "text": "now"}, image]}
        kept = asked(system="s", messages=[USER, {"role": "assistant", "content": "a"}, said_now]).new_input()
        assert [(one.role, one.content) for one in kept] == [(Role.TOOL, "r\n[image]"), (Role.USER, "now\n[image]")]
        kept = asked(system=[{"type": "text", "text": "s"}]).new_input()
        assert [(one.role, one.content) for one in kept] == [(Role.SYSTEM, "s"), (Role.USER, "hi")]


class TestFields:
    def test_limits_and_sampling(self):
        made = turn(stop_sequences=["x"], temperature=0.5, top_p=0.9, top_k=3, metadata={"user_id": "u"})
        assert (made.max_tokens, made.stop, made.temperature, made.top_p, made.top_k) == (9, ("x",), 0.5, 0.9, 3)
        assert made.end_user == "u"

    @pytest.mark.parametrize(
        ("choice", "mode", "parallel"),
        [
            ({"type": "auto"}, ToolChoice(ToolMode.AUTO), None),
            ({"type": "any", "disable_parallel_tool_use": True}, ToolChoice(ToolMode.REQUIRED), False),
            ({"type": "tool", "name": "f"}, ToolChoice(ToolMode.NAMED, "f"), None),
            ({"type": "none"}, ToolChoice(ToolMode.NONE), None),
        ],
    )
    def test_tools(self, choice, mode, parallel):
        described = {**TOOL, "type": "custom", "description": "d", "strict": True, "allowed_callers": ["direct"]}
        made = turn(tools=[described, TOOL], tool_choice=choice)
        schema = {"type": "object"}
        assert made.tools == [Tool("f", "d", schema, strict=True), Tool("f", "", schema)]
        assert (made.tool_choice, made.parallel_tool_calls) == (mode, parallel)

    @pytest.mark.parametrize(
        ("tool", "place"),
        [
            ({"type": "web_search_20260318", "name": "web_search"}, ".type"),
            ({"type": "bash_20250124", "name": "bash"}, ".type"),
            ({**TOOL, "name": "x" * 65}, ".name"),
            ({**TOOL, "allowed_callers": ["code_execution_20260521"]}, ".allowed_callers"),
            ({**TOOL, "of_tomorrow": 1}, ".of_tomorrow"),
        ],
    )
    def test_a_tool_without_counterpart_is_refused_by_name(self, tool, place):
        assert refusals(tools=[tool]) == [f"tools[0]{place}"]

    @pytest.mark.parametrize(
        ("fields", "place"),
        [
            ({"tool_choice": {"type": "any"}}, "tool_choice"),
            ({"tool_choice": {"type": "any"}, "tools": []}, "tool_choice"),
            ({"tool_choice": {"type": "tool", "name": "g"}, "tools": [TOOL]}, "tool_choice.name"),
        ],
    )
    def test_a_choice_that_no_tool_can_meet_is_refused(self, fields, place):
        assert refusals(**fields) == [place]

    @pytest.mark.parametrize(
        ("fields", "tokens", "effort"),
        [
            ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, 1024, "low"),
            ({"thinking": {"type": "enabled", "budget_tokens": 10_000}}, 10_000, "medium"),
            ({"thinking": {"type": "enabled", "budget_tokens": 60_000}}, 60_000, "high"),
            ({"thinking": {"type": "enabled", "budget_tokens": 1024}, "output_config": {"effort": "max"}}, 1024, "max"),
            ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}, None, "high"),
            ({"thinking": {"type": "between_tools"}}, None, None),
            ({"thinking": {"type": "disabled"}}, 0, None),
            ({}, None, None),
        ],
    )
    def test_thinking_in_tokens_and_in_words(self, fields, tokens, effort):
        made = turn(**fields)
        assert (made.thinking_tokens, made.reasoning_effort) == (tokens, effort)

    @pytest.mark.parametrize("name", ["output_config", "output_format"])
    @pytest.mark.parametrize(
        ("schema", "strict"),
        [
            ({"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False}, True),
            ({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, None),
            ({"type": "object", "properties": {}}, None),
            ({"type": "array", "items": {"type": "object"}}, None),
        ],
    )
    def test_a_form_is_strict_where_its_schema_keeps_openais_rule(self, name, schema, strict):
        form = {"type": "json_schema", "schema": schema}
        made = turn(**{name: form if name == "output_format" else {"format": form}})
        assert made.response_schema == JsonSchema("reply", schema, strict)

    def test_that_the_model_may_decide_how_much_to_think_is_told_by_an_effort_or_left_out(self):
        for kind in ("adaptive", "between_tools"):
            assert left_out(thinking={"type": kind}) == ("thinking",)
            assert left_out(thinking={"type": kind}, output_config={"effort": "high"}) == ()

    def test_a_thread_is_refused_with_what_has_the_sdks_runner_of_tools_go_on_without(self):
        with pytest.raises(InvalidArgument, match="thread: cannot be kept") as caught:
            asked(thread={"type": "create"}).translated()
        told = orjson.loads(caught.value.metadata["provider_details"])
        assert told["error_code"] == "thread_unsupported_request"
        assert refusals(messages=[], thread={"type": "continue", "previous_message_id": "m"}) == ["thread"]

    def test_what_is_new_at_anthropic_is_left_out_by_the_header_that_asks_for_it(self):
        headers = {"anthropic-version": "2023-06-01", "anthropic-beta": "of-tomorrow"}
        assert parse(orjson.dumps(ASK), headers, "r").translated()[1] == ("anthropic-beta",)

    def test_preferences_are_named_once_and_neutral_ones_not_at_all(self):
        assert left_out(service_tier="auto", speed="standard", container=None, mcp_servers=[]) == ()
        marked = [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": EPHEMERAL}] * 2}]
        assert left_out(
            cache_control=EPHEMERAL,
            service_tier="standard_only",
            context_management={"edits": []},
            tools=[{**TOOL, "cache_control": EPHEMERAL, "eager_input_streaming": True}],
            messages=marked,
        ) == ("cache_control", "service_tier", "context_management", "eager_input_streaming")

    def test_everything_that_would_change_the_reply_is_refused_at_once(self):
        assert refusals(
            max_tokens=0,
            container="c",
            inference_geo="us",
            mcp_servers=[{}],
            of_tomorrow=1,
            thinking={"type": "of_tomorrow"},
            output_config={"task_budget": 5, "format": {"type": "grammar"}},
        ) == [
            "container",
            "inference_geo",
            "mcp_servers",
            "of_tomorrow",
            "max_tokens",
            "output_config.task_budget",
            "output_config.format.type",
            "thinking.type",
        ]


class TestRoundTrip:
    """What is translated and written again for Anthropic is what was sent."""

    texts = st.text(min_size=1).filter(str.strip)
    names = st.text("abcXYZ019_-", min_size=1, max_size=64)
    values = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=5,
    )
    objects = st.dictionaries(st.text(), values, max_size=3)
    text_blocks = st.builds(lambda text: {"type": "text", "text": text}, texts)
    sources = st.one_of(
        st.just({"type": "base64", "media_type": "image/png", "data": "QQ=="}),
        st.builds(lambda name: {"type": "url", "url": f"https://x.test/{name}"}, names),
    )
    images = st.builds(lambda source: {"type": "image", "source": source}, sources)
    shown = st.lists(text_blocks | images, min_size=1, max_size=3)
    calls = st.builds(
        lambda i, name, value: {"type": "tool_use", "id": i, "name": name, "input": value}, names, names, objects
    )
    results = st.builds(lambda i, content: {"type": "tool_result", "tool_use_id": i, "content": content}, names, shown)
    failures = results.map(lambda result: {**result, "is_error": True})
    thoughts = st.builds(lambda text, sign: {"type": "thinking", "thinking": text, "signature": sign}, texts, texts)
    users = st.builds(lambda first, then: [*first, *then], st.lists(results | failures, max_size=2), shown)
    assistants = st.builds(
        lambda *parts: [block for part in parts for block in part],
        st.lists(thoughts, max_size=1),
        st.lists(text_blocks, min_size=1, max_size=2),
        st.lists(calls, max_size=2),
    )
    conversations = st.builds(
        lambda pairs, last: [
            *(message for user, reply in pairs for message in (("user", user), ("assistant", reply))),
            ("user", last),
        ],
        st.lists(st.tuples(users, assistants), max_size=2),
        users,
    )
    schemas = st.builds(
        lambda more: {"type": "object", "properties": more}, st.dictionaries(names, objects, max_size=2)
    )
    tools = st.builds(
        lambda name, schema, more: {"name": name, "input_schema": schema, **more},
        names,
        schemas,
        st.fixed_dictionaries({}, optional={"description": texts, "strict": st.booleans()}),
    )
    choices = st.sampled_from(
        [
            {"type": "auto", "disable_parallel_tool_use": True},
            {"type": "any"},
            {"type": "tool"},
            {"type": "none"},
        ]
    )
    requests = st.builds(
        lambda messages, more, described: {
            "model": "m",
            "messages": [{"role": role, "content": content} for role, content in messages],
            **more,
            **described,
        },
        conversations,
        st.fixed_dictionaries(
            {"max_tokens": st.integers(1, 10**6)},
            optional={
                "system": texts,
                "stop_sequences": st.lists(texts, min_size=1, max_size=3),
                "output_config": st.builds(
                    lambda schema: {"format": {"type": "json_schema", "schema": schema}}, schemas
                ),
                "thinking": st.just({"type": "disabled"}),
                "metadata": st.builds(lambda user: {"user_id": user}, texts),
            },
        ),
        st.just({})
        | st.builds(
            lambda made, choice: {
                "tools": [made],
                "tool_choice": {**choice, "name": made["name"]} if choice["type"] == "tool" else choice,
            },
            tools,
            choices,
        ),
    )

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(requests)
    def test_a_request_without_losses_comes_back_as_it_was(self, body):
        made, _ = parse(orjson.dumps(body), {}, "r").translated()
        assert orjson.loads(encode_request(made, "m", stream=False)) == orjson.loads(orjson.dumps(body))
