"""The asset service's settings from the environment."""

from pathlib import Path

import pytest

from services.asset.settings import AssetSettings
from shared.settings import SettingsError, load

REQUIRED = {"DATABASE_URL": "postgres://gaia_asset@localhost/gaia"}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment that holds what is required, in a folder of its own."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "GAIA_ASSET_STORE", "GAIA_LISTEN", "GAIA_AUTH_TARGET"):
        monkeypatch.delenv(name, raising=False)
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    return monkeypatch


def test_the_defaults_are_loopback_and_a_folder_below_the_current_one(
    environment: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = load(AssetSettings)
    assert settings.listen == "127.0.0.1:8002"
    assert settings.auth_target == "dns:///127.0.0.1:8001"
    assert settings.asset_store == (tmp_path / ".gaia" / "assets").as_uri()
    assert settings.openai_api_key is None
    assert settings.openai_base_url == "https://api.openai.com/v1"


def test_an_empty_variable_counts_as_none(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OPENAI_API_KEY", "")
    environment.setenv("OPENAI_BASE_URL", "")
    settings = load(AssetSettings)
    assert settings.openai_api_key is None
    assert settings.openai_base_url == "https://api.openai.com/v1"


def test_a_key_loses_the_line_break_of_the_file_it_came_from(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OPENAI_API_KEY", " sk-abc\n")
    key = load(AssetSettings).openai_api_key
    assert key is not None
    assert key.get_secret_value() == "sk-abc"


def test_of_several_keys_the_first_is_used(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("OPENAI_API_KEY", "sk-abc, sk-def")
    key = load(AssetSettings).openai_api_key
    assert key is not None
    assert key.get_secret_value() == "sk-abc"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OPENAI_API_KEY", "sk-abc def-secret"),
        ("OPENAI_API_KEY", "sk-secret-ü"),
        ("OPENAI_BASE_URL", "api.openai.com/v1"),
        ("OPENAI_BASE_URL", "https://user:secret@host/v1"),
        ("GAIA_MAX_GENERATIONS", "0"),
        ("GAIA_IMAGE_TIMEOUT_SECONDS", "0"),
    ],
)
def test_a_wrong_value_is_refused_by_name_and_without_repeating_secrets(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    environment.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load(AssetSettings)
    assert str(caught.value).startswith(f"{name}: ")
    assert "secret" not in str(caught.value)
