"""Recommending and comparing models, from the catalogue and from what was measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.chat.catalogue import Catalogue, ModelSpec
from services.chat.health import HealthBoard
from services.chat.selection import May, Selector, Wish, anything, check_wish
from services.chat.tokens import estimate
from services.chat.turn import Role, say
from shared.errors import InvalidArgument, Violation

ALTERNATIVES = 3
REPLY_TOKENS = 500
"""Length of the reply whose cost is estimated; about a page."""
FEWEST, MOST = 2, 10
"""How many models can be compared: more do not fit side by side."""
MILLION = Decimal(1_000_000)


@dataclass(frozen=True, slots=True)
class Recommendation:
    """The best model for a message, and the next ones. Cost in USD; None where the price is not known."""

    model: ModelSpec
    reasoning: str
    confidence: float
    alternatives: Sequence[tuple[ModelSpec, str]]
    cost: Decimal | None
    reply_ms: float | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Models side by side, and the ids of the best; None where no figure is known that would decide."""

    models: Sequence[ModelSpec]
    shared_capabilities: Sequence[str]
    cheapest: str | None
    fastest: str | None
    largest: str | None


class Advisor:
    """Recommends and compares."""

    def __init__(self, selector: Selector, catalogue: Catalogue, board: HealthBoard) -> None:
        self._selector = selector
        self._catalogue = catalogue
        self._board = board

    def recommend(self, message: str, wish: Wish, may: May = anything) -> Recommendation:
        """Recommends a model that may be used, if there is any.

        Raises what `Selector.ranked` does, and InvalidArgument for a faulty wish.
        """
        violations = check_wish(wish)
        if not message.strip():
            violations.insert(0, Violation("message", "must not be empty"))
        if violations:
            raise InvalidArgument.of(*violations)
        tokens = estimate(say(Role.USER, message))
        ranking = self._selector.ranked(wish, ALTERNATIVES + 1, tokens, may)
        (model, why), *others = ranking.best
        return Recommendation(
            model,
            f"chosen of {ranking.compared} models for priority {ranking.priority}: {why}",
            ranking.known_share,
            others,
            _cost(model, tokens),
            self._board.reply_ms(model.provider, model.id),
        )

    def compare(self, names: Sequence[str]) -> Comparison:
        """Compares models by their names. Raises InvalidArgument, or NotFound for an unknown one."""
        wanted = dict.fromkeys(names)
        if not FEWEST <= len(wanted) <= MOST:
            raise InvalidArgument.field("model_ids", f"must name {FEWEST} to {MOST} models, not {len(wanted)}")
        models = [self._catalogue.model(name) for name in wanted]
        first, *rest = models
        shared = [one for one in first.capabilities if all(one in model.capabilities for model in rest)]
        return Comparison(
            models,
            shared,
            cheapest=_least(models, lambda model: model.output_price),
            fastest=_least(models, lambda model: self._board.reply_ms(model.provider, model.id)),
            largest=_least(models, lambda model: -model.context_window if model.context_window else None),
        )


def _cost(model: ModelSpec, tokens: int) -> Decimal | None:
    if model.input_price is None or model.output_price is None:
        return None
    return (tokens * model.input_price + REPLY_TOKENS * model.output_price) / MILLION


def _least(models: Sequence[ModelSpec], figure: Callable[[ModelSpec], Decimal | float | None]) -> str | None:
    known = [(value, at) for at, model in enumerate(models) if (value := figure(model)) is not None]
    return models[min(known)[1]].id if known else None
