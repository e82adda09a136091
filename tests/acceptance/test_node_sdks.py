"""The official SDKs for Node.js, unmodified, with nothing but their key and their base URL set."""

import json
from typing import Any

import pytest

from tests.support.mesh import Mesh
from tests.support.sdks import run_sdk

GREETING = "Hello from the simulated provider, nice to meet you."
BOTH = pytest.mark.parametrize("provider", ["claude", "openai"])
MODELS = {"claude": "claude-sonnet-5", "openai": "gpt-5"}

Outcomes = dict[str, Any]


@pytest.fixture(scope="module")
async def anthropic(mesh: Mesh) -> Outcomes:
    """What Anthropic's SDK made of all its calls."""
    return await run_sdk("anthropic", mesh.url, (await mesh.new_caller()).key)


@pytest.fixture(scope="module")
async def openai(mesh: Mesh) -> Outcomes:
    """What OpenAI's SDK made of all its calls."""
    return await run_sdk("openai", mesh.url, (await mesh.new_caller()).key)


class TestAnthropic:
    def test_models_are_listed(self, anthropic: Outcomes):
        assert {*MODELS.values(), "local-echo"} <= set(anthropic["models"]["value"])

    @BOTH
    def test_a_message(self, anthropic: Outcomes, provider: str):
        made = anthropic[f"message {provider}"]["value"]
        assert (made["type"], made["model"], made["stop_reason"]) == ("message", MODELS[provider], "end_turn")
        assert [block["text"] for block in made["content"]] == [GREETING]
        assert (made["usage"]["input_tokens"], made["usage"]["output_tokens"]) == (11, 7)
        assert made["requestId"]

    @BOTH
    def test_raw_events(self, anthropic: Outcomes, provider: str):
        kinds = anthropic[f"events {provider}"]["value"]
        assert kinds[:2] == ["message_start", "content_block_start"]
        assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
        assert set(kinds[2:-3]) == {"content_block_delta"}

    @BOTH
    def test_the_sdks_own_accumulator_takes_the_stream(self, anthropic: Outcomes, provider: str):
        streamed = anthropic[f"stream {provider}"]["value"]
        assert streamed["text"] == GREETING
        assert streamed["final"]["content"][0]["text"] == GREETING
        assert streamed["final"]["stop_reason"] == "end_turn"
        assert streamed["final"]["usage"]["input_tokens"] == 11

    @BOTH
    def test_thinking(self, anthropic: Outcomes, provider: str):
        thinking, text = anthropic[f"thinking {provider}"]["value"]["content"]
        assert (thinking["type"], text["text"]) == ("thinking", "Thought through.")
        assert thinking["thinking"] == "One after the other, then all at once."

    @BOTH
    def test_tools_make_the_round_trip(self, anthropic: Outcomes, provider: str):
        told = anthropic[f"tools {provider}"]["value"]
        [call] = [block for block in told["first"]["content"] if block["type"] == "tool_use"]
        assert (told["first"]["stop_reason"], call["name"], call["input"]) == ("tool_use", "weather", {"city": "Ulm"})
        assert told["second"]["content"][0]["text"] == "It is 21 degrees in Ulm."

    def test_the_sdks_own_runner_of_tools_does_without_what_anthropic_alone_keeps(self, anthropic: Outcomes):
        assert anthropic["runner openai"]["value"]["content"][0]["text"] == "It is 21 degrees in Ulm."

    @BOTH
    def test_a_form_is_filled_in_and_a_picture_looked_at(self, anthropic: Outcomes, provider: str):
        [block] = anthropic[f"form {provider}"]["value"]["content"]
        assert json.loads(block["text"]) == {"city": "Ulm", "degrees": 21}
        assert anthropic[f"picture {provider}"]["value"]["content"][0]["text"] == GREETING

    def test_tokens_are_counted(self, anthropic: Outcomes):
        assert 900 < anthropic["count openai"]["value"]["input_tokens"] < 1300

    @pytest.mark.parametrize(
        ("scenario", "error", "kind"),
        [
            ("bad key", "AuthenticationError", "authentication_error"),
            ("unknown model", "NotFoundError", "not_found_error"),
            ("faulty", "BadRequestError", "invalid_request_error"),
            ("refused claude", "BadRequestError", "invalid_request_error"),
            ("refused openai", "BadRequestError", "invalid_request_error"),
            ("overloaded claude", "OverloadedError", "overloaded_error"),
            ("overloaded openai", "OverloadedError", "overloaded_error"),
            ("limited claude", "RateLimitError", "rate_limit_error"),
            ("limited openai", "RateLimitError", "rate_limit_error"),
            ("cut claude", "APIError", "api_error"),
            ("cut openai", "APIError", "api_error"),
        ],
    )
    def test_each_failure_is_thrown_as_the_sdks_class_for_it(
        self, anthropic: Outcomes, scenario: str, error: str, kind: str
    ):
        thrown = anthropic[scenario]["error"]
        assert (thrown["class"], thrown["type"]) == (error, kind)
        assert "sk-simulated" not in thrown["message"]


class TestOpenAI:
    def test_models_are_listed(self, openai: Outcomes):
        assert {*MODELS.values(), "local-echo"} <= set(openai["models"]["value"])

    @BOTH
    def test_a_completion(self, openai: Outcomes, provider: str):
        for scenario in ("completion", "helper"):
            made = openai[f"{scenario} {provider}"]["value"]
            [choice] = made["choices"]
            assert (made["object"], choice["finish_reason"]) == ("chat.completion", "stop")
            assert choice["message"]["content"] == GREETING
        assert openai[f"completion {provider}"]["value"]["usage"]["total_tokens"] == 18

    @BOTH
    def test_a_streamed_completion_with_usage(self, openai: Outcomes, provider: str):
        chunks = openai[f"stream {provider}"]["value"]
        assert len({chunk["id"] for chunk in chunks}) == 1
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        assert "".join(choice["delta"].get("content") or "" for choice in choices) == GREETING
        assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["stop"]
        assert chunks[-1]["usage"]["total_tokens"] == 18

    @BOTH
    def test_tools_make_the_round_trip(self, openai: Outcomes, provider: str):
        told = openai[f"tools {provider}"]["value"]
        for made in (told["first"], openai[f"streamed tools {provider}"]["value"]):
            [choice] = made["choices"]
            [call] = choice["message"]["tool_calls"]
            assert choice["finish_reason"] == "tool_calls"
            assert (call["function"]["name"], call["function"]["arguments"]) == ("weather", '{"city":"Ulm"}')
        assert told["second"]["choices"][0]["message"]["content"] == "It is 21 degrees in Ulm."

    @BOTH
    def test_a_form_is_filled_in_and_a_picture_looked_at(self, openai: Outcomes, provider: str):
        [choice] = openai[f"form {provider}"]["value"]["choices"]
        assert json.loads(choice["message"]["content"]) == {"city": "Ulm", "degrees": 21}
        [choice] = openai[f"picture {provider}"]["value"]["choices"]
        assert choice["message"]["content"] == GREETING

    @BOTH
    def test_a_response(self, openai: Outcomes, provider: str):
        for scenario in ("response", "response helper", "response picture"):
            made = openai[f"{scenario} {provider}"]["value"]
            assert (made["object"], made["status"], made["output_text"]) == ("response", "completed", GREETING)
        assert openai[f"response {provider}"]["value"]["usage"]["total_tokens"] == 18
        filled = openai[f"response form {provider}"]["value"]["output_text"]
        assert json.loads(filled) == {"city": "Ulm", "degrees": 21}

    @BOTH
    def test_the_events_of_a_response(self, openai: Outcomes, provider: str):
        kinds = openai[f"response events {provider}"]["value"]
        assert kinds[:3] == ["response.created", "response.in_progress", "response.output_item.added"]
        assert "response.output_text.delta" in kinds
        assert kinds[-1] == "response.completed"

    @BOTH
    def test_tools_of_a_response_make_the_round_trip(self, openai: Outcomes, provider: str):
        told = openai[f"response tools {provider}"]["value"]
        calls = [item for item in told["first"]["output"] if item["type"] == "function_call"]
        assert [call["arguments"] for call in calls] == ['{"city":"Ulm"}', '{"city":"Bonn"}']
        assert told["second"]["output_text"] == "It rains in Ulm and not in Bonn."

    def test_a_reply_can_be_gone_on_from_by_whom_it_was_told_to_only(self, openai: Outcomes):
        assert openai["own response"]["value"]["output_text"] == GREETING
        thrown = openai["foreign response"]["error"]
        assert (thrown["class"], thrown["code"]) == ("NotFoundError", "previous_response_not_found")

    @pytest.mark.parametrize(
        ("scenario", "error"),
        [
            ("bad key", "AuthenticationError"),
            ("unknown model", "NotFoundError"),
            ("faulty", "BadRequestError"),
            ("refused claude", "BadRequestError"),
            ("refused openai", "BadRequestError"),
            ("limited claude", "RateLimitError"),
            ("limited openai", "RateLimitError"),
            ("cut claude", "APIError"),
            ("cut openai", "APIError"),
            ("cut response claude", "APIError"),
            ("cut response openai", "APIError"),
        ],
    )
    def test_each_failure_is_thrown_as_the_sdks_class_for_it(self, openai: Outcomes, scenario: str, error: str):
        thrown = openai[scenario]["error"]
        assert thrown["class"] == error
        assert "sk-simulated" not in thrown["message"]

    def test_embeddings_images_and_sound(self, openai: Outcomes):
        made = openai["embeddings"]["value"]["data"]
        # The SDK asked for base64, and has decoded it.
        assert [len(one["embedding"]) for one in made] == [256, 256]
        assert openai["image"]["value"]["data"][0]["b64_json"].startswith("iVBORw0KGgo")
        assert openai["speech"]["value"] == {"type": "audio/mpeg", "size": 10_250}
        assert openai["transcription"]["value"]["text"] == "Hello from the simulated recording."
        events = openai["streamed transcription"]["value"]
        assert events[-1]["type"] == "transcript.text.done"
        assert openai["unknown embedder"]["error"]["class"] == "NotFoundError"
