import pytest

from edge.settings import EdgeSettings
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


@pytest.mark.parametrize("text", ["short", "=" * 43, "a" * 43 + ",b"])
def test_a_signing_key_of_wrong_form_is_named_and_not_repeated(monkeypatch: pytest.MonkeyPatch, text: str):
    monkeypatch.setenv("DATABASE_URL", "postgres://h/d")
    monkeypatch.setenv("GAIA_SIGNING_KEYS", text)
    with pytest.raises(SettingsError, match=r"^GAIA_SIGNING_KEYS: ") as caught:
        load(AuthSettings).load_signing_keys()
    assert text not in str(caught.value)


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch):
    settings = settings_with(monkeypatch, GAIA_SIGNING_KEYS="", GAIA_METRICS_LISTEN="", GAIA_DRAIN_SECONDS="")
    assert (settings.signing_keys, settings.metrics_listen, settings.drain_seconds) == (None, None, 8)


def test_passwords_do_not_show_in_the_settings_text(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DATABASE_URL", "postgres://u:hunter2@h/d")
    assert "hunter2" not in repr(load(AuthSettings))


def settings_with(monkeypatch: pytest.MonkeyPatch, **variables: str) -> AuthSettings:
    monkeypatch.setenv("DATABASE_URL", "postgres://h/d")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return load(AuthSettings)


TLS = {"GAIA_TLS_CERT": "a.pem", "GAIA_TLS_KEY": "a.key", "GAIA_TLS_CA": "ca.pem"}


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "unix:/run/gaia.sock"])
def test_plaintext_may_be_listened_for_where_only_this_machine_can_reach(monkeypatch: pytest.MonkeyPatch, address: str):
    assert settings_with(monkeypatch, GAIA_LISTEN=address).listen == address


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "10.0.0.5:1", "auth.internal:1"])
def test_plaintext_is_refused_elsewhere_unless_the_network_is_said_to_be_private(
    monkeypatch: pytest.MonkeyPatch, address: str
):
    with pytest.raises(SettingsError, match=r"GAIA_LISTEN: .* GAIA_TLS_CERT.* GAIA_ALLOW_PLAINTEXT"):
        settings_with(monkeypatch, GAIA_LISTEN=address)
    assert settings_with(monkeypatch, GAIA_ALLOW_PLAINTEXT="true").listen == address


def test_with_tls_any_address_may_be_listened_on(monkeypatch: pytest.MonkeyPatch):
    assert settings_with(monkeypatch, GAIA_LISTEN="0.0.0.0:1", **TLS).tls_files is not None


def test_half_of_the_tls_settings_is_refused_naming_the_other(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(SettingsError, match="GAIA_TLS_CA: needed"):
        settings_with(monkeypatch, GAIA_TLS_CERT="a.pem", GAIA_TLS_KEY="a.key")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_the_edge_too_refuses_plaintext_where_others_can_reach_it(monkeypatch: pytest.MonkeyPatch, host: str):
    monkeypatch.setenv("GAIA_EDGE_HOST", host)
    with pytest.raises(SettingsError, match=r"GAIA_EDGE_HOST: .* GAIA_EDGE_TLS_CERT"):
        load(EdgeSettings)
    monkeypatch.setenv("GAIA_ALLOW_PLAINTEXT", "true")
    assert load(EdgeSettings).edge_host == host


def test_a_store_for_rate_limits_must_be_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GAIA_RATE_LIMIT_URL", "memcached://h")
    with pytest.raises(SettingsError, match="GAIA_RATE_LIMIT_URL: must start with one of redis://"):
        load(EdgeSettings)
