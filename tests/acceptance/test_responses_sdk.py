"""The official OpenAI SDK's responses, unmodified, with nothing but its key and its base URL set."""

import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest
from openai.types.responses import FunctionToolParam, ResponseStreamEvent
from pydantic import BaseModel

from tests.support.mesh import Caller, Mesh
from tests.support.simulator import Simulator

GREETING = "Hello from the simulated provider, nice to meet you."
MODELS = {"openai": "gpt-5", "claude": "claude-sonnet-5", "local": "local-echo"}
BOTH = pytest.mark.parametrize("model", [MODELS["openai"], MODELS["claude"]])
WEATHER: FunctionToolParam = {
    "type": "function",
    "name": "weather",
    "description": "Tells the weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Weather(BaseModel):
    """A form for the model to fill in."""

    city: str
    degrees: int


@pytest.fixture
def client(mesh: Mesh, caller: Caller) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=caller.key, base_url=f"{mesh.url}/v1", max_retries=0) as made:
        yield made


@pytest.fixture
async def async_client(mesh: Mesh, caller: Caller) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key=caller.key, base_url=f"{mesh.url}/v1", max_retries=0) as made:
        yield made


class TestResponses:
    @BOTH
    def test_a_response(self, client: openai.OpenAI, model: str):
        made = client.responses.create(model=model, input="please greet", instructions="Be brief.")
        assert (made.object, made.status, made.model) == ("response", "completed", model)
        assert made.output_text == GREETING
        assert made.usage is not None
        assert (made.usage.input_tokens, made.usage.output_tokens, made.usage.total_tokens) == (11, 7, 18)

    def test_the_local_model_sees_what_was_said(self, client: openai.OpenAI):
        made = client.responses.create(
            model="local-echo",
            instructions="Be brief.",
            input=[
                {"role": "user", "content": "my cat is called Ada"},
                {"role": "assistant", "content": "Noted."},
                {"role": "user", "content": [{"type": "input_text", "text": "who is my cat?"}]},
            ],
            metadata={"purpose": "a test"},
        )
        for text in ("who is my cat?", "my cat is called Ada", "Be brief."):
            assert text in made.output_text
        assert made.metadata == {"purpose": "a test"}

    @pytest.mark.parametrize("provider", MODELS)
    def test_a_stream(self, client: openai.OpenAI, provider: str):
        events: list[ResponseStreamEvent] = []
        with client.responses.create(model=MODELS[provider], input="please greet", stream=True) as stream:
            events.extend(stream)
        assert [event.type for event in events[:4]] == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
        ]
        assert [event.type for event in events[-4:]] == [
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.completed",
        ]
        last = events[-1]
        assert last.type == "response.completed"
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert last.response.output_text == text
        assert text == GREETING if provider != "local" else "please greet" in text
        assert last.response.usage is not None
        assert last.response.usage.total_tokens > 0

    @BOTH
    async def test_the_sdks_own_accumulator_takes_the_stream(self, async_client: openai.AsyncOpenAI, model: str):
        async with async_client.responses.stream(model=model, input="please greet") as stream:
            final = await stream.get_final_response()
        assert final.output_text == GREETING

    @BOTH
    def test_a_form_that_is_filled_in(self, client: openai.OpenAI, model: str):
        made = client.responses.parse(model=model, input="please fill the form in", text_format=Weather)
        assert made.output_parsed == Weather(city="Ulm", degrees=21)

    @BOTH
    async def test_a_form_that_is_filled_in_bit_by_bit(self, async_client: openai.AsyncOpenAI, model: str):
        async with async_client.responses.stream(
            model=model, input="please fill the form in", text_format=Weather
        ) as stream:
            final = await stream.get_final_response()
        assert final.output_parsed == Weather(city="Ulm", degrees=21)

    @BOTH
    @pytest.mark.parametrize("stream", [False, True])
    def test_tools_are_called_and_their_results_are_heeded(self, client: openai.OpenAI, model: str, stream: bool):
        def respond(items: list[Any]) -> Any:
            asked: Any = {"model": model, "input": items, "tools": [WEATHER]}
            if not stream:
                return client.responses.create(**asked)
            with client.responses.stream(**asked) as events:
                return events.get_final_response()

        said: list[Any] = [{"role": "user", "content": "please look the weather up"}]
        first = respond(said)
        calls = [item for item in first.output if item.type == "function_call"]
        assert [(call.name, call.arguments) for call in calls] == [
            ("weather", '{"city":"Ulm"}'),
            ("weather", '{"city":"Bonn"}'),
        ]
        said += [item.to_dict() for item in first.output]
        said += [{"type": "function_call_output", "call_id": call.call_id, "output": "rain"} for call in calls]
        assert respond(said).output_text == "It rains in Ulm and not in Bonn."

    @BOTH
    def test_an_image_is_looked_at(self, client: openai.OpenAI, model: str):
        made = client.responses.create(
            model=model,
            input=[
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "please greet"},
                        {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{PIXEL}"},
                    ],
                }
            ],
        )
        assert made.output_text == GREETING

    async def test_openai_gets_responses_and_claude_messages(
        self, async_client: openai.AsyncOpenAI, simulator: Simulator
    ):
        paths = {MODELS["openai"]: "/v1/responses", MODELS["claude"]: "/v1/messages"}
        for model, path in paths.items():
            nonce = str(uuid.uuid4())
            await async_client.responses.create(model=model, input=f"please greet {nonce}", temperature=1.0)
            [entry] = await simulator.journal(nonce)
            assert entry["path"] == path

    async def test_what_claude_does_not_heed_is_told(self, async_client: openai.AsyncOpenAI):
        raw = await async_client.responses.with_raw_response.create(
            model=MODELS["claude"], input="please greet", truncation="auto", temperature=0.3
        )
        assert raw.headers["gaia-left-out"] == "truncation, temperature"

    async def test_a_response_is_stored(self, mesh: Mesh, async_client: openai.AsyncOpenAI):
        nonce = str(uuid.uuid4())
        await async_client.responses.create(model="gpt-5", input="please greet", extra_headers={"X-Request-Id": nonce})
        rows = await mesh.rows("SELECT * FROM chat_messages WHERE request_id = $1 ORDER BY position", nonce)
        assert [(row["role"], row["content"]) for row in rows] == [("user", "please greet"), ("assistant", GREETING)]
        assert (rows[1]["input_tokens"], rows[1]["output_tokens"]) == (11, 7)


class TestErrors:
    """Each failure is raised as the SDK's class for it."""

    async def test_a_missing_scope(self, mesh: Mesh):
        reader = await mesh.new_caller(["chat:read"])
        async with openai.AsyncOpenAI(api_key=reader.key, base_url=f"{mesh.url}/v1", max_retries=0) as client:
            with pytest.raises(openai.PermissionDeniedError, match="chat:write"):
                await client.responses.create(model="gpt-5", input="please greet")

    def test_an_unknown_model(self, client: openai.OpenAI):
        with pytest.raises(openai.NotFoundError, match="gpt-5"):
            client.responses.create(model="gpt-5x", input="please greet")

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"input": []}, "input"),
            ({"input": [{"role": "nobody", "content": "x"}]}, "input[0].role"),
            ({"temperature": "hot"}, "temperature"),
            ({"background": True}, "background"),
            ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
            ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ],
    )
    def test_a_faulty_request_names_its_parameter(self, client: openai.OpenAI, fields: dict[str, Any], param: str):
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(**{"model": MODELS["claude"], "input": "please greet", **fields})
        assert caught.value.param == param
        assert caught.value.type == "invalid_request_error"

    @pytest.mark.parametrize("stream", [False, True])
    async def test_a_reply_that_another_user_was_told_is_not_there(
        self, mesh: Mesh, client: openai.OpenAI, simulator: Simulator, stream: bool
    ):
        nonce = str(uuid.uuid4())
        if stream:
            with client.responses.stream(model="gpt-5", input="please greet") as events:
                told = events.get_final_response().id
        else:
            told = client.responses.create(model="gpt-5", input="please greet").id
        stranger = await mesh.new_caller()
        follow_up: Any = {"model": "gpt-5", "input": f"please greet {nonce}", "previous_response_id": told}
        async with openai.AsyncOpenAI(api_key=stranger.key, base_url=f"{mesh.url}/v1", max_retries=0) as theirs:
            with pytest.raises(openai.NotFoundError) as caught:
                await theirs.responses.create(**follow_up)
        assert (caught.value.code, caught.value.param) == ("previous_response_not_found", "previous_response_id")
        assert await simulator.journal(nonce) == []
        assert client.responses.create(**follow_up).output_text == GREETING

    @BOTH
    @pytest.mark.parametrize(
        ("wish", "error", "status"),
        [
            ("limit the rate", openai.RateLimitError, 429),
            ("be unavailable", openai.InternalServerError, 503),
            ("answer nonsense", openai.InternalServerError, 502),
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
            client.responses.create(model=model, input=f"please {wish}", stream=stream)
        assert caught.value.status_code == status
        assert "sk-simulated" not in str(caught.value)

    @BOTH
    async def test_a_cut_stream_ends_as_an_error_and_never_as_a_response(
        self, async_client: openai.AsyncOpenAI, model: str
    ):
        stream = await async_client.responses.create(model=model, input="please cut the stream", stream=True)
        events: list[ResponseStreamEvent] = []

        async def collect() -> None:
            async for event in stream:
                events.append(event)  # noqa: PERF401 - what came before the error counts

        with pytest.raises(openai.APIError, match="broke off"):
            await collect()
        assert events
        assert not any(event.type in ("response.completed", "response.incomplete") for event in events)
