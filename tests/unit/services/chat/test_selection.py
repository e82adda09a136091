"""Choosing a model, and saying why."""

import datetime as dt
from decimal import Decimal

import pytest

from services.chat.catalogue import Catalogue, ModelSpec, ProviderSpec
from services.chat.health import HealthBoard
from services.chat.selection import Selector, Wish, check_wish
from shared.errors import InvalidArgument, NotFound, Unavailable

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def model(provider: str, name: str, price: str | None, *capabilities: str, ends: dt.date | None = None) -> ModelSpec:
    price_of = None if price is None else Decimal(price)
    able = ("chat", "streaming", *capabilities)
    return ModelSpec(name, provider, capabilities=able, output_price=price_of, deprecation_date=ends)


CLAUDE = ProviderSpec(
    "claude",
    "Claude",
    (
        model("claude", "big", "50", "vision"),
        model("claude", "middle", "10", "vision"),
        model("claude", "small", "1"),
        model("claude", "old", "0.1", ends=dt.date(2026, 6, 1)),
    ),
    "middle",
)
OPENAI = ProviderSpec(
    "openai",
    "OpenAI",
    (model("openai", "gpt", "12", "vision"), model("openai", "nano", "0.5"), model("openai", "odd", None)),
    "gpt",
)
LOCAL = ProviderSpec("local", "Local", (model("local", "echo", None),), "echo")
AWAY = ProviderSpec("groq", "Groq", missing_setting="GROQ_KEY")


@pytest.fixture
def board() -> HealthBoard:
    models = [(one.provider, one.id) for spec in (CLAUDE, OPENAI, LOCAL) for one in spec.models]
    return HealthBoard(models, lambda: NOW)


@pytest.fixture
def selector(board) -> Selector:
    return Selector(Catalogue([CLAUDE, OPENAI, AWAY, LOCAL]), board)


def chosen(selector: Selector, **wish) -> str:
    return selector.select(Wish(**wish)).model.id


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({}, "middle"),
        ({"provider": "openai"}, "gpt"),
        ({"model": "nano"}, "nano"),
        ({"model": "openai/nano", "provider": "openai"}, "nano"),
        ({"model": "nano", "provider": "claude", "force_provider": False}, "nano"),
        ({"model": "new", "provider": "claude", "force_model_override": True}, "new"),
        ({"provider": "groq", "force_provider": False}, "middle"),
        ({"auto_select": True}, "middle"),
        ({"auto_select": True, "priority": "cost"}, "nano"),
        ({"auto_select": True, "priority": "cost", "required_capabilities": ["vision"]}, "middle"),
        ({"auto_select": True, "priority": "cost", "provider": "claude"}, "small"),
        ({"auto_select": True, "priority": "quality"}, "big"),
        ({"auto_select": True, "priority": "speed"}, "nano"),
        ({"auto_select": True, "context_type": "vr"}, "nano"),
        ({"auto_select": True, "priority": "cost", "context_type": "multimodal"}, "middle"),
    ],
)
def test_the_wish_decides(selector, wish, expected):
    selection = selector.select(Wish(**wish))
    assert selection.model.id == expected
    assert selection.reasoning


def test_measured_speed_beats_price(selector, board):
    board.succeeded("claude", "big", first_word_ms=50, reply_ms=500)
    board.succeeded("openai", "gpt", first_word_ms=90, reply_ms=400)
    assert chosen(selector, auto_select=True, priority="speed") == "big"


def test_models_measured_slower_than_allowed_are_passed_over(selector, board):
    board.succeeded("claude", "middle", first_word_ms=50, reply_ms=900)
    assert chosen(selector, auto_select=True, max_response_time_ms=500) == "gpt"


@pytest.mark.parametrize(
    ("wish", "allowed", "expected"),
    [
        ({}, {"small"}, "small"),
        ({}, {"nano"}, "nano"),
        ({"provider": "openai"}, {"odd"}, "odd"),
        ({"provider": "claude"}, {"nano"}, "middle"),
        ({}, {"echo"}, "middle"),
        ({"auto_select": True, "priority": "quality"}, {"small", "nano"}, "small"),
        ({"auto_select": True}, {"echo"}, "middle"),
        ({"model": "gpt"}, {"small"}, "gpt"),
    ],
)
def test_what_a_client_does_not_name_is_what_it_may_use_if_it_may_use_anything(selector, wish, allowed, expected):
    selection = selector.select(Wish(**wish), lambda one: one.id in allowed)
    assert selection.model.id == expected


@pytest.mark.parametrize(
    ("wish", "error", "says"),
    [
        ({"model": "nothing"}, NotFound, "no model nothing"),
        ({"model": "nothing", "provider": "claude"}, NotFound, "no model nothing"),
        ({"provider": "nobody"}, NotFound, "no provider nobody"),
        ({"model": "gpt", "provider": "claude"}, InvalidArgument, "offered by openai, not by claude"),
        ({"provider": "groq"}, Unavailable, "GROQ_KEY"),
        ({"model": "small", "required_capabilities": ["vision"]}, InvalidArgument, "small has no vision"),
        (
            {"auto_select": True, "required_capabilities": ["reasoning"]},
            InvalidArgument,
            "no model that is offered has",
        ),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused(selector, wish, error, says):
    with pytest.raises(error, match=says):
        selector.select(Wish(**wish))


def test_fallbacks_are_the_models_nearest_in_price_and_never_the_development_provider(selector):
    assert [one.id for one in selector.select(Wish()).fallbacks] == ["gpt"]
    assert [one.id for one in selector.select(Wish(model="small")).fallbacks] == ["nano"]
    assert [one.id for one in selector.select(Wish(model="echo")).fallbacks] == []


@pytest.mark.parametrize("wish", [{"enable_fallback": False}, {"provider": "claude", "force_provider": True}])
def test_there_is_no_fallback_where_it_is_forbidden(selector, wish):
    assert selector.select(Wish(**wish)).fallbacks == ()


def test_without_any_provider_the_missing_settings_are_named(board):
    with pytest.raises(Unavailable, match="GROQ_KEY"):
        Selector(Catalogue([AWAY]), board).select(Wish())
    with pytest.raises(Unavailable, match="GROQ_KEY"):
        Selector(Catalogue([AWAY]), board).select(Wish(auto_select=True))


def test_every_violation_of_a_wish_is_found():
    wish = Wish(priority="p", context_type="c", max_response_time_ms=-1, required_capabilities=["chat", "fly"])
    fields = [violation.field for violation in check_wish(wish)]
    assert fields == ["priority", "context_type", "required_capabilities[1]", "max_response_time_ms"]
    assert check_wish(Wish()) == []


class TestRanking:
    def test_the_best_come_first_and_say_why(self, selector: Selector, board: HealthBoard):
        for name, first_word in (("big", 30), ("small", 10), ("middle", 20)):
            board.succeeded("claude", name, first_word, first_word)
        ranking = selector.ranked(Wish(priority="speed"), 2, tokens=10)
        assert [model.id for model, _ in ranking.best] == ["small", "middle"]
        assert "10 ms" in ranking.best[0][1]
        assert (ranking.compared, ranking.known_share) == (6, 0.5)

    def test_what_is_known_of_prices_counts_for_cost(self, selector: Selector):
        ranking = selector.ranked(Wish(priority="cost"), 9, tokens=10)
        assert [model.id for model, _ in ranking.best] == ["nano", "small", "middle", "gpt", "big", "odd"]
        assert ranking.known_share == pytest.approx(5 / 6)
