"""Finding models."""

import pytest

from services.chat.catalogue import Catalogue, ModelSpec, ProviderSpec, in_order
from shared.errors import InvalidArgument, NotFound, Unavailable


def provider(name: str, *models: str, **more) -> ProviderSpec:
    specs = tuple(ModelSpec(model, name, model) for model in models)
    return ProviderSpec(name, name.title(), specs, models[0] if models else "", **more)


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue(
        [
            provider("claude", aliases=("anthropic",), missing_setting="ANTHROPIC_API_KEY"),
            provider("openai", "gpt-5", "gpt-5-mini", aliases=("oa",)),
            provider("groq", "llama", "gpt-5"),
        ],
        {"fast": "groq/llama"},
    )


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("gpt-5", ("openai", "gpt-5")),
        ("groq/gpt-5", ("groq", "gpt-5")),
        ("oa/gpt-5-mini", ("openai", "gpt-5-mini")),
        ("fast", ("groq", "llama")),
    ],
)
def test_a_model_is_found_by_id_provider_and_alias(catalogue, name, found):
    model = catalogue.model(name)
    assert (model.provider, model.id) == found


def test_no_provider_takes_the_name_of_another_ones_model():
    liar, honest = provider("liar", "groq/llama", "llama"), provider("groq", "llama")
    found = Catalogue([liar, honest])
    assert found.model("groq/llama").provider == "groq"
    assert found.model("liar/groq/llama").provider == "liar"
    assert found.model("llama").provider == "liar", "a bare id is that of the first who has it"


def test_an_unknown_model_names_near_ones_and_providers_without_credentials(catalogue):
    with pytest.raises(NotFound) as caught:
        catalogue.model("gpt-5-mni")
    assert "gpt-5-mini" in str(caught.value)
    assert "claude (ANTHROPIC_API_KEY)" in str(caught.value)


def test_the_nearest_of_very_many_names_is_told(catalogue):
    many = provider("many", *(f"vendor/model-{number:04}-instruct" for number in range(2000)), "llama-grand")
    with pytest.raises(NotFound, match="llama-grand"):
        Catalogue([*catalogue.providers, many]).model("lama-grnad")


def test_a_provider_without_credentials_is_there_but_not_usable(catalogue):
    assert catalogue.provider("anthropic").id == "claude"
    with pytest.raises(Unavailable, match="ANTHROPIC_API_KEY"):
        catalogue.usable("claude")


def test_the_first_configured_provider_is_the_default(catalogue):
    assert catalogue.default_provider.id == "openai"
    assert Catalogue(catalogue.providers, default_provider="groq").default_provider.id == "groq"


def test_an_alias_or_a_default_for_nothing_is_refused(catalogue):
    with pytest.raises(ValueError, match="smart stands for gpt-9"):
        Catalogue(catalogue.providers, {"smart": "gpt-9"})
    with pytest.raises(ValueError, match="claude is not a configured provider; configured are openai, groq"):
        Catalogue(catalogue.providers, default_provider="claude")


@pytest.mark.parametrize("aliases", [{"a": "a"}, {"a": "b", "b": "a"}, {"a": "b", "b": "c", "c": "a"}])
def test_aliases_that_go_round_in_circles_stand_for_nothing(aliases):
    with pytest.raises(ValueError, match="stands for"):
        Catalogue([ProviderSpec("p", "P", (ModelSpec("m", "p"),), "m")], aliases)


def test_capabilities_are_shown_in_one_order():
    assert in_order(["vision", "chat", "vision", "streaming"]) == ("chat", "streaming", "vision")


class TestMakers:
    @pytest.fixture
    def made(self) -> Catalogue:
        embedder = ModelSpec("small", "openai", capabilities=("embeddings",))
        speaker = ModelSpec("voice", "openai", capabilities=("speech",))
        return Catalogue(
            [
                provider("openai", "gpt-5", aliases=("oa",), makers=(embedder, speaker)),
                provider("mine", "anything", makes_anything=True),
            ],
            {"vectors": "openai/small"},
        )

    @pytest.mark.parametrize("name", ["small", "openai/small", "oa/small", "vectors", ""])
    def test_a_maker_is_found_by_every_name_and_the_first_without_one(self, made: Catalogue, name: str):
        assert made.maker("embeddings", name).id == "small"

    def test_no_chat_finds_it(self, made: Catalogue):
        with pytest.raises(NotFound):
            made.model("small")
        assert [model.id for model in made.models] == ["gpt-5", "anything"]
        assert made.known("small").id == "small"

    def test_who_cannot_is_told_who_can(self, made: Catalogue):
        for name in ("gpt-5", "voice"):
            with pytest.raises(InvalidArgument, match="makes no embeddings; those that do are small"):
                made.maker("embeddings", name)
        with pytest.raises(InvalidArgument, match="no configured provider has a model that does"):
            made.maker("images", "gpt-5")

    def test_whose_abilities_are_not_known_may_be_asked(self, made: Catalogue):
        assert made.maker("images", "anything").provider == "mine"

    def test_an_unknown_one_names_near_ones_of_its_kind(self, made: Catalogue):
        with pytest.raises(NotFound, match="near ones are small"):
            made.maker("embeddings", "smal")
