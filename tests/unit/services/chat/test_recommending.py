"""Recommending and comparing models by what is known of them."""

import datetime as dt
from decimal import Decimal

import pytest

from services.chat.catalogue import Catalogue, ModelSpec, ProviderSpec
from services.chat.health import HealthBoard
from services.chat.recommending import Advisor
from services.chat.selection import Selector, Wish
from shared.errors import InvalidArgument, NotFound

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def model(name: str, price: int | None, window: int | None, *more: str) -> ModelSpec:
    cost = None if price is None else Decimal(price)
    able = ("chat", *more)
    return ModelSpec(name, "p", capabilities=able, context_window=window, input_price=cost, output_price=cost)


MODELS = (model("dear", 9, 1000, "vision"), model("cheap", 1, 100, "vision"), model("odd", None, None))


@pytest.fixture
def board() -> HealthBoard:
    return HealthBoard([(one.provider, one.id) for one in MODELS], lambda: NOW)


@pytest.fixture
def advisor(board: HealthBoard) -> Advisor:
    catalogue = Catalogue([ProviderSpec("p", "P", MODELS, "dear")])
    return Advisor(Selector(catalogue, board), catalogue, board)


class TestRecommendations:
    def test_the_cost_is_that_of_the_message_and_a_page_of_reply(self, advisor: Advisor):
        found = advisor.recommend("abc", Wish(priority="cost"))
        assert found.model.id == "cheap"
        assert found.cost == Decimal(5 + 500) / 1_000_000
        assert [one.id for one, _ in found.alternatives] == ["dear", "odd"]
        assert found.confidence == pytest.approx(2 / 3)
        assert found.reply_ms is None

    def test_an_unknown_price_is_no_price(self, advisor: Advisor):
        found = advisor.recommend("x" * 4000, Wish(priority="cost"))
        assert (found.model.id, found.cost, found.confidence) == ("odd", None, 0.0)

    def test_a_model_whose_window_is_too_small_is_left_out(self, advisor: Advisor):
        assert advisor.recommend("x" * 600, Wish(priority="cost")).model.id == "dear"

    def test_measured_times_are_told(self, advisor: Advisor, board: HealthBoard):
        board.succeeded("p", "odd", 5, 50)
        found = advisor.recommend("abc", Wish(priority="speed"))
        assert (found.model.id, found.reply_ms) == ("odd", 50)

    def test_only_what_may_be_used_is_recommended_if_anything_may(self, advisor: Advisor):
        found = advisor.recommend("abc", Wish(priority="cost"), lambda one: one.id == "dear")
        assert (found.model.id, found.alternatives) == ("dear", [])
        assert advisor.recommend("abc", Wish(priority="cost"), lambda _: False).model.id == "cheap"

    def test_a_default_model_is_called_one_only_if_it_is(self, advisor: Advisor):
        assert "the default model of p" in advisor.recommend("abc", Wish()).reasoning
        found = advisor.recommend("abc", Wish(), lambda one: one.id == "odd")
        assert "the first model of p, whose default model is not among them" in found.reasoning


class TestComparisons:
    def test_the_best_of_each_figure_is_named(self, advisor: Advisor, board: HealthBoard):
        board.succeeded("p", "odd", 5, 50)
        board.succeeded("p", "dear", 5, 40)
        found = advisor.compare(["odd", "dear", "cheap"])
        assert [one.id for one in found.models] == ["odd", "dear", "cheap"]
        assert (found.cheapest, found.fastest, found.largest) == ("cheap", "dear", "dear")
        assert list(found.shared_capabilities) == ["chat"]

    def test_what_is_not_known_of_any_decides_nothing(self, advisor: Advisor):
        assert advisor.compare(["dear", "cheap"]).fastest is None

    def test_a_model_named_twice_counts_once(self, advisor: Advisor):
        with pytest.raises(InvalidArgument, match="must name 2 to 10 models, not 1"):
            advisor.compare(["dear", "dear"])

    def test_an_unknown_model_is_not_there(self, advisor: Advisor):
        with pytest.raises(NotFound, match="there is no model nil"):
            advisor.compare(["dear", "nil"])
