"""The OpenAI models that the installed SDK knows, with what is published of them."""

import calendar
import datetime as dt
import inspect
import re
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from types import ModuleType
from typing import Any, get_args

from openai.types import audio_model, embedding_model, image_model
from openai.types.audio import speech_model
from openai.types.shared import chat_model

from services.chat.catalogue import LONG_CONTEXT_TOKENS, ModelSpec, in_order
from services.chat.media.kinds import Kind
from services.chat.providers import prices

PREFERRED = ("gpt-6.1-terra", "gpt-6-sol", "gpt-5.4-mini")
"""The default model is the first of these that is offered: the middle of the range in price and speed."""

UNKNOWN = ("chat", "streaming")
_TOOLS = (*UNKNOWN, "tool_calling", "code_generation")
_VISION = (*_TOOLS, "vision", "multimodal")
_FULL = (*_VISION, "structured_output")
_REASONING = (*_FULL, "reasoning")

# The first pattern that matches says what a family of models can do, as its model cards say.
_FAMILIES: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = tuple(
    (re.compile(pattern), capabilities)
    for pattern, capabilities in (
        (r".*audio", (*_TOOLS, "multimodal")),
        (r".*search-preview", (*UNKNOWN, "structured_output")),
        (r"o1-(preview|mini)", (*UNKNOWN, "code_generation", "reasoning")),
        (r"o3-mini", (*_TOOLS, "structured_output", "reasoning")),
        (r"o\d", _REASONING),
        (r"codex", (*_TOOLS, "structured_output", "reasoning")),
        (r"gpt-3\.5|gpt-4-(?!turbo|vision|1106)|gpt-4$", _TOOLS),
        (r"gpt-4-", _VISION),
        (r"gpt-4o|chatgpt-4o|gpt-4\.1", _FULL),
        (r"gpt-\d.*chat", _FULL),
        (r"gpt-[5-9]", _REASONING),
    )
)
_NAMES = re.compile(r'"([^"\s]+)"')
_SHUTDOWN = re.compile(r"shutdown\s+date:\s+(\d{4}-\d{2}-\d{2})")
_MONTHS = tuple(calendar.month_name)
_GONE = re.compile(rf"(?:shut\s+down|retired)\s+on\s+({'|'.join(_MONTHS[1:])})\s+(\d{{1,2}}),\s+(\d{{4}})")
_NO_MODEL = "Not a supported model ID"

_MAKERS: tuple[tuple[Kind, ModuleType, Any], ...] = (
    (Kind.EMBEDDINGS, embedding_model, embedding_model.EmbeddingModel),
    (Kind.IMAGES, image_model, image_model.ImageModel),
    (Kind.SPEECH, speech_model, speech_model.SpeechModel),
    (Kind.TRANSCRIPTIONS, audio_model, audio_model.AudioModel),
)


@dataclass(frozen=True, slots=True)
class _Notes:
    """What the SDK notes of its models: when they are withdrawn, and which names stand there for old code's sake."""

    ends: Mapping[str, dt.date]
    unsupported: AbstractSet[str]


def openai_models(
    provider: str, now: dt.datetime, *, only: Sequence[str] = (), keep_withdrawn: bool = False
) -> tuple[ModelSpec, ...]:
    """Returns the models of the SDK's type, or those of `only`.

    Models already withdrawn are left out, unless `keep_withdrawn`: another address may serve them still.
    """
    notes = _read_notes(chat_model)
    names = [name for name in get_args(chat_model.ChatModel) if name not in notes.unsupported]
    if not keep_withdrawn:
        names = [name for name in names if name not in notes.ends or notes.ends[name] >= now.date()]
    return tuple(
        _describe(
            provider,
            name,
            next((able for pattern, able in _FAMILIES if pattern.match(name)), UNKNOWN),
            prices.look_up(name, now, provider_id="openai"),
            notes.ends.get(name),
        )
        for name in only or names
    )


def compatible_models(
    provider: str, base_url: str, names: Sequence[str], now: dt.datetime, *, prices_of: str | None = None
) -> tuple[ModelSpec, ...]:
    """Describes the models of another endpoint of OpenAI's dialect; what they can do beside chatting is not known.

    What is published of them is that of `prices_of`, or else of who has that address.
    """
    known = {name: prices.look_up(name, now, provider_id=prices_of, base_url=base_url) for name in names}
    return tuple(_describe(provider, name, UNKNOWN, known[name], None) for name in names)


def openai_makers(provider: str, now: dt.datetime, *, keep_withdrawn: bool = False) -> tuple[ModelSpec, ...]:
    """Returns the models of the SDK's types that make something else than replies, those of a kind together."""
    makers = []
    for kind, module, names in _MAKERS:
        ends = _read_notes(module).ends
        for name in get_args(names):
            end = ends.get(name)
            if keep_withdrawn or end is None or end >= now.date():
                known = prices.look_up(name, now, provider_id="openai")
                makers.append(
                    ModelSpec(
                        id=name,
                        provider=provider,
                        name=known.name if known and known.id == name and known.name else name,
                        capabilities=(kind.value,),
                        context_window=known.context_window if known else None,
                        input_price=known.input_price if known else None,
                        output_price=known.output_price if known else None,
                        deprecation_date=end,
                        description=known.description if known else "",
                    )
                )
    return tuple(makers)


def _describe(
    provider: str, name: str, capabilities: tuple[str, ...], known: prices.Known | None, ends: dt.date | None
) -> ModelSpec:
    window = known.context_window if known else None
    long = ("long_context",) if window and window >= LONG_CONTEXT_TOKENS else ()
    return ModelSpec(
        id=name,
        provider=provider,
        name=known.name if known and known.id == name and known.name else name,
        capabilities=in_order((*capabilities, *long)),
        context_window=window,
        input_price=known.input_price if known else None,
        output_price=known.output_price if known else None,
        deprecation_date=ends,
        # Models that reason take the default temperature only.
        supports_temperature="reasoning" not in capabilities,
        description=known.description if known else "",
    )


def _read_notes(module: ModuleType) -> _Notes:
    """Reads the SDK's notes; they stand below the type, in the module's text."""
    try:
        text = inspect.getsource(module)
    except OSError:
        return _Notes({}, frozenset())
    ends: dict[str, dt.date] = {}
    unsupported: set[str] = set()
    for paragraph in text.partition("Deprecated values:")[2].split("\n- "):
        head, _, note = paragraph.partition(":")
        names = _NAMES.findall(head)
        if end := _SHUTDOWN.search(note):
            ends.update(dict.fromkeys(names, dt.date.fromisoformat(end[1])))
        elif gone := _GONE.search(note):
            ends.update(dict.fromkeys(names, dt.date(int(gone[3]), _MONTHS.index(gone[1]), int(gone[2]))))
        elif _NO_MODEL in note:
            unsupported.update(names)
    return _Notes(ends, unsupported)
