"""Settings of the auth service."""

from pathlib import Path
from typing import Annotated, ClassVar, Self
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import AfterValidator, Field, SecretStr, model_validator

from services.auth.keys import DEFAULT_SCOPES
from services.auth.signing import parse_signing_keys
from shared.identity.principal import SCOPES
from shared.settings import ListenAddress, ServiceSettings, SettingsError


def _check_issuer(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname and not parts.query and not parts.fragment:
        return url
    if parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1"):
        return url
    raise ValueError("must be an https URL without a query, such as https://login.example.org/realm")


OidcIssuer = Annotated[str, AfterValidator(_check_issuer)]
"""URL of an issuer; http for this machine only."""


class AuthSettings(ServiceSettings):
    """Settings of the auth service; one of the two for signing keys is required."""

    config_section: ClassVar[str] = "auth"
    config_sections: ClassVar[tuple[str, ...]] = ("auth",)

    listen: ListenAddress = "127.0.0.1:8001"
    allowed_callers: str = "edge,chat,asset"
    address_callers: str = "edge,chat,asset"
    signing_keys: SecretStr | None = Field(default=None)
    """Base64url Ed25519 seeds of 32 bytes, separated by commas; the first one signs."""
    signing_keys_file: Path | None = Field(default=None)
    """File of such seeds, one a line."""
    audit_flush_seconds: float = Field(default=30.0, ge=0.1, le=600)
    """How often what was refused is written to the audit trail; what was done is written with the act."""

    oidc_issuer: OidcIssuer | None = Field(default=None)
    """Outside issuer whose JWTs are accepted beside keys: the URL that its tokens have in `iss`."""
    oidc_audience: str = ""
    """What the issuer's tokens for Gaia have in `aud`; needed with an issuer."""
    oidc_user_claim: str = "email"
    """Claim that holds the user's email address."""
    oidc_create_users: bool = False
    """Create a user when its first token comes; otherwise such a token is refused."""
    oidc_scopes: str = " ".join(DEFAULT_SCOPES)
    """Most that callers with such tokens may do, separated by spaces."""
    oidc_scopes_claim: str = ""
    """Claim that holds a user's scopes, of those above; unset, each user has them all."""

    @property
    def oidc_scope_names(self) -> frozenset[str]:
        """The scopes in `oidc_scopes`."""
        return frozenset(self.oidc_scopes.replace(",", " ").split())

    @model_validator(mode="after")
    def _check_oidc(self) -> Self:
        if self.oidc_issuer is not None and not self.oidc_audience:
            raise ValueError("GAIA_OIDC_AUDIENCE: needed with GAIA_OIDC_ISSUER")
        if unknown := sorted(self.oidc_scope_names - set(SCOPES)):
            raise ValueError(f"GAIA_OIDC_SCOPES: no such scope: {', '.join(unknown)}; there are {', '.join(SCOPES)}")
        return self

    def load_signing_keys(self) -> list[Ed25519PrivateKey]:
        """Returns the signing keys. Raises SettingsError that names the variable."""
        if self.signing_keys is not None:
            name, text = "GAIA_SIGNING_KEYS", self.signing_keys.get_secret_value()
        elif self.signing_keys_file is not None:
            name = "GAIA_SIGNING_KEYS_FILE"
            try:
                text = self.signing_keys_file.read_text()
            except OSError as error:
                raise SettingsError(f"{name}: cannot read the file: {error.strerror}") from error
        else:
            raise SettingsError(
                "GAIA_SIGNING_KEYS_FILE: set it, or GAIA_SIGNING_KEYS, so that identities can be signed"
            )
        try:
            return parse_signing_keys(text)
        except ValueError as error:
            raise SettingsError(f"{name}: {error}") from error
