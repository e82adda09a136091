"""What Claude thinks, and a client of OpenAI's chat completions that sends a tool's result back."""

from typing import Any

import orjson
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.integration.chat.conftest import Client
from tests.integration.chat.scripted_provider import (
    Exchange,
    ScriptedProvider,
    claude_message,
    claude_stream,
    openai_completion,
)

HAIKU, GPT = "claude-haiku-5-5", "gpt-4o"
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
USER = {"role": "user", "content": "hi"}
ASK = {"model": HAIKU, "messages": [USER], "tools": [WEATHER]}
BLOCKS: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "Let me see.", "signature": "proof"},
    {"type": "redacted_thinking", "data": "hidden"},
    {"type": "text", "text": "I look."},
    {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}},
]


async def whole(client: Client, upstream: ScriptedProvider) -> Any:
    upstream.script = lambda exchange: exchange.reply(200, claude_message(BLOCKS, "tool_use"))
    answer = ChatCompletion.model_validate(await client.complete(ASK), strict=True)
    return answer.choices[0].message


async def streamed(client: Client, upstream: ScriptedProvider) -> Any:
    begin, *_, end, stop = claude_stream([])
    pieces: list[dict[str, Any]] = [
        {"type": "thinking_delta", "thinking": "Let me "},
        {"type": "thinking_delta", "thinking": "see."},
        {"type": "signature_delta", "signature": "proof"},
    ]
    events: list[dict[str, Any]] = [begin]
    for index, block in enumerate(BLOCKS):
        started = {"type": "thinking", "thinking": "", "signature": ""} if block["type"] == "thinking" else block
        events.append({"type": "content_block_start", "index": index, "content_block": started})
        if block["type"] == "thinking":
            events += [{"type": "content_block_delta", "index": index, "delta": piece} for piece in pieces]
        events.append({"type": "content_block_stop", "index": index})
    end["delta"]["stop_reason"] = "tool_use"

    async def script(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.events(*events, end, stop)
        await exchange.end()

    upstream.script = script
    # The SDK's own way of putting a stream together.
    state: Any = ChatCompletionStreamState()
    *chunks, done = await client.stream({**ASK, "stream": True})
    assert done == "[DONE]"
    for chunk in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk, strict=True))
    return state.get_final_completion().choices[0].message


async def go_on(client: Client, model: str, message: Any) -> dict[str, Any]:
    """Sends the tool's result behind the message as the SDK writes it; returns the response's headers."""
    told = message.model_dump(mode="json", exclude_unset=True, exclude={"parsed"})
    result = {"role": "tool", "tool_call_id": "toolu_1", "content": "sun"}
    call = client.completion_call({**ASK, "model": model, "messages": [USER, told, result]})
    headers = dict(await call.initial_metadata())
    [part] = [part async for part in call]
    assert orjson.loads(part.data)["choices"]
    return headers


async def test_a_whole_reply_tells_it_and_brings_it_back_to_claude_as_it_was(
    client: Client, claude_upstream: ScriptedProvider
):
    message = await whole(client, claude_upstream)
    assert (message.content, message.reasoning_content) == ("I look.", "Let me see.")
    headers = await go_on(client, HAIKU, message)
    assert claude_upstream.requests[1].body["messages"][1] == {"role": "assistant", "content": BLOCKS}
    assert "gaia-left-out" not in headers


async def test_a_stream_does_so_too(client: Client, claude_upstream: ScriptedProvider):
    message = await streamed(client, claude_upstream)
    assert (message.content, message.reasoning_content) == ("I look.", "Let me see.")
    claude_upstream.script = lambda exchange: exchange.reply(200, claude_message([{"type": "text", "text": "Fine."}]))
    await go_on(client, HAIKU, message)
    assert claude_upstream.requests[1].body["messages"][1] == {"role": "assistant", "content": BLOCKS}


async def test_openai_which_cannot_read_it_is_not_sent_it(
    client: Client, claude_upstream: ScriptedProvider, openai_upstream: ScriptedProvider
):
    message = await whole(client, claude_upstream)
    openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("Fine."))
    await go_on(client, GPT, message)
    [sent] = openai_upstream.requests
    assert sent.body["messages"][1].keys() == {"role", "content", "refusal", "tool_calls"}


async def test_what_gaia_did_not_tell_is_left_out_by_name_for_claude_and_kept_for_openais_family(
    client: Client, claude_upstream: ScriptedProvider, openai_upstream: ScriptedProvider
):
    claude_upstream.script = lambda exchange: exchange.reply(200, claude_message([{"type": "text", "text": "Fine."}]))
    openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("Fine."))
    foreign = [{"type": "thinking", "thinking": "x", "signature": "of another"}, "nonsense"]
    said = {"role": "assistant", "content": "a", "thinking_blocks": foreign, "reasoning_content": "x"}
    for model in (HAIKU, GPT):
        call = client.completion_call({"model": model, "messages": [USER, said, USER]})
        headers = dict(await call.initial_metadata())
        assert [part async for part in call]
        if model == HAIKU:
            assert headers["gaia-left-out"] == "messages.reasoning_content, messages.thinking_blocks"
    assert claude_upstream.requests[0].body["messages"][1]["content"] == [{"type": "text", "text": "a"}]
    assert openai_upstream.requests[0].body["messages"][1] == said


async def test_the_native_chat_tells_its_text_only(client: Client, claude_upstream: ScriptedProvider):
    claude_upstream.script = lambda exchange: exchange.reply(200, claude_message(BLOCKS))
    answer = await client.combined(message="hi", model=HAIKU)
    assert answer["response"] == "I look."
    assert not answer["choices"][0]["message"].keys() & {"reasoning_content", "thinking_blocks"}
