"""Which model answers, and why."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.chat.catalogue import CAPABILITIES, Catalogue, ModelSpec, ProviderSpec
from services.chat.health import HealthBoard
from shared.errors import InvalidArgument, Unavailable, Violation

PRIORITIES = ("speed", "quality", "balanced", "vr", "cost")
CONTEXT_TYPES = ("greeting", "conversation", "technical", "creative", "vr", "emergency", "multimodal")
MAX_FALLBACKS = 2
"""More would take longer than most callers wait."""
LOCAL = "local"
"""The development provider is chosen by name or for want of another, never instead of a provider that failed."""

_NEEDS = {"multimodal": ("vision",), "technical": ("code_generation",)}
"""What a kind of conversation needs a model to be able to do."""
May = Callable[[ModelSpec], bool]
"""Whether a model may be chosen for a caller who did not name it."""


def anything(_: ModelSpec) -> bool:
    """Lets every model be chosen."""
    return True


_HASTE = frozenset({"greeting", "vr", "emergency"})
"""Kinds of conversation in which speed matters most where no priority is given."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client says about who should answer; empty and None are its silence."""

    model: str = ""
    provider: str = ""
    auto_select: bool = False
    force_provider: bool | None = None
    force_model_override: bool = False
    enable_fallback: bool = True
    priority: str = ""
    context_type: str = ""
    max_response_time_ms: int = 0
    required_capabilities: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Selection:
    """The model that answers, why, and those that are tried in its place should it fail before its first word."""

    model: ModelSpec
    reasoning: str
    fallbacks: Sequence[ModelSpec] = ()


@dataclass(frozen=True, slots=True)
class Ranking:
    """The best models with why, out of how many, and the share of those of which the deciding figure is known."""

    best: Sequence[tuple[ModelSpec, str]]
    priority: str
    compared: int
    known_share: float


def check_wish(wish: Wish) -> list[Violation]:
    """Returns what is wrong with a wish by itself."""
    violations = []
    for field, value, allowed in (
        ("priority", wish.priority, PRIORITIES),
        ("context_type", wish.context_type, CONTEXT_TYPES),
    ):
        if value and value not in allowed:
            violations.append(Violation(field, f"must be one of {', '.join(allowed)}, not {value[:64]}"))
    for number, capability in enumerate(wish.required_capabilities):
        if capability not in CAPABILITIES:
            where = f"required_capabilities[{number}]"
            violations.append(Violation(where, f"must be one of {', '.join(CAPABILITIES)}, not {capability[:64]}"))
    if wish.max_response_time_ms < 0:
        violations.append(Violation("max_response_time_ms", f"must be 0 or more, not {wish.max_response_time_ms}"))
    return violations


class Selector:
    """Chooses from the catalogue by what the client says, and by what the board measured."""

    def __init__(self, catalogue: Catalogue, board: HealthBoard) -> None:
        self._catalogue = catalogue
        self._board = board

    def select(self, wish: Wish, may: May = anything) -> Selection:
        """Chooses. A model that the client did not name is one that `may` be chosen, if there is any.

        Raises NotFound for an unknown model or provider, InvalidArgument for a contradiction or a missing capability,
        Unavailable where the provider has no credentials.
        """
        if wish.model:
            model, reasoning = self._named(wish)
        elif wish.auto_select:
            model, reasoning = self._best(wish, may)
        else:
            model, reasoning = self._default_that(wish, may)
        missing = [one for one in wish.required_capabilities if one not in model.capabilities]
        if missing:
            raise InvalidArgument.field(
                "required_capabilities", f"{model.id} has no {', '.join(missing)}; name another model or none"
            )
        return Selection(model, reasoning, self._fallbacks(wish, model))

    def _named(self, wish: Wish) -> tuple[ModelSpec, str]:
        if not wish.provider:
            return self._catalogue.model(wish.model), f"{wish.model} was asked for"
        provider = self._catalogue.usable(wish.provider)
        model = self._catalogue.model_of(provider, wish.model)
        if model is not None:
            return model, f"{wish.model} of {provider.id} was asked for"
        if wish.force_model_override:
            return ModelSpec(
                wish.model, provider.id
            ), f"{wish.model} was forced upon {provider.id}, which does not list it"
        elsewhere = self._catalogue.model(wish.model)
        if wish.force_provider is False:
            return elsewhere, f"{wish.model} was asked for, which is {elsewhere.provider}'s and not {provider.id}'s"
        raise InvalidArgument.of(
            Violation("model", f"{wish.model} is offered by {elsewhere.provider}, not by {provider.id}"),
            Violation("provider", f"leave it out, or send {elsewhere.provider}"),
        )

    def _provider(self, wish: Wish) -> tuple[ProviderSpec, str]:
        if wish.provider:
            wanted = self._catalogue.provider(wish.provider)
            if wanted.is_configured or wish.force_provider is not False:
                provider = self._catalogue.usable(wish.provider)
                return provider, f"the default model of {provider.id}, which was asked for"
        default = self._default()
        if wish.provider:
            why = "is unreachable" if wanted.unreachable else "has no credentials"
            return default, f"{wish.provider} {why}; this is the default model of {default.id}"
        return default, f"the default model of {default.id}, the default provider"

    def _default_that(self, wish: Wish, may: May) -> tuple[ModelSpec, str]:
        """Returns the default model; where it may not be chosen another one that may, of its provider if it can be."""
        provider, reasoning = self._provider(wish)
        default = self._catalogue.default_model(provider)
        if may(default):
            return default, reasoning
        others = () if wish.provider else self._catalogue.models
        near = (*provider.models, *(model for model in others if model.provider != LOCAL))
        other = next(filter(may, near), None)
        if other is None:
            return default, reasoning
        return other, f"{reasoning}, may not be used here; {other.id} may"

    def ranked(self, wish: Wish, count: int, tokens: int, may: May = anything) -> "Ranking":
        """Returns the best models for a wish whose windows hold so many tokens, at most `count`, the best first.

        Raises NotFound for an unknown provider, InvalidArgument where no model will do, Unavailable where the provider
        has no credentials.
        """
        able, priority = self._candidates(wish, may)
        wide = [model for model in able if model.context_window is None or model.context_window > tokens]
        if not wide:
            raise InvalidArgument.field("message", f"takes about {tokens} tokens, more than any such model reads")
        left = list(wide)
        best: list[tuple[ModelSpec, str]] = []
        while left and len(best) < count:
            model, why = self._by_priority(left, priority)
            best.append((model, why))
            left.remove(model)
        known = sum(self._is_known(model, priority) for model in wide)
        return Ranking(best, priority, len(wide), known / len(wide))

    def _is_known(self, model: ModelSpec, priority: str) -> bool:
        match priority:
            case "speed" | "vr":
                return self._board.first_word_ms(model.provider, model.id) is not None
            case "cost" | "quality":
                return model.output_price is not None
            case _:
                return True

    def _best(self, wish: Wish, may: May) -> tuple[ModelSpec, str]:
        able, priority = self._candidates(wish, may)
        model, why = self._by_priority(able, priority)
        return model, f"chosen of {len(able)} models for priority {priority}: {why}"

    def _candidates(self, wish: Wish, may: May) -> tuple[Sequence[ModelSpec], str]:
        if wish.provider and wish.force_provider is not False:
            offered: Sequence[ModelSpec] = self._catalogue.usable(wish.provider).models
        else:
            offered = self._catalogue.models
            # A provider that answers without a model is no choice where there is one with a model.
            offered = [model for model in offered if model.provider != LOCAL] or offered
        needs = {*wish.required_capabilities, *_NEEDS.get(wish.context_type, ())}
        able = [model for model in offered if model.can(needs)]
        if not able:
            self._default()
            raise InvalidArgument.field(
                "required_capabilities", f"no model that is offered has {', '.join(sorted(needs))}"
            )
        # Where none may be used, the call says so itself, and names those that may.
        able = [model for model in able if may(model)] or able
        able = [model for model in able if model.deprecation_date is None] or able
        quick = self._quick_enough(able, wish.max_response_time_ms) or able
        return quick, wish.priority or ("speed" if wish.context_type in _HASTE else "balanced")

    def _quick_enough(self, models: Iterable[ModelSpec], limit_ms: int) -> Sequence[ModelSpec]:
        if not limit_ms:
            return list(models)
        measured = ((model, self._board.reply_ms(model.provider, model.id)) for model in models)
        return [model for model, mean in measured if mean is None or mean <= limit_ms]

    def _by_priority(self, models: Sequence[ModelSpec], priority: str) -> tuple[ModelSpec, str]:
        if priority == "cost":
            return min(models, key=_cheap), "the lowest published price"
        if priority == "quality":
            return max(models, key=_dear), "the highest published price, for want of a better measure of quality"
        if priority in ("speed", "vr"):
            times = [(self._board.first_word_ms(model.provider, model.id), model) for model in models]
            measured = [(mean, number) for number, (mean, _) in enumerate(times) if mean is not None]
            if measured:
                mean, number = min(measured)
                return models[number], f"the shortest time to the first word of those measured, {mean:.0f} ms"
            return min(models, key=_cheap), "the lowest published price, since none of those left was measured yet"
        defaults = {(one.id, one.default_model) for one in self._catalogue.providers}
        default = next((model for model in models if (model.provider, model.id) in defaults), None)
        if default is not None:
            return default, f"the default model of {default.provider}"
        return models[0], f"the first model of {models[0].provider}, whose default model is not among them"

    def _fallbacks(self, wish: Wish, model: ModelSpec) -> Sequence[ModelSpec]:
        if not wish.enable_fallback or (wish.provider and wish.force_provider) or model.provider == LOCAL:
            return ()
        found: list[ModelSpec] = []
        for provider in self._catalogue.providers:
            if provider.is_configured and provider.id not in (model.provider, LOCAL):
                able = [one for one in provider.models if one.can(wish.required_capabilities)]
                able = [one for one in able if one.deprecation_date is None] or able
                if able:
                    found.append(min(able, key=_distance(model, provider)))
        return found[:MAX_FALLBACKS]

    def _default(self) -> ProviderSpec:
        provider = self._catalogue.default_provider
        if provider is None:
            missing = ", ".join(one.missing_setting for one in self._catalogue.providers if one.missing_setting)
            if not missing:
                raise Unavailable("no provider has answered yet which models it has", reason="PROVIDER_UNREACHABLE")
            raise Unavailable(f"no provider has credentials; set one of {missing}", reason="PROVIDER_UNCONFIGURED")
        return provider


def _cheap(model: ModelSpec) -> tuple[bool, Decimal]:
    return model.output_price is None, model.output_price or Decimal(0)


def _dear(model: ModelSpec) -> tuple[bool, Decimal]:
    return model.output_price is not None, model.output_price or Decimal(0)


def _distance(model: ModelSpec, provider: ProviderSpec) -> Callable[[ModelSpec], tuple[bool, Decimal, bool]]:
    """How far another model is from this one: by price, else the provider's default model is as near as any."""

    def measure(other: ModelSpec) -> tuple[bool, Decimal, bool]:
        is_default = other.id == provider.default_model
        if model.output_price is None or other.output_price is None:
            return (not is_default, Decimal(0), False)
        return (False, abs(model.output_price - other.output_price), not is_default)

    return measure
