import pytest

from services.auth.settings import AuthSettings
from shared.settings import SettingsError, load, normalise_database_url


@pytest.mark.parametrize(
    ("given", "normal"),
    [
        ("postgres://u:p@h/d", "postgresql://u:p@h/d"),
        ("postgresql://u:p@h/d", "postgresql://u:p@h/d"),
        ("postgres://u:postgres://@h/d", "postgresql://u:postgres://@h/d"),
    ],
)
def test_only_the_leading_scheme_of_a_database_url_changes(given: str, normal: str):
    assert normalise_database_url(given) == normal


def test_every_faulty_variable_is_named_at_once_and_no_secret_is_repeated(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATABASE_URL", "mysql://user:hunter2@host/db")
    monkeypatch.setenv("GAIA_LISTEN", "8001")
    with pytest.raises(SettingsError) as caught:
        load(AuthSettings)
    message = str(caught.value)
    assert "DATABASE_URL: must start with postgresql://" in message
    assert "GAIA_LISTEN: must be HOST:PORT" in message
    assert "hunter2" not in message
    assert "\n" not in message


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(SettingsError, match="DATABASE_URL"):
        load(AuthSettings)


def test_a_missing_signing_key_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://h/d")
    with pytest.raises(SettingsError, match="GAIA_SIGNING_KEYS_FILE"):
        load(AuthSettings).load_signing_keys()


@pytest.mark.parametrize("text", ["", "short", "=" * 43, "a" * 43 + ",b"])
def test_a_signing_key_of_wrong_form_is_named_and_not_repeated(monkeypatch: pytest.MonkeyPatch, text: str):
    monkeypatch.setenv("DATABASE_URL", "postgres://h/d")
    monkeypatch.setenv("GAIA_SIGNING_KEYS", text)
    with pytest.raises(SettingsError, match=r"^GAIA_SIGNING_KEYS: ") as caught:
        load(AuthSettings).load_signing_keys()
    assert not text or text not in str(caught.value)


def test_passwords_do_not_show_in_the_settings_text(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://u:hunter2@h/d")
    assert "hunter2" not in repr(load(AuthSettings))
