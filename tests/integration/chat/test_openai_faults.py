"""What a caller sees of a provider of OpenAI's family that fails, and what is kept of it."""

import asyncio
import time

import grpc
import orjson
import pytest
from gaia.chat.v1.chat_service_pb2 import ChatRequest

from tests.integration.chat.conftest import PROVIDER_KEY, Client, events_in, outcome, refusal, until
from tests.integration.chat.scripted_provider import (
    Exchange,
    ScriptedProvider,
    openai_chunk,
    openai_completion,
    openai_usage,
)
from tests.support.waiting import least

ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
STREAM = {**ASK, "stream": True}


class TestWholeReplies:
    @pytest.mark.parametrize(
        ("status", "code"),
        [
            (400, grpc.StatusCode.INVALID_ARGUMENT),
            (401, grpc.StatusCode.INTERNAL),
            (403, grpc.StatusCode.INTERNAL),
            (404, grpc.StatusCode.NOT_FOUND),
            (408, grpc.StatusCode.DEADLINE_EXCEEDED),
            (422, grpc.StatusCode.INVALID_ARGUMENT),
            (429, grpc.StatusCode.RESOURCE_EXHAUSTED),
            (500, grpc.StatusCode.INTERNAL),
            (302, grpc.StatusCode.INTERNAL),
            (503, grpc.StatusCode.UNAVAILABLE),
        ],
    )
    async def test_a_providers_status_keeps_its_class_and_tells_no_secret(
        self, client: Client, openai_upstream: ScriptedProvider, status, code
    ):
        async def script(exchange: Exchange) -> None:
            message = f"wrong: {PROVIDER_KEY} of org-abcdefgh12345"
            headers = {"x-secret-header": "told-to-nobody", "location": "http://127.0.0.1:1/"}
            await exchange.reply(status, {"error": {"message": message, "type": "x"}}, headers)

        openai_upstream.script = script
        error = await refusal(client.completion_call(ASK))
        assert error.code is code
        told = f"{error.message} {error.trailing}"
        assert PROVIDER_KEY not in told
        assert "org-abcdefgh12345" not in told
        assert "told-to-nobody" not in told
        assert len(openai_upstream.requests) == 1, "retries are Gaia's business, not the SDK's"

    async def test_the_providers_wait_is_passed_on(self, client: Client, openai_upstream: ScriptedProvider):
        async def script(exchange: Exchange) -> None:
            await exchange.reply(429, {"error": {"message": "slow down"}}, {"retry-after": "7"})

        openai_upstream.script = script
        error = await refusal(client.completion_call(ASK))
        assert "try again in 7 s" in error.message

    @pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"choices": []}', b'{"choices": [{"message": 3}]}', b"[]"])
    async def test_nonsense_is_a_bad_upstream(self, client: Client, openai_upstream: ScriptedProvider, body):
        openai_upstream.script = lambda exchange: exchange.reply(200, body)
        error = await refusal(client.completion_call(ASK))
        assert error.code is grpc.StatusCode.INTERNAL
        assert "no chat completion" in error.message

    async def test_silence_is_a_timeout_of_the_provider(self, client: Client, openai_upstream: ScriptedProvider):
        openai_upstream.script = lambda exchange: exchange.gone()
        error = await refusal(client.completion_call(ASK))
        assert error.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "openai did not answer in time" in error.message

    async def test_a_connection_that_is_cut_before_the_answer_is_an_outage(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        async def script(exchange: Exchange) -> None:
            exchange.cut()

        openai_upstream.script = script
        error = await refusal(client.completion_call(ASK))
        assert error.code is grpc.StatusCode.UNAVAILABLE
        assert "cannot be reached" in error.message

    async def test_the_callers_deadline_ends_the_providers_request_first(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        ended = asyncio.Event()

        async def script(exchange: Exchange) -> None:
            await exchange.gone()
            ended.set()

        openai_upstream.script = script
        request = ChatRequest(message="hi", model="gpt-4o", max_response_time_ms=250, enable_fallback=False)
        error = await refusal(client.chat.Chat(request, metadata=client.metadata))
        assert error.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert "openai did not answer in time" in error.message
        async with asyncio.timeout(2):
            await ended.wait()


class TestStreams:
    @pytest.mark.parametrize("ending", ["cut", "end without finish", "nonsense", "error"])
    async def test_a_broken_stream_tells_an_error_and_no_end_and_keeps_what_came(
        self, client: Client, openai_upstream: ScriptedProvider, ending
    ):
        async def script(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.events(openai_chunk({"role": "assistant", "content": "half "}))
            match ending:
                case "cut":
                    exchange.cut()
                case "end without finish":
                    await exchange.events(b"[DONE]")
                    await exchange.end()
                case "nonsense":
                    await exchange.send(b"data: {nonsense\n\n")
                case "error":
                    await exchange.events({"error": {"message": "out of memory", "type": "server_error"}})

        openai_upstream.script = script
        parts, error = await outcome(client.completion_call(STREAM))
        seen = events_in(parts)
        assert error.code is grpc.StatusCode.INTERNAL
        assert seen[0]["choices"][0]["delta"]["content"] == "half "
        assert seen[-1]["error"]["code"] == "bad_upstream"
        assert "[DONE]" not in seen
        question, reply = await client.messages()
        assert question["content"] == "hi"
        assert (reply["content"], reply["is_complete"], reply["finish_reason"]) == ("half ", False, None)

    async def test_a_reply_that_is_finished_is_whole_without_the_end_marker(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        async def script(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.events(openai_chunk({"content": "all"}), openai_chunk({}, "stop"), openai_usage(7, 3))
            await exchange.end()

        openai_upstream.script = script
        *_, last, end = await client.stream(STREAM)
        assert (last["choices"][0]["finish_reason"], end) == ("stop", "[DONE]")
        _, reply = await client.messages()
        assert (reply["content"], reply["is_complete"], reply["output_tokens"]) == ("all", True, 3)

    @pytest.mark.parametrize("body", [ASK, STREAM], ids=["whole", "stream"])
    @pytest.mark.parametrize("error", [{"code": "rate_limit_exceeded"}, {"code": 429}, {"type": "rate_limit_error"}])
    async def test_an_error_under_a_status_of_success_keeps_its_class(
        self, client: Client, openai_upstream: ScriptedProvider, error, body
    ):
        told = {"error": {"message": "slow down", **error}}
        openai_upstream.script = lambda exchange: exchange.reply(200, told)
        assert (await refusal(client.completion_call(body))).code is grpc.StatusCode.RESOURCE_EXHAUSTED

    async def test_a_page_in_place_of_a_stream_is_told_as_what_it_is(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = lambda exchange: exchange.reply(200, b"<html>It works!</html>")
        error = await refusal(client.completion_call(STREAM))
        assert (error.code, error.message) == (
            grpc.StatusCode.INTERNAL,
            "openai sent a body that is no stream of events",
        )

    async def test_a_failure_before_the_first_word_is_a_status_and_nothing_is_kept(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = lambda exchange: exchange.reply(503, {"error": {"message": "down"}})
        parts, error = await outcome(client.completion_call(STREAM))
        assert error.code is grpc.StatusCode.UNAVAILABLE
        assert parts == []
        assert await client.messages() == []

    async def test_the_usage_is_metered_but_withheld_unless_asked_for(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        async def script(exchange: Exchange) -> None:
            assert exchange.body["stream_options"]["include_usage"] is True
            await exchange.begin()
            await exchange.events(openai_chunk({"content": "hello"}), openai_chunk({}, "stop"), openai_usage(7, 3))
            await exchange.events(b"[DONE]")
            await exchange.end()

        openai_upstream.script = script
        silent = await client.stream(STREAM)
        asked = await client.stream({**STREAM, "stream_options": {"include_usage": True}})
        assert [event for event in silent if "usage" in event] == []
        assert asked[-2]["usage"]["total_tokens"] == 10
        assert silent[-1] == asked[-1] == "[DONE]"
        assert [(row["input_tokens"], row["output_tokens"]) for row in await client.messages()][1::2] == [(7, 3)] * 2

    async def test_a_caller_that_leaves_ends_the_providers_request_at_once_and_what_came_is_kept(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        ended: asyncio.Queue[float] = asyncio.Queue()

        async def script(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.events(openai_chunk({"content": "half "}))
            await exchange.gone()
            ended.put_nowait(time.perf_counter())

        openai_upstream.script = script

        async def seconds_open() -> float:
            call = client.completion_call(STREAM)
            await call.read()
            left = time.perf_counter()
            call.cancel()
            async with asyncio.timeout(5.0):
                return await ended.get() - left

        assert await least(seconds_open, 0.1) < 0.1

        async def is_kept() -> bool:
            rows = await client.messages()
            return [(row["content"], row["is_complete"]) for row in rows][-2:] == [("hi", True), ("half ", False)]

        await until(is_kept)

    async def test_a_caller_that_leaves_while_the_provider_sends_ends_its_request_at_once(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        ended: asyncio.Queue[float] = asyncio.Queue()

        async def script(exchange: Exchange) -> None:
            await exchange.begin()
            try:
                while True:
                    await exchange.events(*[openai_chunk({"content": "word " * 50})] * 10)
                    await asyncio.sleep(0)
            finally:
                ended.put_nowait(time.perf_counter())

        openai_upstream.script = script

        async def seconds_open() -> float:
            call = client.completion_call(STREAM)
            for _ in range(20):
                await call.read()
            left = time.perf_counter()
            call.cancel()
            async with asyncio.timeout(5.0):
                return await ended.get() - left

        assert await least(seconds_open, 0.1) < 0.1

    async def test_words_and_characters_survive_any_cutting_of_the_bytes(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        text = "grüße 👩‍🚀 日本語 done"

        async def script(exchange: Exchange) -> None:
            await exchange.begin()
            whole = b"".join(
                b"data: " + orjson.dumps(event) + b"\r\n\r\n"
                for event in (openai_chunk({"content": text}), openai_chunk({}, "stop"))
            )
            for at in range(0, len(whole), 3):
                await exchange.send(whole[at : at + 3])
            await exchange.events(b"[DONE]")
            await exchange.end()

        openai_upstream.script = script
        request = ChatRequest(message="hi", model="gpt-4o")
        events = [event async for event in client.chat.StreamChat(request, metadata=client.metadata)]
        pieces = [event.content for event in events if event.type == "content"]
        assert "".join(pieces) == text
        assert all(piece.endswith(" ") for piece in pieces[:-1])


class TestSameFamily:
    async def test_every_field_reaches_the_provider_known_or_not(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("hello", novelty=[1]))
        body = {**ASK, "model": "openai/gpt-4o", "seed": 3, "logit_bias": {"5": -100}, "brand_new": {"a": [None]}}
        answer = await client.complete(body)
        [asked] = openai_upstream.requests
        assert asked.body == {**body, "model": "gpt-4o"}
        assert asked.path == "/v1/chat/completions"
        assert asked.headers["authorization"] == f"Bearer {PROVIDER_KEY}"
        assert answer == openai_completion("hello", novelty=[1])

    async def test_tool_calls_are_kept(self, client: Client, openai_upstream: ScriptedProvider):
        calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]
        message = {"role": "assistant", "content": None, "tool_calls": calls}
        reply = openai_completion("")
        reply["choices"] = [{"index": 0, "message": message, "finish_reason": "tool_calls"}]
        openai_upstream.script = lambda exchange: exchange.reply(200, reply)
        assert await client.complete(ASK) == reply
        row = (await client.messages())[-1]
        assert row["finish_reason"] == "tool_calls"
        assert '"arguments": "{\\"a\\":1}"' in row["tool_calls"]
