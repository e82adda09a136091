"""The official OpenAI SDK, unmodified, with nothing but its key and its base URL set."""

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

from shared.identity import api_key
from tests.support.mesh import ENVIRONMENT, Caller, Mesh
from tests.support.simulator import Simulator

GREETING = "Hello from the simulated provider, nice to meet you."
MODELS = {"openai": "gpt-5", "claude": "claude-sonnet-5", "local": "local-echo"}
BOTH = pytest.mark.parametrize("model", [MODELS["openai"], MODELS["claude"]])
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Weather(BaseModel):
    """A form for the model to fill in."""

    city: str
    degrees: int


def user(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


@pytest.fixture
def client(mesh: Mesh, caller: Caller) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=caller.key, base_url=f"{mesh.url}/v1", max_retries=0) as made:
        yield made


@pytest.fixture
async def async_client(mesh: Mesh, caller: Caller) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key=caller.key, base_url=f"{mesh.url}/v1", max_retries=0) as made:
        yield made


class TestModels:
    def test_models_are_listed_and_retrieved(self, client: openai.OpenAI):
        models = list(client.models.list())
        assert set(MODELS.values()) <= {model.id for model in models}
        assert {"openai", "local"} <= {model.owned_by for model in models}
        one = client.models.retrieve(models[0].id)
        assert (one.id, one.object, one.owned_by) == (models[0].id, "model", models[0].owned_by)
        # The SDK sends the slash encoded.
        assert client.models.retrieve("local/local-echo").owned_by == "local"

    async def test_and_asynchronously(self, async_client: openai.AsyncOpenAI):
        models = [model async for model in async_client.models.list()]
        assert (await async_client.models.retrieve(models[-1].id)).id == models[-1].id


class TestCompletions:
    @pytest.mark.parametrize("provider", ["openai", "claude"])
    def test_a_completion(self, client: openai.OpenAI, provider: str):
        model = MODELS[provider]
        made = client.chat.completions.create(model=model, messages=user("please greet"))
        assert made.object == "chat.completion"
        assert made.model == model
        [choice] = made.choices
        assert (choice.index, choice.finish_reason) == (0, "stop")
        assert (choice.message.role, choice.message.content) == ("assistant", GREETING)
        assert made.usage is not None
        assert (made.usage.prompt_tokens, made.usage.completion_tokens, made.usage.total_tokens) == (11, 7, 18)

    def test_the_local_model_sees_what_was_said(self, client: openai.OpenAI):
        messages: list[ChatCompletionMessageParam] = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "my cat is called Ada"},
            {"role": "assistant", "content": "Noted."},
            {"role": "user", "content": "who is my cat?"},
        ]
        made = client.chat.completions.create(model="local-echo", messages=messages)
        content = made.choices[0].message.content or ""
        assert "who is my cat?" in content
        assert "my cat is called Ada" in content

    @pytest.mark.parametrize("provider", ["openai", "claude", "local"])
    def test_a_streamed_completion_with_usage(self, client: openai.OpenAI, provider: str):
        with client.chat.completions.create(
            model=MODELS[provider],
            messages=user("please greet"),
            stream=True,
            stream_options={"include_usage": True},
        ) as stream:
            chunks = list(stream)
        assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
        assert len({chunk.id for chunk in chunks}) == 1
        choices = [choice for chunk in chunks for choice in chunk.choices]
        assert {choice.index for choice in choices} == {0}
        assert choices[0].delta.role == "assistant"
        text = "".join(choice.delta.content or "" for choice in choices)
        assert text == GREETING if provider != "local" else "please greet" in text
        assert [choice.finish_reason for choice in choices if choice.finish_reason] == ["stop"]
        assert not chunks[-1].choices
        usage = chunks[-1].usage
        assert usage is not None
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens > 0
        assert all(chunk.usage is None for chunk in chunks[:-1])

    async def test_a_stream_without_a_wish_for_usage_has_none(self, async_client: openai.AsyncOpenAI):
        for model in MODELS.values():
            stream = await async_client.chat.completions.create(model=model, messages=user("please greet"), stream=True)
            async with stream:
                chunks = [chunk async for chunk in stream]
            assert all(chunk.usage is None for chunk in chunks)
            assert all(chunk.choices for chunk in chunks)

    async def test_the_sdks_own_accumulator_takes_the_stream(self, async_client: openai.AsyncOpenAI):
        async with async_client.chat.completions.stream(model="gpt-5", messages=user("please greet")) as stream:
            final = await stream.get_final_completion()
        assert final.choices[0].message.content == GREETING

    async def test_parameters_reach_a_provider_of_the_same_family_unchanged(
        self, async_client: openai.AsyncOpenAI, simulator: Simulator
    ):
        nonce = str(uuid.uuid4())
        await async_client.chat.completions.create(
            model="gpt-5",
            messages=user(f"please greet {nonce}"),
            seed=7,
            stop=["END"],
            temperature=0.25,
            max_completion_tokens=50,
            extra_body={"a_parameter_of_tomorrow": {"kept": True}},
        )
        [entry] = await simulator.journal(nonce)
        asked = entry["body"]
        assert asked["seed"] == 7
        assert asked["stop"] == ["END"]
        assert asked["temperature"] == 0.25
        assert asked["max_completion_tokens"] == 50
        assert asked["a_parameter_of_tomorrow"] == {"kept": True}

    async def test_an_sdks_calls_leave_the_default_conversation_alone(
        self, caller: Caller, async_client: openai.AsyncOpenAI
    ):
        await async_client.chat.completions.create(model="gpt-5", messages=user("please greet"))
        assert (await caller.get("/api/v0.2/chat/status")).json()["message_count"] == 0

    @pytest.mark.parametrize("store", [True, False])
    async def test_a_completion_is_stored_unless_the_request_says_no(
        self, mesh: Mesh, caller: Caller, async_client: openai.AsyncOpenAI, store: bool
    ):
        nonce = str(uuid.uuid4())
        await async_client.chat.completions.create(
            model="gpt-5", messages=user(f"please greet {nonce}"), store=store, extra_headers={"X-Request-Id": nonce}
        )
        rows = await mesh.rows("SELECT * FROM chat_messages WHERE request_id = $1 ORDER BY position", nonce)
        [reply] = [row for row in rows if row["role"] == "assistant"]
        assert (reply["input_tokens"], reply["output_tokens"], reply["is_complete"]) == (11, 7, True)
        assert reply["content"] == (GREETING if store else "")
        assert any(nonce in row["content"] for row in rows) is store


class TestToolsAndForms:
    """On OpenAI's own models, and translated."""

    @BOTH
    @pytest.mark.parametrize("stream", [False, True])
    def test_tools_are_called_and_their_results_are_heeded(self, client: openai.OpenAI, model: str, stream: bool):
        def complete(messages: list[Any]) -> Any:
            asked: Any = {"model": model, "messages": messages, "tools": [WEATHER]}
            if not stream:
                return client.chat.completions.create(**asked).choices[0]
            with client.chat.completions.stream(**asked) as events:
                return events.get_final_completion().choices[0]

        said: list[Any] = user("please look the weather up")
        first = complete(said)
        calls = first.message.tool_calls
        assert first.finish_reason == "tool_calls"
        assert [(call.function.name, call.function.arguments) for call in calls] == [
            ("weather", '{"city":"Ulm"}'),
            ("weather", '{"city":"Bonn"}'),
        ]
        said += [{"role": "assistant", "tool_calls": [call.to_dict() for call in calls]}]
        said += [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in calls]
        assert complete(said).message.content == "It rains in Ulm and not in Bonn."

    @BOTH
    def test_a_form_is_filled_in(self, client: openai.OpenAI, model: str):
        made = client.chat.completions.parse(
            model=model, messages=user("please fill the form in"), response_format=Weather
        )
        assert made.choices[0].message.parsed == Weather(city="Ulm", degrees=21)

    @BOTH
    def test_an_image_is_looked_at(self, client: openai.OpenAI, model: str):
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}", "detail": "low"}}
        said: list[Any] = [{"role": "user", "content": [{"type": "text", "text": "please greet"}, image]}]
        assert client.chat.completions.create(model=model, messages=said).choices[0].message.content == GREETING

    def test_ten_thousand_messages_are_read(self, client: openai.OpenAI):
        said = user("so it goes on") * 9_999 + user("please greet")
        made = client.chat.completions.create(model=MODELS["claude"], messages=said)
        assert made.choices[0].message.content == GREETING


class TestErrors:
    """Each failure is raised as the SDK's class for it."""

    @pytest.mark.parametrize("key", [pytest.param(api_key.generate(ENVIRONMENT), id="unknown"), "sk-not-of-gaia"])
    def test_a_bad_key(self, mesh: Mesh, key: str):
        with (
            openai.OpenAI(api_key=key, base_url=f"{mesh.url}/v1", max_retries=0) as stranger,
            pytest.raises(openai.AuthenticationError) as caught,
        ):
            stranger.models.list()
        assert caught.value.type == "authentication_error"
        assert key not in str(caught.value)

    async def test_a_missing_scope(self, mesh: Mesh):
        reader = await mesh.new_caller(["chat:read"])
        async with openai.AsyncOpenAI(api_key=reader.key, base_url=f"{mesh.url}/v1", max_retries=0) as client:
            with pytest.raises(openai.PermissionDeniedError, match="chat:write"):
                await client.chat.completions.create(model="gpt-5", messages=user("please greet"))

    def test_an_unknown_model(self, client: openai.OpenAI):
        with pytest.raises(openai.NotFoundError, match="gpt-5") as caught:
            client.chat.completions.create(model="gpt-5x", messages=user("please greet"))
        assert caught.value.code == "model_not_found"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("gpt-none")

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"messages": []}, "messages"),
            ({"messages": [{"role": "user"}]}, "messages[0]"),
            ({"messages": [{"role": "nobody", "content": "x"}]}, "messages[0].role"),
            ({"messages": "hello"}, "messages"),
            ({"messages": user("x"), "temperature": "hot"}, "temperature"),
            ({"messages": user("")}, "messages"),
            ({"messages": user("x"), "n": 2}, "n"),
            ({"messages": user("x"), "tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
            ({"messages": user("x"), "response_format": {"type": "json_object"}}, "response_format.type"),
            ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "?"}]}, "messages[0].tool_call_id"),
        ],
    )
    def test_a_faulty_request_names_its_parameter(self, client: openai.OpenAI, fields: dict[str, object], param: str):
        with pytest.raises(openai.BadRequestError) as caught:
            client.post("/chat/completions", body={"model": "claude-sonnet-5", **fields}, cast_to=object)
        assert (caught.value.param or "").startswith(param)
        assert caught.value.type == "invalid_request_error"

    @pytest.mark.parametrize("model", [MODELS["openai"], MODELS["claude"]])
    @pytest.mark.parametrize(
        ("wish", "error", "status"),
        [
            ("limit the rate", openai.RateLimitError, 429),
            ("fail with 500", openai.InternalServerError, 502),
            ("be overloaded", openai.InternalServerError, 503),
            ("be unavailable", openai.InternalServerError, 503),
            ("answer nonsense", openai.InternalServerError, 502),
            ("hang up", openai.InternalServerError, 503),
            ("refuse our key", openai.InternalServerError, 502),
            ("refuse the request", openai.BadRequestError, 400),
        ],
    )
    @pytest.mark.parametrize("stream", [False, True])
    def test_a_failure_of_the_provider_keeps_its_class(
        self,
        client: openai.OpenAI,
        model: str,
        wish: str,
        error: type[openai.APIStatusError],
        status: int,
        stream: bool,
    ):
        with pytest.raises(error) as caught:
            client.chat.completions.create(model=model, messages=user(f"please {wish}"), stream=stream)
        assert caught.value.status_code == status
        text = str(caught.value) + str(caught.value.response.headers)
        assert "sk-simulated" not in text
        assert "x-ratelimit-limit-requests" not in text
        if status == 429:
            assert caught.value.response.headers["retry-after"] == "7"
        if wish == "refuse the request":
            assert "too odd" in str(caught.value)

    @pytest.mark.parametrize("model", [MODELS["openai"], MODELS["claude"]])
    async def test_a_cut_stream_ends_as_an_error_and_never_as_a_reply(
        self, async_client: openai.AsyncOpenAI, model: str
    ):
        stream = await async_client.chat.completions.create(
            model=model, messages=user("please cut the stream"), stream=True
        )
        chunks: list[ChatCompletionChunk] = []

        async def collect() -> None:
            async for chunk in stream:
                chunks.append(chunk)  # noqa: PERF401 - what came before the error counts

        with pytest.raises(openai.APIError):
            await collect()
        choices = [choice for chunk in chunks for choice in chunk.choices]
        text = "".join(choice.delta.content or "" for choice in choices)
        assert text
        assert "This reply is cut off before it ends, as connections are.".startswith(text)
        assert not any(choice.finish_reason for choice in choices)

    async def test_the_sdks_own_retries_get_over_a_failure_that_passes(self, mesh: Mesh, caller: Caller):
        async with openai.AsyncOpenAI(api_key=caller.key, base_url=f"{mesh.url}/v1", max_retries=1) as client:
            made = await client.chat.completions.create(model="gpt-5", messages=user("please recover"))
        assert made.choices[0].message.content == "Recovered."
