"""The Anthropic models that the installed SDK knows, with what is published of them."""

import datetime as dt
import re
from collections.abc import Sequence
from typing import get_args

from anthropic.resources.messages.messages import DEPRECATED_MODELS
from anthropic.types.message_create_params import MessageCreateParamsBase
from anthropic.types.model import Model

from services.chat.catalogue import LONG_CONTEXT_TOKENS, ModelSpec, in_order
from services.chat.providers import prices
from services.chat.providers.anthropic_request import DEFAULT_MAX_TOKENS

PREFERRED = ("claude-sonnet-5-5", "claude-sonnet-5")
"""The default model is the first of these that is offered: the middle of the range in price and speed."""

_ORDINAL = re.compile(r"(?<=\d)(st|nd|rd|th)\b")

# All models of the SDK's list are of the generations 4.5 and later, which share these.
_CAPABILITIES = (
    "chat",
    "streaming",
    "tool_calling",
    "vision",
    "code_generation",
    "multimodal",
    "reasoning",
    "structured_output",
)


def anthropic_models(provider: str, now: dt.datetime, *, only: Sequence[str] = ()) -> tuple[ModelSpec, ...]:
    """Returns the models of the SDK's type, or those of `only`. Models already withdrawn are left out."""
    names = only or [name for name in get_args(get_args(Model)[0]) if not _is_gone(name, now)]
    return tuple(_describe(provider, name, now) for name in names)


def _describe(provider: str, name: str, now: dt.datetime) -> ModelSpec:
    known = prices.look_up(name, now, provider_id="anthropic")
    window = known.context_window if known else None
    long = ("long_context",) if window and window >= LONG_CONTEXT_TOKENS else ()
    return ModelSpec(
        id=name,
        provider=provider,
        name=known.name if known and known.id == name else name,
        capabilities=in_order((*_CAPABILITIES, *long)),
        context_window=window,
        input_price=known.input_price if known else None,
        output_price=known.output_price if known else None,
        deprecation_date=_end_of(name),
        supports_temperature="temperature" in MessageCreateParamsBase.__annotations__,
        description=known.description if known else "",
        default_max_tokens=DEFAULT_MAX_TOKENS,
    )


def _end_of(name: str) -> dt.date | None:
    written = DEPRECATED_MODELS.get(name)
    if written is None:
        return None
    return dt.datetime.strptime(_ORDINAL.sub("", written), "%B %d, %Y").replace(tzinfo=dt.UTC).date()


def _is_gone(name: str, now: dt.datetime) -> bool:
    end = _end_of(name)
    return end is not None and end < now.date()
