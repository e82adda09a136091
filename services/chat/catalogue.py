"""The models of all providers, and finding one by what a client calls it."""

import datetime as dt
import difflib
import heapq
import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal

from shared.errors import GaiaError, InvalidArgument, NotFound, Unavailable

CAPABILITIES = (
    "chat",
    "streaming",
    "tool_calling",
    "vision",
    "code_generation",
    "multimodal",
    "long_context",
    "reasoning",
    "structured_output",
)
"""Every capability there is, in the order in which they are shown."""

LONG_CONTEXT_TOKENS = 200_000
"""A window from which a model counts as `long_context`."""

NEAR_NAMES = 3
MOST_COMPARED = 50
"""Names that an unknown one is compared with to tell the nearest; of more, those that share the most with it."""
MOST_NAME_CHARACTERS = 200
MOST_NAMED = 6
"""Models that an error names where any would do."""


def in_order(capabilities: Iterable[str]) -> tuple[str, ...]:
    """Returns capabilities in the order of `CAPABILITIES`, each once."""
    have = set(capabilities)
    return tuple(one for one in CAPABILITIES if one in have)


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What is known of a model. Tokens; prices in USD for a million tokens; None where it is not known.

    `default_max_tokens` is the limit that its provider is asked for where a request of another dialect has none.
    """

    id: str
    provider: str
    name: str = ""
    capabilities: tuple[str, ...] = ("chat", "streaming")
    max_tokens: int | None = None
    context_window: int | None = None
    input_price: Decimal | None = None
    output_price: Decimal | None = None
    deprecation_date: dt.date | None = None
    supports_temperature: bool = True
    description: str = ""
    default_max_tokens: int | None = None

    def can(self, capabilities: Iterable[str]) -> bool:
        """Whether the model has all of the capabilities."""
        return set(capabilities) <= set(self.capabilities)


@dataclass(frozen=True, slots=True)
class ProviderSpec:
    """A provider. Without credentials, `missing_setting` names what is missing, and there are no models.

    An `unreachable` one tells its models itself, and did not yet.

    `makers` are models that make something else than replies: their capabilities are kinds of
    `services.chat.media.kinds`, and no chat is given to them. Where `makes_anything`, what the models can do beside
    chatting is not known, and each may be asked.
    """

    id: str
    name: str
    models: tuple[ModelSpec, ...] = ()
    default_model: str = ""
    missing_setting: str = ""
    makers: tuple[ModelSpec, ...] = ()
    makes_anything: bool = False
    aliases: tuple[str, ...] = ()
    unreachable: bool = False
    capabilities: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        have = in_order(capability for model in self.models for capability in model.capabilities)
        object.__setattr__(self, "capabilities", have)

    @property
    def is_configured(self) -> bool:
        """Whether its models can be used."""
        return not self.missing_setting and not self.unreachable

    @property
    def status(self) -> str:
        """`available`, `unconfigured` or `unreachable`."""
        return "unconfigured" if self.missing_setting else "unreachable" if self.unreachable else "available"


@dataclass(frozen=True, slots=True)
class Unoffered:
    """A setting that names what no configured provider offers: `aliases`, `default_model` or `default_provider`."""

    setting: str
    message: str
    alias: str = ""


class UnofferedError(ValueError):
    """What settings name that no configured provider offers, all of it at once."""

    def __init__(self, faults: Sequence[Unoffered]) -> None:
        super().__init__("; ".join(fault.message for fault in faults))
        self.faults = faults


class Catalogue:
    """All providers with their models, the preferred provider first.

    `aliases` maps further names to `provider/model` or a model's id. Raises UnofferedError for aliases and defaults
    that name nothing; where a provider is unreachable, what names nothing may be one of its models, and is left out.
    """

    def __init__(
        self,
        providers: Sequence[ProviderSpec],
        aliases: Mapping[str, str] | None = None,
        default_provider: str = "",
        default_model: str = "",
    ) -> None:
        self.version = 0
        self._pairs: dict[str, frozenset[str]] = {}
        self.providers = tuple(providers)
        self._providers = {name: provider for provider in providers for name in (provider.id, *provider.aliases)}
        self._models: dict[str, ModelSpec] = {}
        self._makers: dict[str, ModelSpec] = {}
        self._of_provider: dict[str, dict[str, ModelSpec]] = {}
        # A provider that tells its models itself may tell of one that is called as a model of another is: each
        # `provider/model` is that provider's own before any bare id is given away.
        for provider in providers:
            own = {model.id: model for model in provider.models}
            self._of_provider[provider.id] = own
            for name in (provider.id, *provider.aliases):
                self._models.update((f"{name}/{model.id}", model) for model in provider.models)
                self._makers.update((f"{name}/{model.id}", model) for model in provider.makers)
        for provider in providers:
            for model in provider.models:
                self._models.setdefault(model.id, model)
            for model in provider.makers:
                self._makers.setdefault(model.id, model)
        self.makers = tuple(model for provider in providers for model in provider.makers)
        self.models = tuple(model for provider in providers for model in provider.models)
        incomplete = any(provider.unreachable for provider in providers)
        faults: list[Unoffered] = []
        for alias, target in (aliases or {}).items():
            if target in self._models:
                self._models[alias] = self._models[target]
            elif target in self._makers:
                self._makers[alias] = self._makers[target]
            elif not incomplete:
                what = f"the alias {alias} stands for {target}, which no configured provider offers"
                faults.append(Unoffered("aliases", what, alias))
        if default_provider and (wrong := self._wrong_provider(default_provider)):
            faults.append(Unoffered("default_provider", wrong))
            default_provider = ""
        if default_model in self._models:
            chosen = self._models[default_model]
            if default_provider and self._providers[default_provider].id != chosen.provider:
                what = f"the default model {chosen.id} is of {chosen.provider}, and not of {default_provider}"
                faults.append(Unoffered("default_model", what))
            default_provider = self._set_default(chosen)
        elif default_model and not incomplete:
            what = f"the default model {default_model} is offered by no configured provider"
            faults.append(Unoffered("default_model", what))
        if faults:
            raise UnofferedError(faults)
        self.default_provider = self._default_provider(default_provider)

    def _wrong_provider(self, wanted: str) -> str:
        provider = self._providers.get(wanted)
        if provider is not None and not provider.missing_setting:
            return ""
        known = ", ".join(one.id for one in self.providers if not one.missing_setting)
        return f"{wanted} is not a configured provider; configured are {known or 'none'}"

    def _set_default(self, model: ModelSpec) -> str:
        """Makes a model its provider's default, and returns that provider."""
        provider = self._providers[model.provider]
        chosen = replace(provider, default_model=model.id)
        self.providers = tuple(chosen if one is provider else one for one in self.providers)
        self._providers.update(dict.fromkeys((chosen.id, *chosen.aliases), chosen))
        return chosen.id

    def _default_provider(self, wanted: str) -> ProviderSpec | None:
        if wanted and self._providers[wanted].is_configured:
            return self._providers[wanted]
        return next((provider for provider in self.providers if provider.is_configured), None)

    def take(self, other: "Catalogue") -> None:
        """Lists what another catalogue lists from now on, under the next `version`."""
        version = self.version + 1
        vars(self).update(vars(other))
        self.version = version

    def provider(self, name: str) -> ProviderSpec:
        """Returns a provider by id or alias. Raises NotFound that names near ones."""
        provider = self._providers.get(name)
        if provider is None:
            known = ", ".join(one.id for one in self.providers)
            raise NotFound(f"there is no provider {name[:64]}; there are {known}", reason="UNKNOWN_PROVIDER")
        return provider

    def usable(self, name: str) -> ProviderSpec:
        """Returns a provider whose models can be used. Raises NotFound, or Unavailable that names a missing setting."""
        provider = self.provider(name)
        if provider.unreachable:
            raise Unavailable(
                f"the provider {provider.id} has not answered yet which models it has; try again soon",
                reason="PROVIDER_UNREACHABLE",
                metadata={"provider": provider.id},
            )
        if provider.missing_setting:
            raise Unavailable(
                f"the provider {provider.id} has no credentials; the operator must set {provider.missing_setting}",
                reason="PROVIDER_UNCONFIGURED",
                metadata={"provider": provider.id, "setting": provider.missing_setting},
            )
        return provider

    def model(self, name: str) -> ModelSpec:
        """Returns a model by id, `provider/model` or alias. Raises NotFound that names near ones."""
        model = self._models.get(name)
        if model is None:
            raise self._unknown_model(name)
        return model

    def maker(self, kind: str, name: str) -> ModelSpec:
        """Returns a model that makes something, by id or `provider/model`; without a name the first one that can.

        Raises NotFound that names near ones, or InvalidArgument that names those that can.
        """
        able = [model for model in self.makers if kind in model.capabilities]
        if not name and able:
            return able[0]
        model = self._makers.get(name)
        if model is not None and kind in model.capabilities:
            return model
        model = self._models.get(name) or model
        if model is None:
            near = [one for one, offered in self._makers.items() if kind in offered.capabilities]
            raise self._unknown_model(name, near)
        if self._providers[model.provider].makes_anything:
            return model
        others = ", ".join(one.id for one in able[:MOST_NAMED])
        instead = f"those that do are {others}" if others else "no configured provider has a model that does"
        raise InvalidArgument.field("model", f"{model.id} of {model.provider} makes no {kind}; {instead}")

    def known(self, name: str) -> ModelSpec:
        """Returns a model of any sort, as `model` and `maker` do. Raises NotFound that names near ones."""
        return self._models.get(name) or self._makers.get(name) or self.model(name)

    def model_of(self, provider: ProviderSpec, name: str) -> ModelSpec | None:
        """Returns a provider's model by id, `provider/model` or alias, None where it has no such model."""
        own = self._of_provider[provider.id].get(name)
        if own is not None:
            return own
        model = self._models.get(name)
        return model if model is not None and model.provider == provider.id else None

    def default_model(self, provider: ProviderSpec) -> ModelSpec:
        """Returns what a configured provider answers with when nothing is said."""
        return self._of_provider[provider.id][provider.default_model]

    def _near(self, name: str, among: Collection[str]) -> Sequence[str]:
        # Comparing with some thousands of names would hold up everybody else for as long as a word of a stream.
        if len(among) > MOST_COMPARED:
            if not self._pairs:
                self._pairs.update((one, _pairs(one)) for one in (*self._models, *self._makers))
            pairs, known = _pairs(name[:MOST_NAME_CHARACTERS]), self._pairs
            among = heapq.nlargest(MOST_COMPARED, among, key=lambda other: len(pairs & known[other]))
        return difflib.get_close_matches(name[:MOST_NAME_CHARACTERS], among, NEAR_NAMES, cutoff=0.5)

    def _unknown_model(self, name: str, among: Collection[str] | None = None) -> GaiaError:
        near = self._near(name.lower(), among or self._models)
        hint = f"near ones are {', '.join(near)}" if near else "GET /v1/models lists all"
        missing = [f"{one.id} ({one.missing_setting})" for one in self.providers if one.missing_setting]
        if missing:
            hint += f"; without credentials, so not offered: {', '.join(missing)}"
        if unreachable := [one.id for one in self.providers if one.unreachable]:
            hint += f"; unreachable, so not offered yet: {', '.join(unreachable)}"
        return NotFound(f"there is no model {name[:128]}; {hint}", reason="UNKNOWN_MODEL")


def _pairs(name: str) -> frozenset[str]:
    """Returns which two characters stand side by side in a name."""
    return frozenset(map("".join, itertools.pairwise(name)))
