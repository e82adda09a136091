"""OpenAI's chat completions on the local provider."""

import grpc
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.integration.chat.conftest import Client, parsed, refusal

ASK = {"model": "local-echo", "messages": [{"role": "user", "content": "hi"}]}


async def test_a_whole_reply_has_openais_shape_and_is_kept(client: Client):
    answer = parsed(ChatCompletion, await client.complete(ASK))
    assert "You said: hi" in answer.choices[0].message.content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    question, reply = await client.messages()
    assert (question["role"], question["content"], question["origin"]) == ("user", "hi", "completion")
    assert reply["content"] == answer.choices[0].message.content
    assert (reply["input_tokens"], reply["output_tokens"]) == (
        answer.usage.prompt_tokens,
        answer.usage.completion_tokens,
    )
    assert reply["request_id"]


async def test_a_stream_has_openais_chunks_and_is_kept_before_its_end_marker(client: Client):
    events = await client.stream({**ASK, "stream": True, "stream_options": {"include_usage": True}})
    assert events[-1] == "[DONE]"
    chunks = [parsed(ChatCompletionChunk, event) for event in events[:-1]]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [one.finish_reason for chunk in chunks for one in chunk.choices if one.finish_reason] == ["stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens > 0
    text = "".join(one.delta.content or "" for chunk in chunks for one in chunk.choices)
    assert (await client.messages())[1]["content"] == text


async def test_only_what_is_new_since_the_last_reply_is_kept(client: Client):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}
    messages = [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": [{"type": "text", "text": "three"}, image]},
    ]
    await client.complete({**ASK, "messages": messages})
    kept, reply = await client.messages()
    assert kept["content"] == "three\n[image_url]"
    assert "My instructions are: be kind" in reply["content"]


async def test_a_client_that_forbids_keeping_leaves_the_tokens_only(client: Client):
    await client.complete({**ASK, "store": False})
    rows = await client.messages()
    assert [row["content"] for row in rows] == ["", ""]
    assert rows[1]["output_tokens"] > 0


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "body: is no JSON"),
        (b"{", "body: is no JSON"),
        (b"[]", "body: must be a JSON object"),
        ({}, "model: is missing; messages: must be a list"),
        ({**ASK, "messages": []}, "messages: must be a list of at least one message"),
        ({**ASK, "messages": "hi"}, "messages: must be a list"),
        ({**ASK, "messages": [{"role": "user"}]}, "messages[0].content: is missing"),
        ({**ASK, "messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role: must be one of"),
        ({**ASK, "messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({**ASK, "messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        ({**ASK, "model": 7}, "model: must be a string"),
        ({**ASK, "stream": "yes"}, "stream: must be true or false"),
        ({**ASK, "temperature": 3}, "temperature: must be a number from 0 to 2"),
        ({**ASK, "max_tokens": 0}, "max_tokens: must be an integer of 1 or more"),
        ({**ASK, "max_tokens": True}, "max_tokens: must be an integer of 1 or more"),
        ({**ASK, "stop": 5}, "stop: must be a string or a list of strings"),
        (
            {**ASK, "response_format": {"type": "json_schema", "json_schema": {"schema": {}}}},
            "cannot answer in a given",
        ),
    ],
)
async def test_a_wrong_request_is_told_the_place_and_what_would_be_right(client: Client, body, says):
    error = await refusal(client.completion_call(body))
    assert error.code is grpc.StatusCode.INVALID_ARGUMENT
    assert says in error.message
    assert await client.messages() == []


async def test_an_unknown_model_is_not_there_and_near_ones_are_named(client: Client):
    error = await refusal(client.completion_call({**ASK, "model": "locl-echo"}))
    assert error.code is grpc.StatusCode.NOT_FOUND
    assert "local-echo" in error.message


async def test_ten_thousand_messages_are_read(client: Client):
    messages = [{"role": "user", "content": f"m{number}"} for number in range(10_000)]
    answer = await client.complete({**ASK, "messages": messages})
    assert "message 10000 of yours" in answer["choices"][0]["message"]["content"]
