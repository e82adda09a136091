"""The official Anthropic SDK, unmodified, with nothing but its key and its base URL set."""

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import pytest
from anthropic._exceptions import OverloadedError  # public by its status 529 only
from anthropic.types import ToolParam
from pydantic import BaseModel

from shared.identity import api_key
from tests.support.mesh import ENVIRONMENT, Caller, Mesh
from tests.support.simulator import Simulator

GREETING = "Hello from the simulated provider, nice to meet you."
THOUGHT = "One after the other, then all at once."
CLAUDE, OPENAI, LOCAL = "claude-sonnet-5", "gpt-5", "local-echo"
BOTH = pytest.mark.parametrize("model", [CLAUDE, OPENAI])
WEATHER: ToolParam = {
    "name": "weather",
    "description": "Tells the weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Weather(BaseModel):
    """What the form of a reply holds."""

    city: str
    degrees: int


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


@pytest.fixture
def client(mesh: Mesh, caller: Caller) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key=caller.key, base_url=mesh.url, max_retries=0) as made:
        yield made


@pytest.fixture
async def async_client(mesh: Mesh, caller: Caller) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(api_key=caller.key, base_url=mesh.url, max_retries=0) as made:
        yield made


class TestModels:
    def test_models_are_listed_and_retrieved(self, client: anthropic.Anthropic):
        models = list(client.models.list())
        assert {CLAUDE, OPENAI, LOCAL} <= {model.id for model in models}
        one = client.models.retrieve(CLAUDE)
        assert (one.id, one.type) == (CLAUDE, "model")
        assert client.models.retrieve(f"local/{LOCAL}").type == "model"

    def test_models_come_in_pages(self, client: anthropic.Anthropic):
        whole = [model.id for model in client.models.list()]
        first = client.models.list(limit=2)
        assert ([model.id for model in first.data], first.has_more) == (whole[:2], True)
        assert [model.id for model in first] == whole, "the SDK turns the pages itself"
        back = client.models.list(limit=2, before_id=whole[3])
        assert ([model.id for model in back.data], back.has_more) == (whole[1:3], True)
        assert not client.models.list(after_id=whole[-1]).data
        for wrong in ({"limit": 0}, {"limit": 1001}, {"after_id": "gpt-none"}):
            with pytest.raises(anthropic.BadRequestError, match=next(iter(wrong))):
                client.models.list(**wrong)

    def test_an_unknown_one_is_not_found_as_the_sdk_expects(self, client: anthropic.Anthropic):
        with pytest.raises(anthropic.NotFoundError) as caught:
            client.models.retrieve("claude-none")
        assert isinstance(caught.value.body, dict)
        assert (caught.value.body["type"], caught.value.body["error"]["type"]) == ("error", "not_found_error")
        assert caught.value.request_id == caught.value.body["request_id"]


class TestMessages:
    @BOTH
    def test_a_message(self, client: anthropic.Anthropic, model: str):
        made = client.messages.create(model=model, max_tokens=100, messages=user("please greet"))
        assert (made.type, made.role, made.model, made.stop_reason) == ("message", "assistant", model, "end_turn")
        assert [block.text for block in made.content if block.type == "text"] == [GREETING]
        assert (made.usage.input_tokens, made.usage.output_tokens) == (11, 7)
        assert made._request_id

    async def test_and_asynchronously(self, async_client: anthropic.AsyncAnthropic):
        made = await async_client.messages.create(
            model=LOCAL, max_tokens=100, system="Be brief.", messages=user("who is there?")
        )
        [block] = made.content
        assert block.type == "text"
        assert "My instructions are: Be brief." in block.text
        assert "who is there?" in block.text

    @pytest.mark.parametrize("model", [CLAUDE, OPENAI, LOCAL])
    def test_raw_events(self, client: anthropic.Anthropic, model: str):
        with client.messages.create(model=model, max_tokens=100, messages=user("please greet"), stream=True) as stream:
            events = list(stream)
        kinds = [event.type for event in events]
        assert kinds[:2] == ["message_start", "content_block_start"]
        assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
        assert set(kinds[2:-3]) == {"content_block_delta"}
        text = "".join(
            event.delta.text
            for event in events
            if event.type == "content_block_delta" and event.delta.type == "text_delta"
        )
        assert text == GREETING if model != LOCAL else "please greet" in text

    @BOTH
    async def test_the_sdks_own_accumulator_takes_the_stream(self, async_client: anthropic.AsyncAnthropic, model: str):
        async with async_client.messages.stream(model=model, max_tokens=100, messages=user("please greet")) as stream:
            assert "".join([text async for text in stream.text_stream]) == GREETING
            final = await stream.get_final_message()
        assert (final.stop_reason, final.usage.input_tokens, final.usage.output_tokens) == ("end_turn", 11, 7)

    @BOTH
    @pytest.mark.parametrize("streams", [False, True])
    def test_tools_make_the_round_trip(self, client: anthropic.Anthropic, model: str, streams: bool):
        messages = user("please use a tool")
        options: dict[str, Any] = {"model": model, "max_tokens": 100, "tools": [WEATHER]}

        def ask() -> Any:
            if not streams:
                return client.messages.create(messages=messages, **options)
            with client.messages.stream(messages=messages, **options) as stream:
                return stream.get_final_message()

        first = ask()
        assert first.stop_reason == "tool_use"
        [call] = [block for block in first.content if block.type == "tool_use"]
        assert (call.name, call.input) == ("weather", {"city": "Ulm"})
        messages.append({"role": "assistant", "content": first.content})
        result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "21"}]}
        messages.append({"role": "user", "content": [result]})
        second = ask()
        assert [block.text for block in second.content if block.type == "text"] == ["It is 21 degrees in Ulm."]
        assert second.stop_reason == "end_turn"

    @pytest.mark.parametrize("streams", [False, True])
    def test_the_sdks_own_runner_of_tools_does_without_what_anthropic_alone_keeps(
        self, client: anthropic.Anthropic, streams: bool
    ):
        asked: list[str] = []

        @anthropic.beta_tool
        def weather(city: str) -> str:
            """Tells the weather of a city."""
            asked.append(city)
            return "21"

        runner = client.beta.messages.tool_runner(
            model=OPENAI, max_tokens=100, messages=user("please use a tool"), tools=[weather], stream=streams
        )
        last: Any = runner.until_done()
        assert (asked, last.content[0].text) == (["Ulm"], "It is 21 degrees in Ulm.")

    async def test_a_picture_reaches_a_model_of_openais(
        self, async_client: anthropic.AsyncAnthropic, simulator: Simulator
    ):
        nonce = str(uuid.uuid4())
        content: list[Any] = [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
            {"type": "text", "text": f"please greet who is in the picture {nonce}"},
        ]
        await async_client.messages.create(model=OPENAI, max_tokens=9, messages=[{"role": "user", "content": content}])
        [entry] = await simulator.journal(nonce)
        assert PIXEL in str(entry["body"])

    @BOTH
    def test_a_reply_has_the_form_asked_for(self, client: anthropic.Anthropic, model: str):
        made = client.messages.parse(
            model=model, max_tokens=100, messages=user("please fill in a form"), output_format=Weather
        )
        assert made.parsed_output == Weather(city="Ulm", degrees=21)

    @BOTH
    @pytest.mark.parametrize("streams", [False, True])
    def test_thinking_is_shown_to_who_asks_for_it(self, client: anthropic.Anthropic, model: str, streams: bool):
        options: dict[str, Any] = {"model": model, "max_tokens": 4000, "messages": user("please think first")}
        wanted: dict[str, Any] = {**options, "thinking": {"type": "adaptive"}}
        if streams:
            with client.messages.stream(**wanted) as stream:
                made = stream.get_final_message()
        else:
            made = client.messages.create(**wanted)
        thinking, text = made.model_dump()["content"]
        assert (thinking["type"], thinking["thinking"]) == ("thinking", THOUGHT)
        assert (text["type"], text["text"]) == ("text", "Thought through.")
        if model == OPENAI:
            unasked = client.messages.create(**options)
            assert [block.type for block in unasked.content] == ["text"]

    @pytest.mark.parametrize("model", [OPENAI, LOCAL])
    def test_tokens_are_counted(self, client: anthropic.Anthropic, model: str):
        counted = client.messages.with_raw_response.count_tokens(
            model=model, messages=user("word " * 600), tools=[WEATHER], system="Be brief."
        )
        assert 900 < counted.parse().input_tokens < 1300
        assert counted.headers["gaia-estimated"] == "true"

    def test_fields_of_tomorrow_reach_claude_and_are_refused_elsewhere_by_name(self, client: anthropic.Anthropic):
        options: dict[str, Any] = {
            "max_tokens": 100,
            "messages": user("please greet"),
            "extra_body": {"a_field_of_tomorrow": 1},
        }
        assert client.messages.create(model=CLAUDE, **options).stop_reason == "end_turn"
        with pytest.raises(anthropic.BadRequestError, match="a_field_of_tomorrow"):
            client.messages.create(model=OPENAI, **options)

    async def test_what_a_translation_leaves_out_is_told(self, async_client: anthropic.AsyncAnthropic):
        raw = await async_client.messages.with_raw_response.create(
            model=OPENAI,
            max_tokens=100,
            messages=user("please greet"),
            cache_control={"type": "ephemeral"},
            extra_body={"temperature": 0.2},
        )
        assert raw.headers["gaia-left-out"] == "cache_control, temperature"

    async def test_the_beta_interface_works_too(self, async_client: anthropic.AsyncAnthropic):
        made = await async_client.beta.messages.create(
            model=OPENAI, max_tokens=100, messages=user("please greet"), betas=["of-tomorrow-2030-01-01"]
        )
        assert made.stop_reason == "end_turn"

    async def test_a_message_is_stored(self, mesh: Mesh, async_client: anthropic.AsyncAnthropic):
        nonce = str(uuid.uuid4())
        await async_client.messages.create(
            model=CLAUDE,
            max_tokens=100,
            messages=user(f"please greet {nonce}"),
            extra_headers={"X-Request-Id": nonce},
        )
        rows = await mesh.rows("SELECT * FROM chat_messages WHERE request_id = $1 ORDER BY position", nonce)
        assert [(row["role"], row["input_tokens"], row["output_tokens"]) for row in rows][1:] == [("assistant", 11, 7)]


class TestKeys:
    async def test_a_key_works_in_either_header(self, mesh: Mesh, caller: Caller):
        body = {"model": LOCAL, "max_tokens": 10, "messages": user("hi")}
        for headers in ({"x-api-key": caller.key}, {"authorization": f"Bearer {caller.key}"}):
            answer = await mesh.http.post("/v1/messages", json=body, headers=headers)
            assert (answer.status_code, answer.json()["type"]) == (200, "message")

    async def test_and_from_either_setting_of_the_sdk(self, mesh: Mesh, caller: Caller):
        async with anthropic.AsyncAnthropic(auth_token=caller.key, base_url=mesh.url, max_retries=0) as client:
            made = await client.messages.create(model=LOCAL, max_tokens=10, messages=user("hi"))
        assert made.type == "message"


class TestErrors:
    """Each failure is raised as the SDK's class for it."""

    @pytest.mark.parametrize("key", [pytest.param(api_key.generate(ENVIRONMENT), id="unknown"), "sk-ant-not-of-gaia"])
    def test_a_bad_key(self, mesh: Mesh, key: str):
        with (
            anthropic.Anthropic(api_key=key, base_url=mesh.url, max_retries=0) as stranger,
            pytest.raises(anthropic.AuthenticationError) as caught,
        ):
            stranger.messages.create(model=CLAUDE, max_tokens=10, messages=user("hi"))
        assert caught.value.type == "authentication_error"
        assert key not in str(caught.value)

    async def test_a_missing_scope(self, mesh: Mesh):
        reader = await mesh.new_caller(["chat:read"])
        async with anthropic.AsyncAnthropic(api_key=reader.key, base_url=mesh.url, max_retries=0) as client:
            with pytest.raises(anthropic.PermissionDeniedError, match="chat:write") as caught:
                await client.messages.create(model=CLAUDE, max_tokens=10, messages=user("hi"))
        assert caught.value.type == "permission_error"

    def test_an_unknown_model(self, client: anthropic.Anthropic):
        with pytest.raises(anthropic.NotFoundError, match="claude-sonnet-5") as caught:
            client.messages.create(model="claude-sonnet-5x", max_tokens=10, messages=user("hi"))
        assert caught.value.type == "not_found_error"
        with pytest.raises(anthropic.NotFoundError):
            client.messages.count_tokens(model="claude-sonnet-5x", messages=user("hi"))

    @BOTH
    def test_a_faulty_request_is_told_all_its_faults(self, client: anthropic.Anthropic, model: str):
        with pytest.raises(anthropic.BadRequestError) as caught:
            client.post("/v1/messages", body={"model": model, "messages": [], "top_k": "x"}, cast_to=object)
        assert caught.value.type == "invalid_request_error"
        for field in ("max_tokens: is missing", "messages: must be", "top_k: must be"):
            assert field in str(caught.value)

    @BOTH
    @pytest.mark.parametrize(
        ("wish", "error", "kind"),
        [
            ("limit the rate", anthropic.RateLimitError, "rate_limit_error"),
            ("fail with 500", anthropic.InternalServerError, "api_error"),
            ("be overloaded", OverloadedError, "overloaded_error"),
            ("answer nonsense", anthropic.InternalServerError, "api_error"),
            ("refuse our key", anthropic.InternalServerError, "api_error"),
            ("refuse the request", anthropic.BadRequestError, "invalid_request_error"),
        ],
    )
    @pytest.mark.parametrize("stream", [False, True])
    def test_a_failure_of_the_provider_keeps_its_class(
        self,
        client: anthropic.Anthropic,
        model: str,
        wish: str,
        error: type[anthropic.APIStatusError],
        kind: str,
        stream: bool,
    ):
        with pytest.raises(error) as caught:
            client.messages.create(model=model, max_tokens=10, messages=user(f"please {wish}"), stream=stream)
        assert caught.value.type == kind
        assert "sk-simulated" not in str(caught.value)
        assert caught.value.request_id == caught.value.response.headers["x-request-id"]
        if kind == "rate_limit_error":
            assert caught.value.response.headers["retry-after"] == "7"

    @BOTH
    async def test_a_cut_stream_is_raised_as_an_error_and_never_ends_as_a_message(
        self, async_client: anthropic.AsyncAnthropic, model: str
    ):
        texts: list[str] = []

        async def collect() -> None:
            wish = user("please cut the stream")
            async with async_client.messages.stream(model=model, max_tokens=100, messages=wish) as stream:
                async for text in stream.text_stream:
                    texts.append(text)  # noqa: PERF401 - what came before the error counts

        with pytest.raises(anthropic.APIStatusError) as caught:
            await collect()
        assert caught.value.type == "api_error"
        assert "This reply is cut off before it ends, as connections are.".startswith("".join(texts))
        assert texts
