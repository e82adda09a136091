"""Embeddings, images and sound: bytes both ways, and what is said of what cannot be."""

import asyncio
from decimal import Decimal
from typing import Any

import grpc
import pytest
from gaia.chat.v1.embedding_service_pb2 import CreateEmbeddingsRequest
from gaia.chat.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from google.api.httpbody_pb2 import HttpBody

from services.chat.media import transcriptions
from services.chat.settings import CompatibleEndpoint
from shared.rpc.channel import connect
from tests.integration.chat.conftest import PROVIDER_KEY, Client, Running, outcome, refusal
from tests.integration.chat.media_client import (
    EMBED,
    IMAGES,
    PAINT,
    VECTORS,
    WAV,
    body_of,
    embed,
    json_of,
    keyed,
    listen,
    paint,
    replies,
    speak,
)
from tests.integration.chat.scripted_provider import Exchange, ScriptedProvider
from tests.integration.chat.test_ledger import ledger_of
from tests.support.auth import Auth


class TestPassing:
    async def test_a_request_reaches_the_provider_as_it_is_and_its_reply_the_client(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = replies(VECTORS)
        ask = {**EMBED, "model": "openai/text-embedding-3-small", "a_parameter_of_tomorrow": {"kept": True}}
        assert await json_of(embed(client, ask)) == VECTORS
        [sent] = openai_upstream.requests
        assert sent.path == "/v1/embeddings"
        assert sent.headers["authorization"] == f"Bearer {PROVIDER_KEY}"
        assert sent.body == {**ask, "model": "text-embedding-3-small"}

    async def test_a_recording_goes_as_a_form_whose_file_says_what_it_is(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = replies({"text": "hello"})
        call = listen(client, language="en", temperature=0.5, timestamp_granularities=["word", "segment"])
        assert await json_of(call) == {"text": "hello"}
        [sent] = openai_upstream.requests
        assert sent.path == "/v1/audio/transcriptions"
        assert sent.headers["content-type"].startswith("multipart/form-data; boundary=")
        for name, value in (("model", "whisper-1"), ("language", "en"), ("temperature", "0.5")):
            assert f'name="{name}"\r\n\r\n{value}\r\n'.encode() in sent.body
        assert sent.body.count(b'name="timestamp_granularities[]"') == 2
        assert b'filename="recording.wav"' in sent.body
        assert WAV in sent.body

    async def test_sound_leaves_as_it_comes_under_the_providers_type(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        go_on = asyncio.Event()

        async def script(exchange: Exchange) -> None:
            await exchange.begin("audio/mpeg")
            for piece in (b"one", b"two"):
                await exchange.send(piece)
                await asyncio.sleep(0.05)
            await go_on.wait()
            await exchange.send(b"three")
            await exchange.end()

        openai_upstream.script = script
        call = aiter(speak(client))
        first = await anext(call)
        assert (first.content_type, first.data) == ("audio/mpeg", b"one")
        go_on.set()
        assert b"".join([part.data async for part in call]) == b"twothree"

    async def test_a_large_answer_comes_whole_in_several_messages(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        large = {**VECTORS, "data": [{"embedding": "x" * 5_000_000}]}
        openai_upstream.script = replies(large)
        assert await json_of(embed(client)) == large

    async def test_text_is_passed_on_where_text_was_asked_for(self, client: Client, openai_upstream: ScriptedProvider):
        openai_upstream.script = replies(b"1\n00:00 --> 00:01\nhello\n", "text/plain; charset=utf-8")
        content_type, data = await body_of(listen(client, response_format="srt"))
        assert (content_type, data[:2]) == ("text/plain", b"1\n")

    async def test_local_vectors_need_no_provider_and_are_near_where_words_are_shared(self, client: Client):
        texts = ["the cat sat on the mat", "a cat on a mat", "quarterly tax report", "the cat sat on the mat"]
        made = await json_of(embed(client, {"model": "local-embedding", "input": texts, "dimensions": 512}))
        vectors = [one["embedding"] for one in made["data"]]
        assert {len(vector) for vector in vectors} == {512}
        assert all(abs(sum(x * x for x in vector) - 1) < 1e-5 for vector in vectors)
        near, far = (sum(x * y for x, y in zip(vectors[0], other, strict=True)) for other in vectors[1:3])
        assert near > far + 0.2
        assert vectors[0] == vectors[3]
        [row] = await ledger_of(client)
        assert (row["provider"], row["cost_usd"], row["input_tokens"]) == ("local", 0, 20)


class TestFaults:
    @pytest.mark.parametrize(
        ("status", "code"),
        [
            (400, grpc.StatusCode.INVALID_ARGUMENT),
            (401, grpc.StatusCode.INTERNAL),
            (404, grpc.StatusCode.NOT_FOUND),
        ],
    )
    async def test_a_providers_refusal_keeps_its_class_and_costs_nothing(
        self, client: Client, openai_upstream: ScriptedProvider, status: int, code: grpc.StatusCode
    ):
        openai_upstream.script = lambda exchange: exchange.reply(status, {"error": {"message": "no such thing"}})
        assert (await refusal(embed(client))).code is code
        [row] = await ledger_of(client)
        assert (row["state"], row["cost_usd"]) == ("failed", 0)

    async def test_a_failure_that_passes_is_not_seen(
        self, running_chat: Running, auth: Auth, openai_upstream: ScriptedProvider
    ):
        async def script(exchange: Exchange) -> None:
            if len(openai_upstream.requests) == 1:
                await exchange.reply(503, {})
            else:
                await exchange.reply(200, {"text": "hello"})

        openai_upstream.script = script
        settings = {"openai_api_key": "k", "openai_base_url": openai_upstream.url, "provider_retries": 1}
        async with running_chat(**settings) as address, connect(address) as channel:
            client = Client(channel, (("x-api-key", await auth.new_key()),), auth.owner_url)
            assert await json_of(listen(client)) == {"text": "hello"}
        first, second = openai_upstream.requests
        assert WAV in first.body
        assert WAV in second.body

    @pytest.mark.parametrize(
        ("call", "body", "content_type"),
        [
            (embed, b"<html>It works!</html>", "text/html"),
            (embed, b"[]", "application/json"),
            (embed, {"object": "list"}, "application/json"),
            (paint, {"data": None}, "application/json"),
            (listen, {"no": "text"}, "application/json"),
            (listen, b"a page", "text/html"),
            (speak, b"<html>It works!</html>", "text/html"),
            (speak, {"error": "odd"}, "application/json"),
        ],
    )
    async def test_an_answer_that_is_none_never_reaches_the_client(
        self, client: Client, openai_upstream: ScriptedProvider, call: Any, body: Any, content_type: str
    ):
        openai_upstream.script = replies(body, content_type)
        said, error = await outcome(call(client))
        assert said == []
        assert error.code is grpc.StatusCode.INTERNAL
        [row] = await ledger_of(client)
        assert row["state"] == "failed"

    async def test_sound_that_breaks_off_is_no_sound_that_ended(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        async def script(exchange: Exchange) -> None:
            await exchange.begin("audio/mpeg")
            await exchange.send(b"one")
            await asyncio.sleep(0.05)
            await exchange.send(b"two")
            await asyncio.sleep(0.05)
            exchange.cut()

        openai_upstream.script = script
        said, error = await outcome(speak(client))
        assert [part.data for part in said] == [b"one"]
        assert error.code is grpc.StatusCode.INTERNAL
        [row] = await ledger_of(client)
        assert (row["state"], row["cost_usd"]) == ("failed", Decimal("0.000165"))


class TestRequests:
    @pytest.mark.parametrize(
        ("call", "body", "fields"),
        [
            (embed, {}, ["model", "input"]),
            (embed, {**EMBED, "input": [], "dimensions": 0, "encoding_format": "x"}, ["input", "dimensions", "encod"]),
            (embed, {**EMBED, "input": ["a", 5]}, ["input"]),
            (paint, {"n": 11, "response_format": "gif"}, ["prompt", "n", "response_format"]),
            (paint, {**PAINT, "svg": {"model": "gpt-5"}}, ["svg"]),
            (speak, {"input": "", "voice": 5, "speed": 9}, ["model", "input", "voice", "speed"]),
        ],
    )
    async def test_everything_that_is_wrong_is_named_at_once(
        self, client: Client, openai_upstream: ScriptedProvider, call: Any, body: Any, fields: list[str]
    ):
        error = await refusal(call(client, body))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert all(field in error.message for field in fields)
        assert openai_upstream.requests == []
        assert await ledger_of(client) == []

    async def test_forms_are_checked_too(self, client: Client):
        error = await refusal(listen(client, b"", model="", response_format="pdf", temperature=2.5))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert all(f"{name}:" in error.message for name in ("model", "file", "response_format", "temperature"))
        error = await refusal(listen(client, bytes(transcriptions.MAX_BYTES + 1)))
        assert "at most 25 MiB" in error.message

    @pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\xff"])
    async def test_a_body_that_is_no_object_is_refused(self, client: Client, data: bytes):
        request = CreateEmbeddingsRequest(body=HttpBody(data=data))
        call = EmbeddingServiceStub(client.channel).CreateEmbeddings(request, metadata=client.metadata)
        assert (await refusal(call)).code is grpc.StatusCode.INVALID_ARGUMENT


class TestModels:
    async def test_an_unknown_model_is_not_found_and_near_ones_are_named(self, client: Client):
        error = await refusal(embed(client, {**EMBED, "model": "text-embedding-3-smal"}))
        assert error.code is grpc.StatusCode.NOT_FOUND
        assert "text-embedding-3-small" in error.message

    @pytest.mark.parametrize("model", ["claude-haiku-4-5", "local-echo", "gpt-4o", "tts-1"])
    async def test_a_model_that_cannot_says_which_can(self, client: Client, model: str):
        error = await refusal(embed(client, {**EMBED, "model": model}))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert "makes no embeddings; those that do are text-embedding-ada-002" in error.message

    async def test_an_image_without_a_model_is_made_by_the_first_that_can(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = replies(IMAGES)
        await json_of(paint(client, {"prompt": "a cat"}))
        assert openai_upstream.requests[0].body["model"] == "gpt-image-1.5"

    async def test_no_chat_is_given_to_a_model_that_makes_something_else(self, client: Client):
        ask = {"model": "text-embedding-3-small", "messages": [{"role": "user", "content": "hi"}]}
        assert (await refusal(client.completion_call(ask))).code is grpc.StatusCode.NOT_FOUND

    async def test_another_endpoint_may_be_asked_for_anything(
        self, running_chat: Running, auth: Auth, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = replies({**VECTORS, "usage": None})
        endpoint = CompatibleEndpoint(id="mine", base_url=openai_upstream.url, models=("house-embedder",))
        settings = {"openai_compatible": (endpoint,), "model_aliases": {"vectors": "local/local-embedding"}}
        async with running_chat(**settings) as address, connect(address) as channel:
            client = Client(channel, (("x-api-key", await auth.new_key()),), auth.owner_url)
            await json_of(embed(client, {**EMBED, "model": "mine/house-embedder"}))
            [row] = await ledger_of(client)
            # Nobody said what was used, nor what it costs.
            assert (row["provider"], row["cost_usd"], row["is_estimate"]) == ("mine", None, True)
            await json_of(embed(client, {**EMBED, "model": "vectors"}))
            error = await refusal(embed(client))
            assert error.code is grpc.StatusCode.NOT_FOUND
            assert "OPENAI_API_KEY" in error.message

    async def test_so_may_models_that_the_operator_names_at_another_address(
        self, running_chat: Running, auth: Auth, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = replies(VECTORS)
        settings = {"openai_api_key": "k", "openai_base_url": openai_upstream.url, "openai_models": ("our-embedder",)}
        async with running_chat(**settings) as address, connect(address) as channel:
            client = Client(channel, (("x-api-key", await auth.new_key()),), auth.owner_url)
            await json_of(embed(client, {**EMBED, "model": "our-embedder"}))
        assert openai_upstream.requests[0].body["model"] == "our-embedder"


class TestIdempotency:
    @pytest.mark.parametrize(
        ("call", "body", "content_type"),
        [
            (embed, VECTORS, "application/json"),
            (paint, IMAGES, "application/json"),
            (listen, {"text": "hello"}, "application/json"),
            (speak, b"\xff\xf3sound\x00", "audio/mpeg"),
        ],
    )
    async def test_the_same_request_is_answered_again_and_made_once(
        self, client: Client, openai_upstream: ScriptedProvider, call: Any, body: Any, content_type: str
    ):
        openai_upstream.script = replies(body, content_type)
        again = keyed(client)
        first = await body_of(call(again))
        assert await body_of(call(again)) == first
        assert len(openai_upstream.requests) == len(await ledger_of(client)) == 1

    async def test_another_request_under_the_same_key_is_a_conflict(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = replies(VECTORS)
        again = keyed(client)
        await json_of(embed(again))
        assert (await refusal(embed(again, {**EMBED, "input": "b"}))).code is grpc.StatusCode.ALREADY_EXISTS
        assert (await refusal(listen(again))).code is grpc.StatusCode.ALREADY_EXISTS

    async def test_what_failed_can_be_asked_for_again_and_what_is_too_large_is_not_paid_for_a_second_time(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        again = keyed(client)
        openai_upstream.script = lambda exchange: exchange.reply(400, {"error": {"message": "no"}})
        await refusal(speak(again))
        openai_upstream.script = replies(bytes(9 * 1024 * 1024), "audio/wav")
        assert len((await body_of(speak(again)))[1]) == 9 * 1024 * 1024
        error = await refusal(speak(again))
        assert error.code is grpc.StatusCode.ALREADY_EXISTS
        assert "too large to be kept" in error.message
        assert len(openai_upstream.requests) == 2
