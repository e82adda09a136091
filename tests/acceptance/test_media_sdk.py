"""Embeddings, images and sound with the official OpenAI SDK, unmodified."""

import base64
import io
import math
import struct
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.mesh import Caller, Mesh
from tests.support.simulator import Simulator

TEXT = "Hello from the simulated recording."


@pytest.fixture
def client(mesh: Mesh, caller: Caller) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key=caller.key, base_url=f"{mesh.url}/v1", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def recording() -> bytes:
    """A tenth of a second of silence."""
    file = io.BytesIO()
    with wave.open(file, "wb") as made:
        made.setnchannels(1)
        made.setsampwidth(2)
        made.setframerate(8000)
        made.writeframes(bytes(1600))
    return file.getvalue()


class TestEmbeddings:
    def test_vectors_of_a_provider(self, client: openai.OpenAI):
        made = client.embeddings.create(model="text-embedding-3-small", input=["one", "two"])
        assert [one.embedding for one in made.data] == [[0.6, 0.0, 0.8]] * 2
        assert [one.index for one in made.data] == [0, 1]

    @pytest.mark.parametrize("encoding", ["float", "base64", None])
    def test_local_vectors_in_every_encoding(self, client: openai.OpenAI, encoding: str | None):
        wish = {} if encoding is None else {"encoding_format": encoding}
        made = client.embeddings.create(model="local-embedding", input="a cat", dimensions=64, extra_body=wish)
        vector: Any = made.data[0].embedding
        if encoding == "base64" and isinstance(vector, str):
            # The SDK decodes what it asked for itself, and leaves alone what the caller asked for.
            vector = struct.unpack("<64f", base64.b64decode(vector))
        assert len(vector) == 64
        assert math.isclose(sum(value * value for value in vector), 1, abs_tol=1e-5)
        assert (made.model, made.usage.total_tokens) == ("local-embedding", 2)

    def test_a_limit_of_the_provider_is_raised_as_one(self, client: openai.OpenAI):
        with pytest.raises(openai.RateLimitError):
            client.embeddings.create(model="text-embedding-3-small", input="limit the rate")


class TestImages:
    def test_an_image_as_base64(self, client: openai.OpenAI):
        made = client.images.generate(model="gpt-image-1.5", prompt="a square", size="1024x1024", n=1)
        assert made.data
        assert (made.data[0].b64_json or "").startswith("iVBORw0KGgo")


class TestSpeech:
    def test_speech_is_streamed_to_a_file(self, client: openai.OpenAI, tmp_path: Path):
        target = tmp_path / "speech.mp3"
        with client.audio.speech.with_streaming_response.create(
            model="tts-1", voice="alloy", input="Hello, you."
        ) as response:
            assert response.headers["content-type"] == "audio/mpeg"
            response.stream_to_file(target)
        sound = target.read_bytes()
        assert (sound[:3], len(sound)) == (b"ID3", 10_250)
        assert client.audio.speech.create(model="tts-1", voice="alloy", input="Hello, you.").read() == sound


class TestTranscriptions:
    def test_a_recording_is_written_down(self, client: openai.OpenAI, recording: bytes, tmp_path: Path):
        path = tmp_path / "recording.wav"
        path.write_bytes(recording)
        with path.open("rb") as file:
            made = client.audio.transcriptions.create(model="whisper-1", file=file)
        assert made.text == TEXT
        assert client.audio.transcriptions.create(model="whisper-1", file=("a.wav", recording)).text == TEXT

    def test_with_everything_that_a_form_can_say(self, client: openai.OpenAI, recording: bytes):
        made = client.audio.transcriptions.create(
            model="whisper-1",
            file=("a.wav", recording, "audio/wav"),
            language="en",
            prompt="Greetings",
            response_format="verbose_json",
            temperature=0,
            timestamp_granularities=["word", "segment"],
            chunking_strategy={"type": "server_vad", "threshold": 0.5, "silence_duration_ms": 200},
        )
        assert made.text == TEXT
        assert made.language == "english"

    def test_as_events(self, client: openai.OpenAI, recording: bytes):
        with client.audio.transcriptions.create(
            model="gpt-4o-transcribe", file=("a.wav", recording), stream=True, include=["logprobs"]
        ) as stream:
            events = list(stream)
        assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == TEXT
        assert events[-1].type == "transcript.text.done"

    async def test_a_recording_may_be_the_body_itself(self, caller: Caller, recording: bytes):
        reply = await caller.request(
            "POST",
            "/v1/audio/transcriptions?model=whisper-1",
            content=recording,
            headers={"content-type": "audio/wav"},
        )
        assert reply.json()["text"] == TEXT


class TestErrors:
    def test_a_file_that_is_too_large(self, client: openai.OpenAI):
        for size in (26 << 20, (25 << 20) + 1):
            with pytest.raises(openai.APIStatusError) as caught:
                client.audio.transcriptions.create(model="whisper-1", file=("a.wav", bytes(size)))
            assert caught.value.status_code == 413, size

    def test_all_wrong_fields_are_named(self, client: openai.OpenAI, recording: bytes):
        with pytest.raises(openai.BadRequestError) as caught:
            client.post("/embeddings", body={"input": [], "encoding_format": "hex"}, cast_to=object)
        assert all(name in str(caught.value) for name in ("model", "input", "encoding_format"))
        with pytest.raises(openai.BadRequestError, match="response_format"):
            client.audio.transcriptions.create(
                model="whisper-1",
                file=("a.wav", recording),
                extra_body={"response_format": "pdf"},
            )
        with pytest.raises(openai.BadRequestError, match="langage"):
            client.audio.transcriptions.create(
                model="whisper-1", file=("a.wav", recording), extra_body={"langage": "en"}
            )

    def test_an_unknown_model(self, client: openai.OpenAI):
        with pytest.raises(openai.NotFoundError, match="text-embedding-3-large"):
            client.embeddings.create(model="text-embedding-3-larg", input="x")

    def test_a_model_of_another_trade(self, client: openai.OpenAI):
        with pytest.raises(openai.BadRequestError, match="tts-1") as caught:
            client.audio.speech.create(model="claude-sonnet-5", voice="alloy", input="x")
        assert caught.value.param == "model"

    async def test_a_missing_scope(self, mesh: Mesh, recording: bytes):
        reader = await mesh.new_caller(["chat:read"])
        with openai.OpenAI(api_key=reader.key, base_url=f"{mesh.url}/v1", max_retries=0) as client:
            for call in (
                lambda: client.embeddings.create(model="local-embedding", input="x"),
                lambda: client.images.generate(prompt="x"),
                lambda: client.audio.speech.create(model="tts-1", voice="alloy", input="x"),
                lambda: client.audio.transcriptions.create(model="whisper-1", file=("a.wav", recording)),
            ):
                with pytest.raises(openai.PermissionDeniedError, match="chat:write"):
                    call()


async def test_models_that_make_something_are_listed_for_sdks_and_offered_to_no_chat(
    client: openai.OpenAI, caller: Caller
):
    listed = {model.id for model in client.models.list()}
    assert {"text-embedding-3-small", "gpt-image-1.5", "tts-1", "whisper-1", "local-embedding"} <= listed
    assert client.models.retrieve("whisper-1").owned_by == "openai"
    native = (await caller.get("/api/v0.2/models")).json()["models"]
    assert not {"text-embedding-3-small", "whisper-1", "local-embedding"} & {model["id"] for model in native}


async def test_what_is_asked_for_reaches_the_provider(client: openai.OpenAI, simulator: Simulator):
    client.embeddings.create(model="text-embedding-3-small", input="a text that nobody else sends")
    [entry] = await simulator.journal("a text that nobody else sends")
    assert entry["path"] == "/v1/embeddings"
