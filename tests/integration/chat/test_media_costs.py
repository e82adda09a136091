"""What embeddings, images and sound cost: booked like chat, and held to the same limits."""

import asyncio
import base64
from decimal import Decimal
from typing import Any

import grpc
import orjson
import pytest

from services.chat.reconciling import Booked, cost_of
from tests.integration.chat.conftest import Client, refusal, until
from tests.integration.chat.media_client import (
    EMBED,
    IMAGES,
    PAINT,
    SPEAK,
    VECTORS,
    body_of,
    embed,
    json_of,
    listen,
    paint,
    replies,
    speak,
)
from tests.integration.chat.scripted_provider import Exchange, ScriptedProvider
from tests.integration.chat.test_budgets import limit, reserved_by
from tests.integration.chat.test_ledger import ledger_of, spent_by
from tests.support.recordings import wav


def adds_up(row: Any) -> bool:
    """Whether what is kept beside a cost comes to it, as the operator's command wants."""
    pricing = orjson.loads(row["pricing"]) if isinstance(row["pricing"], str) else row["pricing"]
    booked = Booked(
        row["id"], row["created_at"], row["user_id"], row["api_key_id"], row["state"], row["cost_usd"], pricing
    )
    return cost_of(booked) == row["cost_usd"]


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

    async def test_a_voice_that_is_paid_by_the_token_tells_its_tokens_to_the_ledger_and_the_client_hears_sound(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        usage = {"input_tokens": 14, "output_tokens": 101, "total_tokens": 115}

        async def script(exchange: Exchange) -> None:
            assert exchange.body["stream_format"] == "sse"
            await exchange.begin()
            stream = b"".join(
                b"data: " + orjson.dumps(event) + b"\n\n"
                for event in (
                    {"type": "speech.audio.delta", "audio": base64.b64encode(b"ID3 one ").decode()},
                    {"type": "speech.audio.delta", "audio": base64.b64encode(b"two").decode()},
                    {"type": "speech.audio.done", "usage": usage},
                )
            )
            # Events in pieces, and the end of the last one left out.
            for start in range(0, len(stream) - 2, 40):
                await exchange.send(stream[start : min(start + 40, len(stream) - 2)])
            await exchange.end()

        openai_upstream.script = script
        asked = {**SPEAK, "model": "gpt-4o-mini-tts"}
        assert await body_of(speak(client, asked)) == ("audio/mpeg", b"ID3 one two")
        assert await body_of(speak(client, {**asked, "response_format": "wav"})) == ("audio/wav", b"ID3 one two")
        rows = await ledger_of(client)
        # 14 at 0.6 and 101 at 12 dollars a million.
        assert [(row["cost_usd"], row["is_estimate"]) for row in rows] == [(Decimal("0.0012204"), False)] * 2
        assert all(map(adds_up, rows))

    async def test_whoever_asks_a_voice_for_events_gets_them_as_they_are(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        sound = {"type": "speech.audio.delta", "audio": "SUQz"}
        done = {"type": "speech.audio.done", "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}}

        async def script(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.events(sound, done)
            await exchange.end()

        openai_upstream.script = script
        said = speak(client, {**SPEAK, "model": "gpt-4o-mini-tts", "stream_format": "sse"})
        content_type, data = await body_of(said)
        assert content_type == "text/event-stream"
        assert [orjson.loads(one[6:]) for one in data.split(b"\n\n") if one] == [sound, done]

    @pytest.mark.parametrize(
        "events",
        [
            [{"type": "speech.audio.delta", "audio": "SUQz"}],
            [{"type": "speech.audio.delta", "audio": "no base64!"}, {"type": "speech.audio.done"}],
            [{"type": "speech.audio.delta"}, {"type": "speech.audio.done"}],
            [{"type": "speech.audio.done"}],
            [{"type": "speech.audio.delta", "audio": "SUQz"}, {"type": "error", "error": {"message": "no"}}],
        ],
        ids=["cut", "no base64", "no sound", "nothing", "an error"],
    )
    async def test_a_voice_whose_events_make_no_whole_sound_fails(
        self, client: Client, openai_upstream: ScriptedProvider, events: list[Any]
    ):
        async def script(exchange: Exchange) -> None:
            await exchange.begin()
            await exchange.events(*events)
            await exchange.end()

        openai_upstream.script = script
        with pytest.raises(grpc.aio.AioRpcError):
            await body_of(speak(client, {**SPEAK, "model": "gpt-4o-mini-tts"}))
        assert [row["state"] for row in await ledger_of(client)] == ["failed"]

    @pytest.mark.parametrize(
        ("call", "least"),
        [
            # 2 tokens at 0.02 dollars a million.
            (embed, Decimal("0.00000004")),
            (speak, Decimal("0.000165")),
            # 2 tokens at 5 dollars a million, and an image of 272 at 32.
            (
                lambda client: paint(client, {**PAINT, "quality": "low", "size": "1024x1024"}),
                Decimal("0.00001") + 272 * Decimal("0.000032"),
            ),
        ],
        ids=["embeddings", "speech", "images"],
    )
    async def test_what_took_too_long_is_booked_at_what_it_costs_at_least(
        self, client: Client, openai_upstream: ScriptedProvider, call: Any, least: Decimal
    ):
        openai_upstream.script = lambda exchange: exchange.gone()
        assert (await refusal(call(client))).code is grpc.StatusCode.DEADLINE_EXCEEDED
        [row] = await ledger_of(client)
        assert (row["state"], row["cost_usd"], row["is_estimate"]) == ("failed", least, True)
        assert adds_up(row)

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
