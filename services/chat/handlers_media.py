"""gaia.chat.v1.EmbeddingService and MediaService, in the order of the contracts."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from gaia.chat.v1 import embedding_service_pb2, embedding_service_pb2_grpc, media_service_pb2_grpc
from gaia.chat.v1 import media_service_pb2 as pb
from google.api.httpbody_pb2 import HttpBody

from services.chat.asking import Context, asking
from services.chat.completing import Asking
from services.chat.media import embeddings, images, speech, transcriptions
from services.chat.media.answering import MediaCalls
from services.chat.media.asked import Asked

PIECE_BYTES = 1024 * 1024
"""Most of a body in one message: a whole one may be larger than a message can be."""
_LISTS = (
    "timestamp_granularities",
    "include",
    "known_speaker_names",
    "known_speaker_references",
    "keywords",
    "languages",
)
_TEXTS = ("language", "prompt", "response_format", "chunking_strategy")
_PARTS = ("type", "threshold", "silence_duration_ms", "prefix_padding_ms")


class EmbeddingHandlers(embedding_service_pb2_grpc.EmbeddingServiceServicer):
    """OpenAI's embeddings. `total_seconds` is the longest time of a call."""

    def __init__(self, media: MediaCalls, total_seconds: float) -> None:
        self._media = media
        self._total_seconds = total_seconds

    async def CreateEmbeddings(
        self, request: embedding_service_pb2.CreateEmbeddingsRequest, context: Context
    ) -> AsyncIterator[HttpBody]:
        """Makes vectors of texts."""
        data = request.body.data
        who = asking(context, self._total_seconds, "CreateEmbeddings", data)
        async with aclosing(_bodies(self._media, embeddings.parse(data), who)) as bodies:
            async for body in bodies:
                yield body


class MediaHandlers(media_service_pb2_grpc.MediaServiceServicer):
    """OpenAI's images and sound. `total_seconds` is the longest time of a call."""

    def __init__(self, media: MediaCalls, total_seconds: float) -> None:
        self._media = media
        self._total_seconds = total_seconds

    async def CreateImages(self, request: pb.CreateImagesRequest, context: Context) -> AsyncIterator[HttpBody]:
        """Makes images of a description."""
        data = request.body.data
        who = asking(context, self._total_seconds, "CreateImages", data)
        async with aclosing(_bodies(self._media, images.parse(data), who)) as bodies:
            async for body in bodies:
                yield body

    async def CreateSpeech(self, request: pb.CreateSpeechRequest, context: Context) -> AsyncIterator[HttpBody]:
        """Speaks a text."""
        data = request.body.data
        who = asking(context, self._total_seconds, "CreateSpeech", data)
        async with aclosing(_bodies(self._media, speech.parse(data), who)) as bodies:
            async for body in bodies:
                yield body

    async def CreateTranscription(
        self, request: pb.CreateTranscriptionRequest, context: Context
    ) -> AsyncIterator[HttpBody]:
        """Writes down what a recording says."""
        file = request.file
        asked = transcriptions.make_request(request.model, file.data, file.content_type, _fields(request))
        # The same message, whatever the boundaries between the parts of its form were.
        form = request.SerializeToString(deterministic=True)
        who = asking(context, self._total_seconds, "CreateTranscription", form)
        async with aclosing(_bodies(self._media, asked, who)) as bodies:
            async for body in bodies:
                yield body


async def _bodies(media: MediaCalls, asked: Asked, who: Asking) -> AsyncGenerator[HttpBody]:
    """Yields the parts of one body, of which the first one says what it is."""
    is_first = True
    async with aclosing(media.answer(asked, who)) as pieces:
        async for content_type, piece in pieces:
            for start in range(0, len(piece), PIECE_BYTES):
                data = piece[start : start + PIECE_BYTES]
                yield HttpBody(content_type=content_type if is_first else "", data=data)
                is_first = False


def _fields(request: pb.CreateTranscriptionRequest) -> list[tuple[str, str]]:
    """Returns the fields of a form as OpenAI names them, beside the file and the model."""
    fields = [(name, value) for name in _TEXTS if (value := getattr(request, name))]
    fields += [(f"chunking_strategy[{part}]", value) for part in _PARTS if (value := _part(request, part))]
    if request.HasField("temperature"):
        fields.append(("temperature", repr(request.temperature)))
    if request.HasField("stream"):
        fields.append(("stream", "true" if request.stream else "false"))
    fields += [(f"{name}[]", value) for name in _LISTS for value in getattr(request, name)]
    return fields


def _part(request: pb.CreateTranscriptionRequest, part: str) -> str:
    value: str = getattr(request, f"chunking_strategy_{part}")
    return value
