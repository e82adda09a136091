"""Requests for speech."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Self

import orjson

from services.chat.catalogue import ModelSpec
from services.chat.dialects.json_body import read_object
from services.chat.media import checks
from services.chat.media.asked import EVENTS, no_bound, read_json
from services.chat.media.kinds import Kind
from services.chat.pricing import PriceList
from services.chat.providers.checked import count
from services.chat.tokens import BYTES_PER_TOKEN
from services.chat.turn import Usage

SOUND_EVENT = "speech.audio.delta"
LAST_EVENT = "speech.audio.done"
_BY_TOKEN = Usage(1, 1, output_audio_tokens=1)
_TYPES = {"opus": "audio/opus", "aac": "audio/aac", "flac": "audio/flac", "wav": "audio/wav", "pcm": "audio/pcm"}


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """Implements `services.chat.media.asked.Asked`.

    Sound does not say how many tokens it took, events do. Where a model is paid by the token, events are asked for, and
    a client that did not (`is_unwrapped`) gets the sound that they hold.
    """

    body: Mapping[str, Any]
    is_unwrapped: bool = False
    kind = Kind.SPEECH
    is_stream = True

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.body["model"])

    @property
    def tokens(self) -> int:
        """Those of the text and of how to read it."""
        said = self.body["input"] + (self.body.get("instructions") or "")
        return -(-len(said.encode()) // BYTES_PER_TOKEN)

    @property
    def least(self) -> Usage:
        """The characters, by which some models are paid."""
        return Usage(characters=len(self.body["input"]))

    def payload(self, model: ModelSpec) -> bytes:
        """Returns the request."""
        told = {"stream_format": "sse"} if self.is_unwrapped else {}
        return orjson.dumps({**self.body, "model": model.id, **told})

    def telling(self, prices: PriceList | None) -> Self:
        """Has a model that is paid by the token send events."""
        is_asked = self.body.get("stream_format") == "sse"
        by_token = prices is not None and prices.knows(_BY_TOKEN) and not prices.knows(self.least)
        return replace(self, is_unwrapped=True) if by_token and not is_asked else self

    def given(self, content_type: str) -> str:
        """Sound, unless events were asked for."""
        if content_type == EVENTS and self.is_unwrapped:
            return _TYPES.get(self.body.get("response_format") or "", "audio/mpeg")
        return content_type

    def content_of(self, event: Any) -> bytes:
        """Returns the sound of an event."""
        return base64.b64decode(event["audio"], validate=True) if event.get("type") == SOUND_EVENT else b""

    def most(self, model: ModelSpec, prices: PriceList) -> Decimal:
        """Characters are counted before; how long a model takes to say them is not known."""
        if not prices.knows(self.least):
            raise no_bound(model, "a speech", "a model that is paid by the character, such as tts-1")
        return prices.cost(self.least)

    def accepts(self, content_type: str) -> bool:
        """Sound, or events that hold it where they were asked for: not every model has some."""
        if content_type == EVENTS:
            return self.is_unwrapped or bool(self.body.get("stream_format") == "sse")
        return content_type.startswith("audio/") or content_type == "application/octet-stream"

    def usage_of(self, content_type: str, body: bytes) -> Usage | None:
        """Returns what an event says; sound says nothing."""
        if content_type != EVENTS:
            return None
        usage = read_json(body).get("usage")
        if usage is None:
            return None
        output = count(usage["output_tokens"])
        return Usage(count(usage["input_tokens"]), output, output_audio_tokens=output)

    def is_last(self, event: Any) -> bool:
        """Tells the event that follows the sound."""
        return bool(event.get("type") == LAST_EVENT)


def parse(data: bytes) -> SpeechRequest:
    """Checks a request. Raises InvalidArgument that names all that is wrong."""
    body = read_object(data)
    checks.check(body, _CHECKS, ("model", "input", "voice"))
    return SpeechRequest(body)


def _voice(value: Any) -> str:
    is_named = isinstance(value, str) and 0 < len(value) <= checks.MAX_MODEL_NAME
    is_own = isinstance(value, dict) and isinstance(value.get("id"), str)
    return "" if is_named or is_own else "the name of a voice, or an object with its id"


_CHECKS: Mapping[str, checks.Check] = {
    "model": checks.model,
    "input": checks.text(4096),
    "voice": _voice,
    "instructions": checks.text(4096, least=0),
    "response_format": checks.one_of("mp3", "opus", "aac", "flac", "wav", "pcm"),
    "speed": checks.number(0.25, 4),
    "stream_format": checks.one_of("sse", "audio"),
}
