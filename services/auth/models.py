"""Users and API keys, as the domain knows them."""

import datetime as dt
import uuid
from dataclasses import dataclass
from decimal import Decimal

from services.auth.permissions import Permissions


@dataclass(frozen=True, slots=True)
class User:
    """A person or a machine account. `monthly_budget_usd` is for all of its keys together; None is no limit."""

    id: uuid.UUID
    email: str
    name: str
    is_active: bool
    monthly_budget_usd: Decimal | None
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class UserChanges:
    """What to change of a user: what is not None, and with `clear_budget` its budget."""

    name: str | None = None
    is_active: bool | None = None
    monthly_budget_usd: Decimal | None = None
    clear_budget: bool = False


@dataclass(frozen=True, slots=True)
class Account:
    """A user as whoever authenticates without a key needs it.

    `revocation_sequence` is the newest revocation at the moment of reading.
    """

    id: uuid.UUID
    email: str
    is_active: bool
    monthly_budget_usd: Decimal | None
    revocation_sequence: int


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key without its secret. `previous_expires_at` is when the secret before the last rotation ends."""

    id: uuid.UUID
    user_id: uuid.UUID
    name: str
    prefix: str
    last_four: str
    permissions: Permissions
    is_active: bool
    expires_at: dt.datetime | None
    previous_expires_at: dt.datetime | None
    last_used_at: dt.datetime | None
    created_at: dt.datetime
    updated_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Secret:
    """What is stored of a key's secret. `digest` is the SHA-256 of the whole key in hexadecimal."""

    digest: str
    prefix: str
    last_four: str


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """An API key about to be stored."""

    user_id: uuid.UUID
    name: str
    secret: Secret
    permissions: Permissions
    expires_at: dt.datetime | None
    created_by: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class KeyChanges:
    """What to change of a key: what is not None, and with `clear_expires_at` its end."""

    name: str | None = None
    permissions: Permissions | None = None
    is_active: bool | None = None
    expires_at: dt.datetime | None = None
    clear_expires_at: bool = False


@dataclass(frozen=True, slots=True)
class Credential:
    """What is stored of a key, with its user, whose budget is `user_monthly_budget_usd`.

    `previous_digest` is the secret before the last rotation. `revocation_sequence` is the newest revocation at the
    moment of reading.
    """

    api_key_id: uuid.UUID
    user_id: uuid.UUID
    email: str
    digest: str
    previous_digest: str | None
    previous_expires_at: dt.datetime | None
    permissions: Permissions
    key_is_active: bool
    user_is_active: bool
    expires_at: dt.datetime | None
    user_monthly_budget_usd: Decimal | None
    revocation_sequence: int
