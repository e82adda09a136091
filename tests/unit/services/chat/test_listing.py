"""What is offered, by the settings and by what providers tell."""

import datetime as dt
from decimal import Decimal

import pytest
from pydantic import ValidationError

from services.chat.listing import build_listing
from services.chat.settings import ChatSettings
from services.chat.turn import Usage
from shared.errors import NotFound, Unavailable
from shared.settings import SettingsError

NOW = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
GROQ = {"id": "groq", "base_url": "https://api.groq.com/openai/v1"}


@pytest.fixture(autouse=True)
def no_keys(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


def listing(discovered=None, **settings):
    return build_listing(ChatSettings(database_url="postgres://x", **settings), NOW, discovered or {})


def test_a_provider_that_tells_its_models_is_unreachable_until_it_did():
    found = listing(openai_compatible=[GROQ], default_provider="groq", model_aliases={"quick": "groq/llama-x"})
    groq = found.catalogue.provider("groq")
    assert (groq.status, groq.models, groq.is_configured) == ("unreachable", (), False)
    assert found.catalogue.default_provider.id == "local"
    with pytest.raises(Unavailable, match="groq has not answered yet"):
        found.catalogue.usable("groq")
    with pytest.raises(NotFound, match="unreachable, so not offered yet: groq"):
        found.catalogue.model("quick")


def test_what_it_told_is_offered_with_what_is_published_and_what_was_waiting_for_it():
    found = listing(
        {"groq": ["llama-3.3-70b-versatile", "llama-x"]},
        openai_compatible=[GROQ],
        default_model="groq/llama-x",
        model_aliases={"quick": "groq/llama-x"},
    )
    groq = found.catalogue.provider("groq")
    assert (groq.status, [model.id for model in groq.models]) == ("available", ["llama-3.3-70b-versatile", "llama-x"])
    assert found.catalogue.model("quick").id == "llama-x"
    assert found.catalogue.default_model(found.catalogue.default_provider).id == "llama-x"
    assert found.prices.at("groq", "llama-3.3-70b-versatile", NOW) is not None
    assert found.prices.at("groq", "llama-x", NOW) is None


def test_models_that_are_named_are_there_beside_those_that_are_told():
    endpoint = GROQ | {"models": ["b"], "discover": True}
    assert [model.id for model in listing(openai_compatible=[endpoint]).catalogue.provider("groq").models] == ["b"]
    found = listing({"groq": ["a", "b"]}, openai_compatible=[endpoint])
    assert [model.id for model in found.catalogue.provider("groq").models] == ["b", "a"]


def test_an_endpoint_elsewhere_can_have_the_prices_of_another():
    endpoint = GROQ | {"base_url": "http://10.0.0.1/v1", "models": ["llama-3.3-70b-versatile"], "prices_of": "groq"}
    found = listing(openai_compatible=[endpoint])
    assert found.prices.at("groq", "llama-3.3-70b-versatile", NOW) is not None
    assert found.catalogue.models[0].input_price is not None
    with pytest.raises(SettingsError, match="no prices are published of nobody"):
        listing(openai_compatible=[endpoint | {"prices_of": "nobody"}])


def test_what_the_operator_states_of_a_model_goes_before_what_is_published():
    found = listing(
        openai_api_key="k",
        models={
            "gpt-5": {
                "name": "Five",
                "description": "Ours.",
                "aliases": ["five"],
                "context_window": 1000,
                "max_tokens": 100,
                "deprecation_date": dt.date(2027, 1, 1),
                "prices": [
                    {"input": 1, "output": "2.50"},
                    {"effective_from": dt.date(2026, 12, 1), "input": 9, "output": 9},
                ],
            }
        },
    )
    model = found.catalogue.model("five")
    assert (model.id, model.name, model.description) == ("gpt-5", "Five", "Ours.")
    assert (model.context_window, model.max_tokens, model.deprecation_date) == (1000, 100, dt.date(2027, 1, 1))
    assert "long_context" not in model.capabilities
    assert "vision" in model.capabilities
    assert (model.input_price, model.output_price) == (1, Decimal("2.5"))
    assert found.prices.at("openai", "gpt-5", NOW).cost(Usage(1_000_000, 1_000_000)) == Decimal("3.5")
    assert found.prices.at("openai", "gpt-5", NOW + 30 * DAY).cost(Usage(1_000_000)) == 9
    assert found.prices.at("openai", "gpt-5", NOW).source == "configuration"


def test_a_model_is_meant_by_its_id_everywhere_or_with_its_provider_there():
    endpoints = [GROQ | {"models": ["m"]}, GROQ | {"id": "vllm", "models": ["m"]}]
    found = listing(
        openai_compatible=endpoints,
        models={"m": {"max_tokens": 10, "context_window": 50}, "vllm/m": {"max_tokens": 20}, "gone": {}},
    )
    limits = {model.provider: (model.max_tokens, model.context_window) for model in found.catalogue.models}
    assert limits["groq"] == (10, 50)
    assert limits["vllm"] == (20, 50)
    assert found.unknown == ["gone"]


def test_stated_tiers_change_what_they_name():
    prices = {
        "input": 1,
        "output": 2,
        "cached_input": "0.5",
        "tiers": [{"above": 100, "input": 3}],
        "per_request": "0.01",
    }
    found = listing(openai_compatible=[GROQ | {"models": ["m"]}], models={"m": {"prices": [prices]}})
    applied = found.prices.at("groq", "m", NOW)
    assert applied.cost(Usage(100, 0, 50)) == Decimal("0.01") + Decimal(75) / 10**6
    assert applied.cost(Usage(101, 0, 100)) == Decimal("0.01") + Decimal(53) / 10**6


def test_a_stated_capability_list_is_the_whole_of_it():
    found = listing(
        openai_compatible=[GROQ | {"models": ["m"]}], models={"m": {"capabilities": ["reasoning", "chat", "streaming"]}}
    )
    model = found.catalogue.model("m")
    assert (model.capabilities, model.supports_temperature) == (("chat", "streaming", "reasoning"), False)


@pytest.mark.parametrize(
    ("stated", "says"),
    [
        ({"capabilities": ["flying"]}, "there is no flying"),
        ({"prices": [{"input": -1, "output": 1}]}, "greater than or equal to 0"),
        ({"prices": [{"input": 1}]}, "output"),
        ({"prices": [{"input": 1, "output": 1}, {"input": 2, "output": 1}]}, "begin at the same time"),
        (
            {"prices": [{"input": 1, "output": 1, "tiers": [{"above": 5}, {"above": 5}]}]},
            "tiers: each must begin above",
        ),
        ({"price": []}, "price"),
    ],
)
def test_what_cannot_be_stated_is_refused(stated, says):
    with pytest.raises(ValidationError, match=says):
        listing(models={"m": stated})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"default_model": "gpt-9"}, "gpt-9 is offered by no configured provider"),
        ({"default_model": "groq/m", "default_provider": "local"}, "m is of groq, and not of local"),
    ],
)
def test_a_default_for_nothing_is_refused(settings, says):
    with pytest.raises(SettingsError, match=says):
        listing(openai_compatible=[GROQ | {"models": ["m"]}], **settings)
