"""`gaia.toml` as a whole: its example, its check, and what holds in the end."""

import re
from pathlib import Path

import pytest

from deploy.config import PROCESSES, check_config, effective_config
from shared.config_file import read_config
from shared.config_keys import COMMON, keys_of
from shared.settings import CommonSettings

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "deploy" / "gaia.example.toml"
_SETTING = re.compile(r"^#(?=\[|[\w\"]+ = )", re.MULTILINE)
VARIABLES = re.compile(r'_env = "(\w+)"')


@pytest.fixture
def environment(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.fixture
def full_example(environment, tmp_path):
    """The example with everything in it taken in."""
    # Each process's own certificate stands instead of one for all: both together are none of the configurations.
    text = _SETTING.sub("", EXAMPLE.read_text()).replace("\ntls_folder", "\n#tls_folder")
    for variable in VARIABLES.findall(text):
        environment.setenv(variable, "postgres://u:hunter2@h/d" if "DATABASE" in variable else "hunter2")
    (tmp_path / "anthropic.key").write_text("hunter2\n")
    path = tmp_path / "gaia.toml"
    path.write_text(text)
    return read_config(path)


def test_the_example_as_it_is_says_nothing_and_loads(environment):
    report = check_config(read_config(EXAMPLE))
    assert (report.faults, report.warnings) == ([], [])
    assert {one.source for one in effective_config(read_config(EXAMPLE))} <= {"default", "missing; DATABASE_URL"}


def test_every_value_of_the_example_loads(full_example):
    report = check_config(full_example)
    assert [fault.told(full_example.path) for fault in report.faults] == []
    assert report.warnings == []


def test_the_example_documents_every_setting(full_example):
    for name, settings in PROCESSES.items():
        for field in settings.model_fields:
            keys = keys_of(settings, field)
            if field in CommonSettings.model_fields and name != "edge":
                keys = tuple(key for key in keys if key[0] == COMMON)
            stated = [
                full_example.get((*key[:-1], f"{key[-1]}{suffix}")) for key in keys for suffix in ("", "_env", "_file")
            ]
            elsewhere = field in ("metrics_listen", "signing_keys", "tls_folder", "edge_worker")
            documented = any(value is not None for value in stated) or elsewhere
            assert documented, f"{name}.{field} stands nowhere in {EXAMPLE.name}"


def test_what_holds_is_shown_with_its_source_and_without_secrets(full_example, environment):
    environment.setenv("GAIA_LOG_LEVEL", "debug")
    environment.setenv("OPENAI_BASE_URL", "https://proxy.test/v1")
    shown = {one.key: one for one in effective_config(full_example)}
    assert shown["providers.openai.api_key"].value == "********"
    assert shown["providers.openai.api_key"].source.startswith("gaia.toml:")
    assert (shown["providers.openai.base_url"].value, shown["providers.openai.base_url"].source) == (
        "https://proxy.test/v1",
        "OPENAI_BASE_URL",
    )
    assert shown["chat.log_level"].source == "GAIA_LOG_LEVEL"
    assert shown["providers.compatible"].value[0]["api_key"] == "********"
    assert shown["providers.openai.endpoints"].value[0]["api_key"] == "********"
    assert "hunter2" not in str(shown)


def test_what_no_provider_offers_is_warned_of_and_a_default_for_nothing_is_a_fault(environment, tmp_path):
    path = tmp_path / "gaia.toml"
    path.write_text(
        '[models.ours]\nmax_tokens = 5\n[defaults]\nmodel = "theirs"\nprovider = "nobody"\n[aliases]\nfast = "x/y"\n'
    )
    report = check_config(read_config(path))
    assert [fault.told(path) for fault in report.faults] == [
        f"{path}:4: defaults.model: the default model theirs is offered by no configured provider",
        f"{path}:5: defaults.provider: nobody is not a configured provider; configured are local",
        f"{path}:7: aliases.fast: the alias fast stands for x/y, which no configured provider offers",
    ]
    path.write_text('[[providers.compatible]]\nid = "x"\nbase_url = "http://x"\nmodels = ["a"]\nprices_of = "nobody"\n')
    [fault] = check_config(read_config(path)).faults
    assert (fault.name, fault.line) == ("providers.compatible[0].prices_of", 5)
    path.write_text("[models.ours]\nmax_tokens = 5\n")
    report = check_config(read_config(path))
    assert report.faults == []
    assert report.warnings == [f"{path}:1: models.ours: no configured provider offers this model"]


def test_the_file_is_checked_whatever_the_environment_says(environment, tmp_path):
    environment.setenv("GAIA_EDGE_PORT", "9000")
    path = tmp_path / "gaia.toml"
    path.write_text("[edge]\nport = 99999\n")
    [fault] = check_config(read_config(path)).faults
    assert (fault.name, fault.line) == ("edge.port", 2)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("base_url = 'ftp://x'", "3: providers.compatible[0].base_url: must begin with http:// or https://"),
        ("base_url = 'http://x'\nid = 'Bad Id'", "4: providers.compatible[0].id: must be 1 to 63 of a-z, 0-9, _ and -"),
        ("models = 'a'", "3: providers.compatible[0].models: must be a list"),
        ("prices = 1", "3: providers.compatible[0].prices: is no key of this table (did you mean prices_of?)"),
        ("", "2: providers.compatible[0].id: is missing"),
        ("[models.a]\ndeprecation_date = 'soon'", "4: models.a.deprecation_date: must be a date, such as 2027-06-30"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_what_would_be_right(environment, tmp_path, text, told):
    path = tmp_path / "gaia.toml"
    # As some editors write it.
    path.write_bytes(b"\xef\xbb\xbf# ours\n[[providers.compatible]]\n" + text.encode())
    faults = [fault.told(path) for fault in check_config(read_config(path)).faults]
    assert any(fault.startswith(f"{path}:{told}") for fault in faults), faults
