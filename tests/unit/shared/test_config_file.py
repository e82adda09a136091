"""Settings in a file: where it is found, what goes before it, and what is said about a faulty one."""

from pathlib import Path

import pytest

from deploy.local.settings import LocalSettings
from edge.settings import EdgeSettings
from services.asset.settings import AssetSettings
from services.auth.settings import AuthSettings
from services.chat.settings import ChatSettings
from shared.config_file import ConfigFileError, find_config, key_text, read_config
from shared.config_keys import SECTIONS, keys_of
from shared.settings import SettingsError, load

PROCESSES = (EdgeSettings, AuthSettings, AssetSettings, ChatSettings, LocalSettings)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes the file that processes read; no variable says anything."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", "postgres://chat@db/gaia")
    path = tmp_path / "gaia.toml"
    monkeypatch.setenv("GAIA_CONFIG", str(path))

    def write_text(text: str) -> Path:
        path.write_text(text)
        return path

    return write_text


def faults_of(settings) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(settings)
    return str(caught.value).split("; ")


def test_each_process_takes_its_own_settings_from_the_file(write):
    write("""
        [common]
        env = "prod"
        log_level = "warning"
        [chat]
        log_level = "debug"
        connect_seconds = 2.5
        [chat.cache]
        max_entries = 100
        [budgets]
        platform_monthly_usd = 100.10
        [providers.openai]
        api_key = "sk-file"
        models = ["gpt-5"]
        [edge]
        port = 9000
        [limits]
        requests_per_minute_per_key = 7
    """)
    chat, edge, asset = load(ChatSettings), load(EdgeSettings), load(AssetSettings)
    assert (chat.env, chat.log_level, chat.provider_connect_seconds) == ("prod", "debug", 2.5)
    assert (chat.response_cache_entries, str(chat.platform_monthly_budget_usd)) == (100, "100.10")
    assert (chat.openai_models, chat.openai_api_key.get_secret_value()) == (("gpt-5",), "sk-file")
    assert (edge.env, edge.log_level, edge.edge_port, edge.requests_per_minute_per_key) == ("prod", "warning", 9000, 7)
    assert asset.openai_api_key.get_secret_value() == "sk-file"
    assert load(LocalSettings).edge_port == 9000


def test_the_environment_goes_before_the_file_and_an_empty_variable_does_not(write, monkeypatch):
    write('[providers.openai]\napi_key = "sk-file"\nbase_url = "https://file/v1"\n[common]\nlog_level = "debug"\n')
    monkeypatch.setenv("OPENAI_API_KEY", "sk-environment")
    monkeypatch.setenv("OPENAI_BASE_URL", "")
    settings = load(ChatSettings)
    assert settings.openai_api_key.get_secret_value() == "sk-environment"
    assert (settings.openai_base_url, settings.log_level) == ("https://file/v1", "debug")


def test_every_fault_is_told_at_once_with_its_line_and_what_would_be_right(write):
    path = write("""[common]
log_levle = "info"
env = "PROD"

[chat]
connect_seconds = -1

[[providers.compatible]]
id = "groq"
base_url = "https://groq.test/v1"
models = ["a"]

[[providers.compatible]]
id = "vllm"
base_ulr = "https://vllm.test/v1"
models = [""]

[provider.openai]
api_key = "sk-hidden"
""")
    faults = faults_of(ChatSettings)
    assert [fault.removeprefix(f"{path}:").split(": ")[:2] for fault in faults] == [
        ["2", "common.log_levle"],
        ["3", "common.env"],
        ["6", "chat.connect_seconds"],
        ["15", "providers.compatible[1].base_ulr"],
        ["16", "providers.compatible[1].models[0]"],
        ["18", "provider"],
    ]
    assert faults[0].endswith("is no key of this table (did you mean log_level?)")
    assert "did you mean base_url" in faults[3]
    assert "did you mean providers?" in faults[5]


def test_a_key_where_a_table_belongs_is_told(write):
    write('providers = "openai"\n')
    assert faults_of(ChatSettings)[0].endswith("1: providers: must be a table: [providers]")


def test_faults_in_what_only_another_process_reads_are_told_by_that_one(write):
    write("[chat]\nnonsense = 1\n")
    assert "chat.nonsense" in faults_of(ChatSettings)[0]
    load(EdgeSettings)


def test_a_secret_may_stand_in_a_variable_or_in_a_file_beside(write, monkeypatch, tmp_path):
    (tmp_path / "groq.key").write_text("  gsk-1\n")
    monkeypatch.setenv("MY_KEY", "sk-2")
    write("""
        [chat]
        database_url_file = "database"
        [providers.openai]
        api_key_env = "MY_KEY"
        [[providers.compatible]]
        id = "groq"
        base_url = "https://groq.test/v1"
        api_key_file = "groq.key"
        models = ["a"]
    """)
    (tmp_path / "database").write_text("postgres://u:hunter2@h/d")
    monkeypatch.delenv("DATABASE_URL")
    settings = load(ChatSettings)
    assert settings.openai_api_key.get_secret_value() == "sk-2"
    assert settings.openai_compatible[0].api_key.get_secret_value() == "gsk-1"
    assert settings.database_url.get_secret_value() == "postgresql://u:hunter2@h/d"
    for secret in ("sk-2", "gsk-1", "hunter2"):
        assert secret not in repr(settings)


def test_a_secret_that_is_not_there_is_told_and_none_is_repeated(write):
    write("""
        [chat]
        database_url = "mysql://u:hidden-1@h/d"
        [providers.openai]
        api_key_env = "NOWHERE"
        [providers.anthropic]
        api_key = "hidden-2"
        api_key_file = "nowhere"
        [[providers.compatible]]
        id = "groq"
        base_url = "https://groq.test/v1"
        api_key = 12345
        models = ["a"]
    """)
    message = "; ".join(faults_of(ChatSettings))
    assert "5: providers.openai.api_key_env: the variable NOWHERE is not set" in message
    assert "7: providers.anthropic.api_key: give one of api_key, api_key_env and api_key_file" in message
    assert "providers.compatible[0].api_key" in message
    assert "hidden" not in message
    assert "12345" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[common\n", "is no TOML"),
        ('api_key = "sk-hidden\n', "is no TOML"),
        ("a = 1e999999999\n", "is no TOML: a number is beyond"),
        ("#" * (1024 * 1024 + 1), "is longer than"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(write, text, says):
    path = write(text)
    with pytest.raises(SettingsError) as caught:
        load(EdgeSettings)
    assert str(caught.value).startswith(f"{path}: {says}")
    assert "hidden" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_named_must_be_there(write, monkeypatch):
    monkeypatch.setenv("GAIA_CONFIG", "/nowhere/gaia.toml")
    assert faults_of(EdgeSettings) == ["/nowhere/gaia.toml: cannot be read: No such file or directory"]


def test_the_file_is_looked_for_here_and_then_at_home(tmp_path, monkeypatch):
    here, home = tmp_path / "here", tmp_path / "home"
    here.mkdir()
    home.mkdir()
    monkeypatch.chdir(here)
    environment = {"GAIA_HOME": str(home), "GAIA_CONFIG": ""}
    assert find_config(environment) is None
    (home / "gaia.toml").touch()
    assert find_config(environment) == home / "gaia.toml"
    (here / "gaia.toml").touch()
    assert find_config(environment) == here / "gaia.toml"
    assert find_config({**environment, "GAIA_CONFIG": "other.toml"}) == here / "other.toml"


def test_lines_are_those_of_the_file_however_keys_are_written(tmp_path):
    path = tmp_path / "gaia.toml"
    path.write_text(
        "# a comment\u2028with a separator\n"
        '[models."gpt-5.1"] # comment\n'
        "context_window=1\n"
        "prices = [\n"
        "  { input = 1, output = 2 },\n"
        "]\n"
        "[[a.b]]\n"
        "c.d = 1\n"
        "[[a.b]]\n"
        "[a.b.x]\n"
        "'e f' = 2\n"
    )
    file = read_config(path)
    assert file.line(("models", "gpt-5.1", "context_window")) == 3
    assert file.line(("models", "gpt-5.1", "prices", 0, "input")) == 4
    assert file.line(("a", "b", 0, "c", "d")) == 8
    assert file.line(("a", "b", 1, "x", "e f")) == 11
    assert file.line(("a", "b", 1, "missing")) == 9
    assert file.line(("nowhere",)) is None
    assert key_text(("models", "gpt-5.1", "prices", 0)) == 'models."gpt-5.1".prices[0]'


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "gaia.toml"
    path.write_bytes(b"a = '\xff'")
    with pytest.raises(ConfigFileError, match="must be UTF-8"):
        read_config(path)


@pytest.mark.parametrize("settings", PROCESSES)
def test_every_field_has_one_place_of_its_own_in_the_file(settings):
    assert settings.config_keys.keys() <= settings.model_fields.keys()
    keys = [key for field in settings.model_fields for key in keys_of(settings, field)]
    assert len(set(keys)) == len(keys)
    assert {key[0] for key in keys} <= set(SECTIONS)


def test_every_section_has_a_process_that_answers_for_it():
    owners = [section for settings in PROCESSES for section in settings.config_sections]
    assert sorted([*owners, "common"]) == sorted(SECTIONS)
