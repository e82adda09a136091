"""Requests for what is said in a recording."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from services.chat.catalogue import ModelSpec
from services.chat.media import checks
from services.chat.media.asked import EVENTS, JSON, AsItComes, no_bound, read_json
from services.chat.media.kinds import Kind
from services.chat.media.lengths import most_milliseconds
from services.chat.media.payload import Form
from services.chat.media.recordings import format_of
from services.chat.pricing import PriceList
from services.chat.providers.checked import MAX_COUNT, count
from services.chat.tokens import MOST_OVERHEAD
from services.chat.turn import Usage
from shared.errors import InvalidArgument, Violation

MAX_BYTES = 25 * 1024 * 1024
"""Largest recording that OpenAI takes."""
BYTES_PER_TOKEN = 1600
"""A second of a common recording has 16 kB, and is read as ten tokens."""
HEARD_TOKENS_A_SECOND = 10
"""What OpenAI's models count of a recording."""
SAID_TOKENS_A_SECOND = 20
"""More than anybody says in any language; names of speakers and times come on top."""
MOST_WORDS = 2_000
"""What a model may write of a recording in which little is said."""
TEXTS = ("text", "srt", "vtt")
"""Formats that are no JSON."""
_TOKENS = Usage(1, 1)
LAST_EVENT = "transcript.text.done"


@dataclass(frozen=True, slots=True)
class TranscriptionRequest(AsItComes):
    """Implements `services.chat.media.asked.Asked`. `fields` are those of the form beside the model and the file."""

    model: str
    fields: Sequence[tuple[str, str]]
    file: bytes
    content_type: str = ""
    response_format: str = "json"
    is_stream: bool = False
    kind = Kind.TRANSCRIPTIONS

    @property
    def least(self) -> Usage | None:
        """The time of the recording, by which some models are paid."""
        length = most_milliseconds(self.file, self._suffix)
        return None if length is None else Usage(audio_ms=length)

    @property
    def tokens(self) -> int:
        """By the size of the recording."""
        return -(-len(self.file) // BYTES_PER_TOKEN)

    def payload(self, model: ModelSpec) -> Form:
        """Returns the request."""
        suffix, content_type = format_of(self.file, self.content_type)
        return Form([("model", model.id), *self.fields], self.file, f"recording.{suffix}", content_type)

    def most(self, model: ModelSpec, prices: PriceList) -> Decimal:
        """By how long the recording is, where its container says that."""
        length = most_milliseconds(self.file, self._suffix)
        if length is None:
            raise no_bound(
                model, "a transcription", "for a recording in wav, mp3, flac, ogg or m4a that tells its length"
            )
        listened = Usage(audio_ms=length)
        if prices.knows(listened):
            return prices.cost(listened)
        if not prices.knows(_TOKENS):
            raise no_bound(model, "a transcription")
        seconds = length // 1000
        asked = sum(len(value.encode()) for _, value in self.fields) + MOST_OVERHEAD
        return prices.worst(asked + seconds * HEARD_TOKENS_A_SECOND, MOST_WORDS + seconds * SAID_TOKENS_A_SECOND)

    @property
    def _suffix(self) -> str:
        return format_of(self.file, self.content_type)[0]

    def accepts(self, content_type: str) -> bool:
        """JSON, text, or events where they were asked for: not every model has some."""
        if content_type == EVENTS:
            return self.is_stream
        return content_type.startswith("text/") or content_type in (JSON, "application/x-subrip")

    def usage_of(self, content_type: str, body: bytes) -> Usage | None:
        """Returns the tokens, or the time, that the model listened to."""
        if content_type in (JSON, EVENTS):
            read = read_json(body)
            if content_type == JSON and not isinstance(read["text"], str):
                raise TypeError("no text")
            usage = read.get("usage")
            return None if usage is None else _read(usage)
        if self.response_format not in TEXTS:
            raise ValueError("no JSON")
        return None

    def is_last(self, event: Any) -> bool:
        """The whole text is the last one."""
        return bool(event.get("type") == LAST_EVENT)


def make_request(model: str, file: bytes, content_type: str, fields: Sequence[tuple[str, str]]) -> TranscriptionRequest:
    """Checks a request. Raises InvalidArgument that names all that is wrong.

    `fields` are the names and texts of the form's other parts; a list has one for each of its items.
    """
    named = dict(fields)
    if len(file) > MAX_BYTES:
        fault = Violation("file", f"must have at most {MAX_BYTES >> 20} MiB; it has {len(file):,} bytes")
        raise InvalidArgument(f"{fault.field}: {fault.description}", reason="FILE_TOO_LARGE", violations=(fault,))
    given: dict[str, Any] = {**named, "model": model or None, "file": file or None}
    checks.check(given, _CHECKS, ("model", "file"))
    return TranscriptionRequest(
        model=model,
        fields=fields,
        file=file,
        content_type=content_type,
        response_format=named.get("response_format", "json"),
        is_stream=named.get("stream") == "true",
    )


def _temperature(value: str) -> str:
    return checks.number(0, 1)(float(value))


_CHECKS: Mapping[str, checks.Check] = {
    "model": checks.model,
    "file": lambda _: "",
    "language": checks.text(32),
    "prompt": checks.text(32_000),
    "response_format": checks.one_of("json", "text", "srt", "verbose_json", "vtt", "diarized_json"),
    "temperature": _temperature,
}


def _read(usage: Mapping[str, Any]) -> Usage:
    if usage.get("type") == "duration":
        milliseconds = math.ceil(float(usage["seconds"]) * 1000)
        if not 0 <= milliseconds <= MAX_COUNT:
            raise ValueError("a time that is none")
        return Usage(audio_ms=milliseconds)
    details = usage.get("input_token_details") or {}
    return Usage(
        count(usage["input_tokens"]),
        count(usage["output_tokens"]),
        input_audio_tokens=count(details.get("audio_tokens")),
    )
