"""Users and API keys, as the domain knows them."""

import datetime as dt
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.identity.principal import ADMIN, SCOPES


@dataclass(frozen=True, slots=True)
class User:
    """A person or a machine account."""

    id: uuid.UUID
    email: str
    name: str
    is_active: bool
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret."""

    id: uuid.UUID
    user_id: uuid.UUID
    name: str
    prefix: str
    last_four: str
    scopes: tuple[str, ...]
    is_active: bool
    expires_at: dt.datetime | None
    last_used_at: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """An API key about to be stored. `digest` is the SHA-256 of the key in hexadecimal."""

    user_id: uuid.UUID
    name: str
    digest: str
    prefix: str
    last_four: str
    scopes: tuple[str, ...]
    expires_at: dt.datetime | None
    created_by: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class Credential:
    """What is stored of a key that somebody presents, with its user.

    `revocation_sequence` is the newest revocation at the moment of reading.
    """

    api_key_id: uuid.UUID
    user_id: uuid.UUID
    email: str
    digest: str
    scopes: tuple[str, ...]
    key_is_active: bool
    user_is_active: bool
    expires_at: dt.datetime | None
    revocation_sequence: int


def scopes_of(permissions: Mapping[str, Any]) -> tuple[str, ...]:
    """Reads the scopes out of the `permissions` column, in the order of `SCOPES`.

    Rows of older platforms say `{"admin": true}` for the scope `admin`. Unknown scopes grant nothing.
    """
    listed = permissions.get("scopes")
    granted = set(listed) if isinstance(listed, list) else set()
    if permissions.get("admin") is True:
        granted.add(ADMIN)
    return tuple(scope for scope in SCOPES if scope in granted)
