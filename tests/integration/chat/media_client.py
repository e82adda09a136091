"""Calls for embeddings, images and sound, and what a provider answers to them."""

import uuid
from typing import Any

import orjson
from gaia.chat.v1.embedding_service_pb2 import CreateEmbeddingsRequest
from gaia.chat.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from gaia.chat.v1.media_service_pb2 import CreateImagesRequest, CreateSpeechRequest, CreateTranscriptionRequest
from gaia.chat.v1.media_service_pb2_grpc import MediaServiceStub
from google.api.httpbody_pb2 import HttpBody

from tests.integration.chat.conftest import Client

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
