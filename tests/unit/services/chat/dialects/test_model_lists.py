"""The catalogue in the dialects' shapes, read back by the SDKs' own types."""

import datetime as dt

import orjson
import pytest
from anthropic.types import ModelInfo
from openai.types import Model

from services.chat.catalogue import Catalogue, ModelSpec, ProviderSpec
from services.chat.dialects.model_lists import AnthropicModels, OpenAIModels
from shared.errors import InvalidArgument

CATALOGUE = Catalogue(
    [
        ProviderSpec("openai", "OpenAI", (ModelSpec("gpt-5-2025-08-07", "openai", "GPT", context_window=9),), "gpt-5"),
        ProviderSpec(
            "groq",
            "Groq",
            (
                ModelSpec("gpt-5-2025-08-07", "groq"),
                ModelSpec("llama", "groq", deprecation_date=dt.date(2027, 1, 1)),
            ),
            "llama",
        ),
    ],
    {"quick": "llama"},
)


def test_openais_list_names_each_model_so_that_it_can_be_asked_for():
    body = orjson.loads(OpenAIModels(CATALOGUE).all())
    models = [Model.model_validate(one, strict=True) for one in body["data"]]
    assert [model.id for model in models] == ["gpt-5-2025-08-07", "groq/gpt-5-2025-08-07", "llama"]
    assert models[0].created == int(dt.datetime(2025, 8, 7, tzinfo=dt.UTC).timestamp())
    assert models[2].shutdown_date == "2027-01-01"
    assert all(CATALOGUE.model(model.id).provider == model.owned_by for model in models)


def test_anthropics_list_has_the_same_models():
    body = orjson.loads(AnthropicModels(CATALOGUE).page(None, "", ""))
    models = [ModelInfo.model_validate(one) for one in body["data"]]
    assert [model.id for model in models] == ["gpt-5-2025-08-07", "groq/gpt-5-2025-08-07", "llama"]
    assert models[0].max_input_tokens == 9
    assert (models[1].lifecycle, models[2].lifecycle) == ("active", "deprecated")
    assert (body["first_id"], body["last_id"]) == ("gpt-5-2025-08-07", "llama")


@pytest.mark.parametrize(
    ("limit", "after", "before", "wanted", "more"),
    [
        (2, "", "", [0, 1], True),
        (3, "", "", [0, 1, 2], False),
        (1, 0, "", [1], True),
        (5, 1, "", [2], False),
        (None, 2, "", [], False),
        (1, "", 2, [1], True),
        (2, "", 2, [0, 1], False),
        (None, "", 0, [], False),
    ],
)
def test_anthropics_list_has_pages(limit, after, before, wanted, more):
    names = ["gpt-5-2025-08-07", "groq/gpt-5-2025-08-07", "llama"]
    named = [names[place] if isinstance(place, int) else "" for place in (after, before)]
    page = orjson.loads(AnthropicModels(CATALOGUE).page(limit, *named))
    shown = [names[place] for place in wanted]
    assert [model["id"] for model in page["data"]] == shown
    assert (page["has_more"], page["first_id"]) == (more, shown[0] if shown else None)


def test_a_page_that_is_none_is_refused_with_all_that_is_wrong():
    with pytest.raises(InvalidArgument) as caught:
        AnthropicModels(CATALOGUE).page(0, "gpt-9", "llama")
    assert [one.field for one in caught.value.violations] == ["limit", "before_id", "after_id"]


def test_a_model_is_shown_under_the_name_it_was_asked_for():
    assert orjson.loads(OpenAIModels(CATALOGUE).one("quick"))["id"] == "quick"
    assert orjson.loads(AnthropicModels(CATALOGUE).one("groq/llama"))["id"] == "groq/llama"


def test_an_empty_catalogue_is_an_empty_list():
    assert orjson.loads(AnthropicModels(Catalogue([])).page(None, "", ""))["first_id"] is None
    assert orjson.loads(OpenAIModels(Catalogue([])).all())["data"] == []
