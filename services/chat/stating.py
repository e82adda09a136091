"""Putting what the operator states of models into the catalogue."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from services.chat.catalogue import LONG_CONTEXT_TOKENS, ModelSpec, ProviderSpec, in_order
from services.chat.model_settings import ModelSettings
from services.chat.pricing import Override


@dataclass(frozen=True, slots=True)
class Stated:
    """Providers with what is stated of their models, the prices and aliases that were stated, and names of no model."""

    providers: Sequence[ProviderSpec]
    prices: Mapping[tuple[str, str], Sequence[Override]]
    aliases: Mapping[str, str]
    unknown: Sequence[str]


def state(providers: Sequence[ProviderSpec], models: Mapping[str, ModelSettings], now: dt.datetime) -> Stated:
    """Returns the providers with what is stated of their models.

    A model is named by its id, which means that of every provider, or as `provider/model`, which goes before.
    """
    prices: dict[tuple[str, str], Sequence[Override]] = {}
    aliases: dict[str, str] = {}
    known: set[str] = set()
    changed = []
    for provider in providers:
        specs: list[ModelSpec] = []
        for spec in (*provider.models, *provider.makers):
            names = [spec.id, *(f"{name}/{spec.id}" for name in (provider.id, *provider.aliases))]
            found = [models[name] for name in names if name in models]
            known.update(name for name in names if name in models)
            for settings in found:
                for alias in settings.aliases:
                    aliases.setdefault(alias, f"{provider.id}/{spec.id}")
                if settings.prices:
                    prices[provider.id, spec.id] = [price.override() for price in settings.prices]
                spec = _described(spec, settings)
            specs.append(_priced(spec, prices.get((provider.id, spec.id), ()), now))
        count = len(provider.models)
        changed.append(replace(provider, models=tuple(specs[:count]), makers=tuple(specs[count:])))
    return Stated(changed, prices, aliases, [name for name in models if name not in known])


def _described(spec: ModelSpec, settings: ModelSettings) -> ModelSpec:
    facts: dict[str, Any] = {
        "name": settings.name,
        "description": settings.description,
        "context_window": settings.context_window,
        "max_tokens": settings.max_tokens,
        "deprecation_date": settings.deprecation_date,
    }
    spec = replace(spec, **{name: fact for name, fact in facts.items() if fact is not None})
    if not spec.can(["chat"]):
        # What it makes is what it is.
        return spec
    if settings.capabilities is not None:
        able = in_order(settings.capabilities)
        return replace(spec, capabilities=able, supports_temperature="reasoning" not in able)
    if settings.context_window is not None:
        able = tuple(one for one in spec.capabilities if one != "long_context")
        long = ("long_context",) if settings.context_window >= LONG_CONTEXT_TOKENS else ()
        return replace(spec, capabilities=in_order((*able, *long)))
    return spec


def _priced(spec: ModelSpec, stated: Sequence[Override], now: dt.datetime) -> ModelSpec:
    begun = [one for one in stated if one.effective_from <= now]
    if not begun:
        return spec
    rates = max(begun, key=lambda one: one.effective_from).prices.rates
    prices: tuple[Decimal, Decimal] = (rates.input, rates.output)
    return replace(spec, input_price=prices[0], output_price=prices[1])
