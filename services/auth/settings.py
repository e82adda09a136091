"""Settings of the auth service."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import Field, SecretStr

from services.auth.signing import parse_signing_keys
from shared.settings import ListenAddress, ServiceSettings, SettingsError


class AuthSettings(ServiceSettings):
    """Settings of the auth service; one of the two for signing keys is required."""

    listen: ListenAddress = "127.0.0.1:8001"
    allowed_callers: str = "edge,chat,asset"
    signing_keys: SecretStr | None = Field(default=None)
    """Base64url Ed25519 seeds of 32 bytes, separated by commas; the first one signs."""
    signing_keys_file: Path | None = Field(default=None)
    """File of such seeds, one a line."""
    audit_flush_seconds: float = Field(default=30.0, ge=0.1, le=600)
    """How often what was refused is written to the audit trail; what was done is written with the act."""

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
