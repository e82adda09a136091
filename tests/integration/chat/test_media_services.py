"""Embeddings, images and sound: bytes both ways, held to the same limits as chat, and booked like it."""

import asyncio
import contextlib
import uuid
from decimal import Decimal
from typing import Any

import grpc
import orjson
import pytest
from gaia.chat.v1.embedding_service_pb2 import CreateEmbeddingsRequest
from gaia.chat.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from gaia.chat.v1.media_service_pb2 import CreateImagesRequest, CreateSpeechRequest, CreateTranscriptionRequest
from gaia.chat.v1.media_service_pb2_grpc import MediaServiceStub
from google.api.httpbody_pb2 import HttpBody

from services.chat.media import transcriptions
from services.chat.reconciling import Booked, cost_of
from services.chat.settings import CompatibleEndpoint
from shared.rpc.channel import connect
from tests.integration.chat.conftest import PROVIDER_KEY, Client, Running, outcome, refusal, until
from tests.integration.chat.scripted_provider import Exchange, ScriptedProvider
from tests.integration.chat.test_budgets import limit, reserved_by
from tests.integration.chat.test_ledger import ledger_of, spent_by
from tests.support.auth import Auth
from tests.support.recordings import wav

WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(64)
EMBED = {"model": "text-embedding-3-small", "input": "hello"}
PAINT = {"model": "gpt-image-1.5", "prompt": "a cat"}
SPEAK = {"model": "tts-1", "input": "Hello, you.", "voice": "alloy"}
VECTORS = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.6, 0.8]}],
    "model": "text-embedding-3-small",
    "usage": {"prompt_tokens": 50, "total_tokens": 50},
}
IMAGES = {
    "created": 1,
    "data": [{"b64_json": "aGVsbG8="}],
    "usage": {
        "input_tokens": 20,
        "output_tokens": 1000,
        "total_tokens": 1020,
        "input_tokens_details": {"text_tokens": 20, "image_tokens": 0},
        "output_tokens_details": {"text_tokens": 100, "image_tokens": 900},
    },
}


def embed(client: Client, body: Any = EMBED) -> Any:
    request = CreateEmbeddingsRequest(body=HttpBody(content_type="application/json", data=orjson.dumps(body)))
    return EmbeddingServiceStub(client.channel).CreateEmbeddings(request, metadata=client.metadata)


def paint(client: Client, body: Any = PAINT) -> Any:
    request = CreateImagesRequest(body=HttpBody(content_type="application/json", data=orjson.dumps(body)))
    return MediaServiceStub(client.channel).CreateImages(request, metadata=client.metadata)


def speak(client: Client, body: Any = SPEAK) -> Any:
    request = CreateSpeechRequest(body=HttpBody(content_type="application/json", data=orjson.dumps(body)))
    return MediaServiceStub(client.channel).CreateSpeech(request, metadata=client.metadata)


def listen(client: Client, file: bytes = WAV, **fields: Any) -> Any:
    request = CreateTranscriptionRequest(
        file=HttpBody(content_type="audio/x-wav", data=file), **{"model": "whisper-1", **fields}
    )
    return MediaServiceStub(client.channel).CreateTranscription(request, metadata=client.metadata)


async def body_of(call: Any) -> tuple[str, bytes]:
    parts = [part async for part in call]
    assert all(not part.content_type for part in parts[1:])
    return parts[0].content_type, b"".join(part.data for part in parts)


async def json_of(call: Any) -> Any:
    content_type, data = await body_of(call)
    assert content_type == "application/json"
    return orjson.loads(data)


def keyed(client: Client) -> Client:
    metadata = (*client.metadata, ("idempotency-key", str(uuid.uuid4())))
    return Client(client.channel, metadata, client.owner_url)


def replies(body: Any, content_type: str = "application/json") -> Any:
    return lambda exchange: exchange.reply(200, body, {"content-type": content_type})


def adds_up(row: Any) -> bool:
    """Whether what is kept beside a cost comes to it, as the operator's command wants."""
    pricing = orjson.loads(row["pricing"]) if isinstance(row["pricing"], str) else row["pricing"]
    booked = Booked(
        row["id"], row["created_at"], row["user_id"], row["api_key_id"], row["state"], row["cost_usd"], pricing
    )
    return cost_of(booked) == row["cost_usd"]


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


class TestBooking:
    async def test_embeddings_cost_what_was_read(self, client: Client, openai_upstream: ScriptedProvider):
        openai_upstream.script = replies(VECTORS)
        await json_of(embed(client))
        [row] = await ledger_of(client)
        assert (row["operation"], row["state"], row["model"]) == ("openai.embeddings", "done", EMBED["model"])
        assert (row["input_tokens"], row["output_tokens"], row["is_estimate"]) == (50, 0, False)
        assert row["cost_usd"] == Decimal("0.000001")
        assert adds_up(row)
        assert await client.messages() == []

    async def test_drawn_tokens_cost_more_than_written_ones(self, client: Client, openai_upstream: ScriptedProvider):
        openai_upstream.script = replies(IMAGES)
        assert await json_of(paint(client)) == IMAGES
        [row] = await ledger_of(client)
        # 20 at 5, 100 at 10 and 900 at 32 dollars a million.
        assert row["cost_usd"] == Decimal("0.0299")
        assert adds_up(row)

    async def test_sound_is_paid_by_the_character_or_by_its_length(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = replies(b"ID3sound", "audio/mpeg")
        await body_of(speak(client))
        openai_upstream.script = replies({"text": "hi", "usage": {"type": "duration", "seconds": 9.5}})
        await json_of(listen(client))
        openai_upstream.script = replies(
            {
                "text": "hi",
                "usage": {
                    "type": "tokens",
                    "input_tokens": 100,
                    "output_tokens": 10,
                    "total_tokens": 110,
                    "input_token_details": {"audio_tokens": 90, "text_tokens": 10},
                },
            }
        )
        await json_of(listen(client, model="gpt-4o-transcribe"))
        rows = await ledger_of(client)
        # 11 characters at 15 dollars a million; 9.5 s at 0.36 dollars an hour; 90 at 6, 10 at 2.5, 10 at 10.
        assert [row["cost_usd"] for row in rows] == [Decimal("0.000165"), Decimal("0.00095"), Decimal("0.000665")]
        assert [row["operation"] for row in rows] == ["openai.speech", *["openai.transcriptions"] * 2]
        assert all(map(adds_up, rows))

    @pytest.mark.parametrize(
        ("call", "body", "content_type"),
        [
            (lambda client: paint(client, {**PAINT, "model": "dall-e-3"}), {**IMAGES, "usage": None}, ""),
            (lambda client: speak(client, {**SPEAK, "model": "gpt-4o-mini-tts"}), b"sound", "audio/mpeg"),
            (listen, {"text": "hi"}, ""),
            # Its price is by the hour: tokens say nothing.
            (listen, {"text": "hi", "usage": {"type": "tokens", "input_tokens": 9, "output_tokens": 9}}, ""),
        ],
    )
    async def test_what_is_not_known_is_flagged_and_never_free(
        self, client: Client, openai_upstream: ScriptedProvider, call: Any, body: Any, content_type: str
    ):
        openai_upstream.script = replies(body, content_type or "application/json")
        await body_of(call(client))
        [row] = await ledger_of(client)
        assert (row["state"], row["cost_usd"]) == ("done", None)
        assert adds_up(row)

    async def test_the_usage_of_a_stream_is_found_in_its_last_event(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        partial = {"type": "image_generation.partial_image", "b64_json": "aGVs", "partial_image_index": 0}
        last = {"type": "image_generation.completed", "b64_json": "aGVsbG8=", "usage": IMAGES["usage"]}

        async def script(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.events(partial, last)
            await exchange.end()

        openai_upstream.script = script
        content_type, data = await body_of(paint(client, {**PAINT, "stream": True}))
        assert content_type == "text/event-stream"
        assert [orjson.loads(one[6:]) for one in data.split(b"\n\n") if one] == [partial, last]
        [row] = await ledger_of(client)
        assert (row["is_stream"], row["cost_usd"]) == (True, Decimal("0.0299"))

    async def test_a_caller_who_leaves_ends_the_request_and_what_was_sent_is_booked(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        gone = asyncio.Event()

        async def script(exchange: Exchange) -> None:
            await exchange.begin("audio/mpeg")
            await exchange.send(b"one")
            await asyncio.sleep(0.05)
            await exchange.send(b"two")
            await exchange.gone()
            gone.set()

        openai_upstream.script = script
        call = speak(client)
        await anext(aiter(call))
        call.cancel()
        await asyncio.wait_for(gone.wait(), 3)

        async def booked() -> bool:
            return bool(await ledger_of(client))

        await until(booked)
        [row] = await ledger_of(client)
        assert (row["state"], row["cost_usd"], row["is_estimate"]) == ("cancelled", Decimal("0.000165"), True)


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


class TestLimits:
    async def test_a_key_uses_the_models_that_it_may(self, client: Client, openai_upstream: ScriptedProvider):
        await limit(client, allowed_models=["local-embedding"])
        await json_of(embed(client, {**EMBED, "model": "local-embedding"}))
        error = await refusal(embed(client))
        assert error.code is grpc.StatusCode.PERMISSION_DENIED
        assert "it may use local-embedding" in error.message
        assert openai_upstream.requests == []

    async def test_a_budget_holds_what_has_a_bound(self, client: Client, openai_upstream: ScriptedProvider):
        openai_upstream.script = replies(VECTORS)
        # 5 bytes and what a model may add, at 0.02 dollars a million.
        await limit(client, limits={"monthly_budget_usd": "0.0000013"})
        await json_of(embed(client))
        error = await refusal(embed(client))
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "this key's budget" in error.message
        assert (await spent_by(client), await reserved_by(client)) == (Decimal("0.000001"), Decimal(0))

    async def test_a_speech_by_the_character_is_held_to_the_cent(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = replies(b"sound", "audio/mpeg")
        await limit(client, limits={"monthly_budget_usd": "0.00017"})
        await body_of(speak(client))
        assert (await refusal(speak(client))).code is grpc.StatusCode.RESOURCE_EXHAUSTED

    async def test_an_image_is_held_to_what_its_size_and_quality_cost_at_the_most(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = replies(IMAGES)
        asked = {**PAINT, "n": 2, "size": "1024x1536", "quality": "medium"}
        # 2 x (1,584 + 2,000) tokens at 32 and (5 + 1,000) at 8 dollars a million.
        await limit(client, limits={"monthly_budget_usd": "0.24"})
        await json_of(paint(client, asked))
        assert (await spent_by(client), await reserved_by(client)) == (Decimal("0.0299"), Decimal(0))
        error = await refusal(paint(client, asked))
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "may cost up to 0.237416" in error.message
        assert len(openai_upstream.requests) == 1

    @pytest.mark.parametrize(
        "more",
        [
            {"model": "gpt-image-2.5-flare"},
            {"model": "gpt-image-2", "complexity": "high"},
            {"output_format": "gif"},
            {"size": "1x1"},
        ],
    )
    async def test_an_image_of_which_that_is_not_published_is_refused_under_a_budget(
        self, client: Client, openai_upstream: ScriptedProvider, more: Any
    ):
        await limit(client, limits={"monthly_budget_usd": "100"})
        error = await refusal(paint(client, {**PAINT, **more}))
        assert (error.code, openai_upstream.requests) == (grpc.StatusCode.PERMISSION_DENIED, [])
        assert "a size and a quality that you name" in error.message

    @pytest.mark.parametrize(
        ("model", "said", "most", "spent"),
        [
            # Ten seconds, and one for the head of the file, at 0.0001 dollars a second.
            ("whisper-1", {"usage": {"type": "duration", "seconds": 10}}, "0.0011", "0.001"),
            ("whisper-1", {}, "0.0011", "0.0011"),
            # (11 x 10 + 1,000) tokens at 6, and (11 x 20 + 2,000) at 10 dollars a million.
            (
                "gpt-4o-transcribe",
                {"usage": {"type": "tokens", "input_tokens": 100, "output_tokens": 20}},
                "0.02886",
                "0.00045",
            ),
        ],
    )
    async def test_a_recording_is_held_to_what_its_length_costs_at_the_most(
        self, client: Client, openai_upstream: ScriptedProvider, model: str, said: Any, most: str, spent: str
    ):
        openai_upstream.script = replies({"text": "hi", **said})
        await limit(client, limits={"monthly_budget_usd": most})
        await json_of(listen(client, wav(10), model=model))
        assert await spent_by(client) == Decimal(spent)
        [row] = await ledger_of(client)
        assert (row["reserved_usd"], row["is_estimate"]) == (Decimal(most), not said)
        assert (await refusal(listen(client, wav(10), model=model))).code is grpc.StatusCode.RESOURCE_EXHAUSTED

    @pytest.mark.parametrize(
        "call",
        [
            lambda client: paint(client, {**PAINT, "model": "gpt-image-1-mini"}),
            listen,
            lambda client: speak(client, {**SPEAK, "model": "gpt-4o-mini-tts"}),
        ],
    )
    async def test_what_has_no_bound_is_refused_under_a_budget_with_a_way_out(
        self, client: Client, openai_upstream: ScriptedProvider, call: Any
    ):
        await limit(client, limits={"monthly_budget_usd": "100"})
        error = await refusal(call(client))
        assert error.code is grpc.StatusCode.PERMISSION_DENIED
        assert "without a budget" in error.message
        assert openai_upstream.requests == []

    async def test_a_rate_of_tokens_counts_what_was_read(self, client: Client, openai_upstream: ScriptedProvider):
        openai_upstream.script = replies({**VECTORS, "usage": {"prompt_tokens": 100, "total_tokens": 100}})
        await limit(client, limits={"tokens_per_minute": 90})
        await json_of(embed(client))
        error = await refusal(embed(client))
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "90 tokens a minute" in error.message

    async def test_and_what_was_estimated_where_no_tokens_are_counted(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = replies(b"sound", "audio/mpeg")
        await limit(client, limits={"tokens_per_minute": 1_000})
        said = {**SPEAK, "input": "x" * 3_000}
        await body_of(speak(client, said))
        assert (await refusal(speak(client, said))).code is grpc.StatusCode.RESOURCE_EXHAUSTED


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

    async def test_what_failed_or_is_too_large_can_be_asked_for_again(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        again = keyed(client)
        openai_upstream.script = lambda exchange: exchange.reply(400, {"error": {"message": "no"}})
        await refusal(speak(again))
        openai_upstream.script = replies(bytes(9 * 1024 * 1024), "audio/wav")
        assert len((await body_of(speak(again)))[1]) == 9 * 1024 * 1024

        async def asked_again() -> bool:
            with contextlib.suppress(grpc.aio.AioRpcError):  # while the first one's key is given back
                await body_of(speak(again))
            return len(openai_upstream.requests) == 3

        await until(asked_again)
