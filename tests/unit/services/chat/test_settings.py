"""Settings of the chat service, and what they offer."""

import datetime as dt
import subprocess
import sys
from pathlib import Path

import pytest

from services.chat.offer import build_offer
from services.chat.settings import ChatSettings
from shared.settings import SettingsError, load

NOW = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
ROOT = Path(__file__).parents[4]
ENDPOINT = '{"id": "groq", "base_url": "https://groq.test/v1", "api_key": "k", "models": ["llama", "qwen"]}'


@pytest.fixture
def environment(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", "postgres://chat@db/gaia")
    return monkeypatch


def test_an_empty_key_is_no_key(environment):
    environment.setenv("OPENAI_API_KEY", "")
    assert load(ChatSettings).openai_api_key is None


async def test_without_keys_the_local_provider_is_the_default(environment):
    offer = build_offer(load(ChatSettings), NOW)
    assert list(offer.providers) == ["local"]
    assert offer.catalogue.default_provider.id == "local"
    assert [one.id for one in offer.catalogue.providers] == ["claude", "openai", "local"]


async def test_a_compatible_endpoint_comes_with_its_models_and_before_the_local_provider(environment):
    environment.setenv("GAIA_OPENAI_COMPATIBLE", f"[{ENDPOINT}]")
    environment.setenv("GAIA_MODEL_ALIASES", '{"quick": "groq/llama"}')
    offer = build_offer(load(ChatSettings), NOW)
    assert offer.catalogue.default_provider.id == "groq"
    assert [model.id for model in offer.catalogue.provider("groq").models] == ["llama", "qwen"]
    assert offer.catalogue.model("quick").id == "llama"
    await offer.providers["groq"].close()


async def test_models_can_be_listed_by_setting(environment):
    environment.setenv("OPENAI_API_KEY", "k")
    environment.setenv("GAIA_OPENAI_MODELS", '["my-tuned-model"]')
    offer = build_offer(load(ChatSettings), NOW)
    assert [model.id for model in offer.catalogue.provider("openai").models] == ["my-tuned-model"]
    await offer.providers["openai"].close()


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("GAIA_OPENAI_COMPATIBLE", f"[{ENDPOINT}, {ENDPOINT}]", "the id groq is taken"),
        ("GAIA_OPENAI_COMPATIBLE", f"[{ENDPOINT.replace('groq', 'openai')}]", "the id openai is taken"),
        ("GAIA_OPENAI_COMPATIBLE", '[{"id": "x", "base_url": "ftp://x", "models": ["m"]}]', "GAIA_OPENAI_COMPATIBLE"),
        ("GAIA_OPENAI_COMPATIBLE", '[{"id": "x", "base_url": "https://x", "models": []}]', "GAIA_OPENAI_COMPATIBLE"),
        ("GAIA_LISTEN", "8003", "GAIA_LISTEN"),
    ],
)
def test_a_wrong_setting_is_named(environment, name, value, says):
    environment.setenv(name, value)
    with pytest.raises(SettingsError, match=says):
        load(ChatSettings)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("GAIA_MODEL_ALIASES", '{"fast": "gpt-9"}', "fast stands for gpt-9"),
        ("GAIA_DEFAULT_PROVIDER", "claude", "claude is not a configured provider"),
    ],
)
def test_a_name_for_nothing_is_refused_at_start(environment, name, value, says):
    environment.setenv(name, value)
    with pytest.raises(SettingsError, match=says):
        build_offer(load(ChatSettings), NOW)


def test_no_sdk_is_loaded_for_a_provider_without_a_key():
    code = (
        "import datetime, sys\n"
        "from services.chat.offer import build_offer\n"
        "from services.chat.settings import ChatSettings\n"
        "settings = ChatSettings(database_url='postgres://x', openai_api_key=None, anthropic_api_key=None)\n"
        "build_offer(settings, datetime.datetime.now(datetime.UTC))\n"
        "print(sorted({'openai', 'anthropic', 'genai_prices'} & set(sys.modules)))\n"
    )
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'protos' / 'stubs'}"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert ran.stdout.strip() == "[]"
