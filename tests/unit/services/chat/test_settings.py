"""Settings of the chat service, and what they offer."""

import datetime as dt
import subprocess
import sys
from pathlib import Path

import pytest

from services.chat.listing import build_listing
from services.chat.offer import Endpoint, compatible_endpoints, connect_providers, ways_of
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
    settings = load(ChatSettings)
    catalogue = build_listing(settings, NOW).catalogue
    assert list(connect_providers(ways_of(settings))) == ["local"]
    assert catalogue.default_provider.id == "local"
    assert [one.id for one in catalogue.providers] == ["claude", "openai", "local"]


async def test_a_compatible_endpoint_comes_with_its_models_and_before_the_local_provider(environment):
    environment.setenv("GAIA_OPENAI_COMPATIBLE", f"[{ENDPOINT}]")
    environment.setenv("GAIA_MODEL_ALIASES", '{"quick": "groq/llama"}')
    settings = load(ChatSettings)
    catalogue = build_listing(settings, NOW).catalogue
    assert catalogue.default_provider.id == "groq"
    assert [model.id for model in catalogue.provider("groq").models] == ["llama", "qwen"]
    assert catalogue.model("quick").id == "llama"
    adapters = connect_providers(ways_of(settings))
    assert list(adapters) == ["groq", "local"]
    await adapters["groq"].close()


async def test_several_keys_are_several_endpoints(environment):
    environment.setenv("ANTHROPIC_API_KEY", "k1")
    environment.setenv("OPENAI_API_KEY", "k1, k2,k3")
    environment.setenv("GAIA_PROVIDER_CIRCUIT_FAILURES", "2")
    pools = connect_providers(ways_of(load(ChatSettings)))
    assert {name: len(pool.endpoints) for name, pool in pools.items()} == {
        "claude": 1,
        "openai": 3,
        "local": 1,
    }
    for pool in pools.values():
        await pool.close()


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ('[{"base_url": "https://one.test"}, {}]', [("https://one.test", "k", 1), ("https://two.test", "k", 1)]),
        ('[{"api_key": "a, b", "weight": 3}]', [("https://two.test", "a", 1.5), ("https://two.test", "b", 1.5)]),
        ("[]", [("https://two.test", "k", 1)]),
    ],
    ids=["two addresses", "two keys at one address", "none"],
)
@pytest.mark.parametrize("name", ["OPENAI", "ANTHROPIC"])
def test_endpoints_of_a_provider_with_an_sdk_have_what_it_has(environment, name, stated, expected):
    environment.setenv(f"{name}_API_KEY", "k")
    environment.setenv(f"{name}_BASE_URL", "https://two.test")
    environment.setenv(f"GAIA_{name}_ENDPOINTS", stated)
    way = ways_of(load(ChatSettings))[{"OPENAI": "openai", "ANTHROPIC": "claude"}[name]]
    assert [(one.base_url, one.api_key, one.weight) for one in way.settings[0]] == expected


def test_endpoints_with_keys_are_credentials_enough(environment):
    environment.setenv("GAIA_OPENAI_ENDPOINTS", '[{"api_key": "k"}]')
    assert build_listing(load(ChatSettings), NOW).catalogue.provider("openai").is_configured
    environment.setenv("GAIA_OPENAI_ENDPOINTS", '[{"api_key": "secret"}, {"base_url": "https://one.test"}]')
    with pytest.raises(SettingsError, match="GAIA_OPENAI_ENDPOINTS: number 2 has no api_key") as caught:
        load(ChatSettings)
    assert "secret" not in str(caught.value)


def endpoints(environment, fields):
    environment.setenv("GAIA_OPENAI_COMPATIBLE", '[{"id": "x", "models": ["m"], ' + fields + "}]")
    [provider] = load(ChatSettings).openai_compatible
    return [(one.base_url, one.api_key, one.weight) for one in compatible_endpoints(provider)]


ONE, TWO = "https://one.test", "https://two.test"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (f'"base_url": "{ONE}"', [(ONE, "", 1)]),
        (f'"base_url": "{ONE}", "api_keys": ["a", "b"], "weights": [3, 1]', [(ONE, "a", 3), (ONE, "b", 1)]),
        (f'"base_urls": ["{ONE}", "{TWO}"], "api_key": "a"', [(ONE, "a", 1), (TWO, "a", 1)]),
        (f'"base_urls": ["{ONE}", "{TWO}"], "api_keys": ["a", "b"]', [(ONE, "a", 1), (TWO, "b", 1)]),
    ],
    ids=["one", "two keys", "two servers", "two servers with keys of their own"],
)
def test_keys_and_servers_of_a_compatible_provider_go_together(environment, fields, expected):
    assert endpoints(environment, fields) == expected


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ('"api_key": "secret"', "needs either base_url or base_urls"),
        (f'"base_url": "{ONE}", "base_urls": ["{ONE}"]', "needs either base_url or base_urls"),
        (f'"base_url": "{ONE}", "api_key": "secret", "api_keys": ["secret"]', "either api_key or api_keys"),
        (f'"base_urls": ["{ONE}", "{TWO}"], "api_keys": ["a", "b", "c"]', "3 api_keys do not go with 2 base_urls"),
        (f'"base_url": "{ONE}", "api_keys": ["a", "b"], "weights": [1]', "1 weights for 2 endpoints"),
        (f'"base_url": "{ONE}", "weights": [0]', "GAIA_OPENAI_COMPATIBLE"),
        ('"base_urls": ["ftp://one.test"]', "GAIA_OPENAI_COMPATIBLE"),
    ],
)
def test_keys_and_servers_that_do_not_go_together_are_refused(environment, fields, says):
    with pytest.raises(SettingsError, match=says) as caught:
        endpoints(environment, fields)
    assert "secret" not in str(caught.value)


def test_an_endpoint_keeps_its_key_to_itself():
    assert "secret" not in repr(Endpoint(ONE, "secret"))


def test_models_can_be_listed_by_setting(environment):
    environment.setenv("OPENAI_API_KEY", "k")
    environment.setenv("GAIA_OPENAI_MODELS", '["my-tuned-model"]')
    catalogue = build_listing(load(ChatSettings), NOW).catalogue
    assert [model.id for model in catalogue.provider("openai").models] == ["my-tuned-model"]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("GAIA_OPENAI_COMPATIBLE", f"[{ENDPOINT}, {ENDPOINT}]", "the id groq is taken"),
        ("GAIA_OPENAI_COMPATIBLE", f"[{ENDPOINT.replace('groq', 'openai')}]", "the id openai is taken"),
        ("GAIA_OPENAI_COMPATIBLE", '[{"id": "x", "base_url": "ftp://x", "models": ["m"]}]', "GAIA_OPENAI_COMPATIBLE"),
        (
            "GAIA_OPENAI_COMPATIBLE",
            '[{"id": "x", "base_url": "https://x", "discover": false}]',
            "GAIA_OPENAI_COMPATIBLE",
        ),
        ("OPENAI_API_KEY", "k1,,k2", "OPENAI_API_KEY: .*empty place"),
        ("GAIA_OPENAI_ENDPOINTS", '[{"api_key": "k1,"}]', "GAIA_OPENAI_ENDPOINTS .*: .*empty place"),
        ("GAIA_ANTHROPIC_ENDPOINTS", '[{"api_key": "k", "base_ulr": "https://x"}]', "did you mean base_url"),
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
        build_listing(load(ChatSettings), NOW)


def test_no_sdk_is_loaded_for_a_provider_without_a_key():
    code = (
        "import datetime, sys\n"
        "from services.chat.listing import build_listing\n"
        "from services.chat.offer import connect_providers, ways_of\n"
        "from services.chat.settings import ChatSettings\n"
        "settings = ChatSettings(database_url='postgres://x', openai_api_key=None, anthropic_api_key=None)\n"
        "build_listing(settings, datetime.datetime.now(datetime.UTC))\n"
        "connect_providers(ways_of(settings))\n"
        "print(sorted({'openai', 'anthropic', 'genai_prices'} & set(sys.modules)))\n"
    )
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'protos' / 'stubs'}"}
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert ran.stdout.strip() == "[]"
