"""The models that the SDKs know."""

import datetime as dt
from decimal import Decimal

from services.chat.providers.models_anthropic import anthropic_models
from services.chat.providers.models_openai import compatible_models, openai_makers, openai_models

NOW = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)


def by_id(models):
    return {model.id: model for model in models}


def test_openai_models_have_published_prices_and_windows():
    found = by_id(openai_models("openai", NOW))
    model = found["gpt-5"]
    assert (model.input_price, model.output_price, model.context_window) == (Decimal("1.25"), Decimal(10), 400_000)
    assert {"vision", "tool_calling", "reasoning", "structured_output", "long_context"} <= set(model.capabilities)
    assert not model.supports_temperature
    assert found["gpt-4o"].supports_temperature


def test_what_is_not_published_is_not_known():
    model = by_id(openai_models("openai", NOW))["gpt-6.2-sol"]
    assert (model.input_price, model.output_price, model.context_window) == (None, None, None)


def test_openais_notes_say_when_a_model_is_withdrawn():
    assert by_id(openai_models("openai", NOW))["gpt-4o"].deprecation_date == dt.date(2027, 1, 14)
    later = by_id(openai_models("openai", dt.datetime(2027, 2, 1, tzinfo=dt.UTC)))
    assert "gpt-4o" not in later
    assert "gpt-4o" in by_id(openai_models("openai", dt.datetime(2027, 2, 1, tzinfo=dt.UTC), keep_withdrawn=True))


def test_a_name_that_was_never_a_model_is_not_offered():
    assert "gpt-5.1-mini" not in by_id(openai_models("openai", NOW, keep_withdrawn=True))


def test_old_models_can_less():
    found = by_id(openai_models("openai", NOW, keep_withdrawn=True))
    assert "vision" not in found["gpt-4"].capabilities
    assert "vision" in found["gpt-4-turbo"].capabilities
    assert "tool_calling" not in found["o1-mini"].capabilities
    assert "reasoning" not in found["gpt-4.1"].capabilities


def test_claude_models_are_those_of_the_sdk_that_still_live():
    found = by_id(anthropic_models("claude", NOW))
    assert "claude-mythos-preview" not in found
    model = found["claude-haiku-4-5"]
    assert (model.name, model.input_price, model.output_price) == ("Claude Haiku 4.5", Decimal(1), Decimal(5))
    assert found["claude-sonnet-4-5"].deprecation_date == dt.date(2026, 11, 30)
    assert not model.supports_temperature, "the API refuses it from version 2026-10-21 on"


def test_models_of_an_endpoint_that_is_known_have_its_prices():
    [known, unknown] = compatible_models(
        "groq", "https://api.groq.com/openai/v1", ["llama-3.3-70b-versatile", "x"], NOW
    )
    assert known.input_price is not None
    assert unknown.input_price is None
    assert unknown.capabilities == ("chat", "streaming")


def test_what_makes_something_else_is_listed_by_what_it_makes_and_left_out_when_it_is_withdrawn():
    later = dt.datetime(2026, 11, 29, tzinfo=dt.UTC)
    found = by_id(openai_makers("openai", later))
    assert found["text-embedding-3-small"].capabilities == ("embeddings",)
    assert found["text-embedding-3-small"].input_price == Decimal("0.02")
    assert found["whisper-1"].deprecation_date == dt.date(2027, 2, 26)
    assert not {"dall-e-3", "gpt-image-1"} & found.keys()
    kept = by_id(openai_makers("openai", later, keep_withdrawn=True))
    assert (kept["dall-e-3"].deprecation_date, kept["gpt-image-1"].deprecation_date) == (
        dt.date(2026, 5, 12),
        dt.date(2026, 10, 23),
    )
