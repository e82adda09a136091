"""What the auth service needs of a store."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from typing import Protocol

from services.auth.audit import AuditStore, NewAuditEvent
from services.auth.models import Account, ApiKey, Credential, KeyChanges, NewApiKey, Secret, User, UserChanges
from shared.db.paging import Place


class Store(AuditStore, Protocol):
    """Users, keys and the audit trail. Every method raises Unavailable when the store does not answer.

    What changes something takes the entry of the audit trail that says so, and writes both in one transaction.
    """

    async def find_credential(self, digest: str) -> Credential | None:
        """Returns what is stored of the key with this SHA-256, be it of its secret or of the one before that."""

    async def find_credential_by_id(self, api_key_id: uuid.UUID) -> Credential | None:
        """Returns what is stored of the key with this id."""

    async def find_account(self, *, email: str | None = None, user_id: uuid.UUID | None = None) -> Account | None:
        """Returns a user by email address, without regard to case, or by id."""

    async def create_user(self, email: str, name: str, event: NewAuditEvent) -> User:
        """Stores a user. Raises AlreadyExists when the email address is taken."""

    async def get_user(self, user_id: uuid.UUID) -> User | None:
        """Returns a user."""

    async def list_users(self, after: Place, limit: int) -> Sequence[User]:
        """Returns users, the newest first."""

    async def update_user(self, user_id: uuid.UUID, changes: UserChanges, event: NewAuditEvent) -> User | None:
        """Changes a user. A user made inactive loses all keys in the same transaction."""

    async def create_key(self, key: NewApiKey, event: NewAuditEvent) -> ApiKey:
        """Stores a key. Raises NotFound when its user is not there."""

    async def get_key(self, key_id: uuid.UUID) -> ApiKey | None:
        """Returns a key."""

    async def list_keys(self, user_id: uuid.UUID, after: Place, limit: int) -> Sequence[ApiKey]:
        """Returns a user's keys, the newest first."""

    async def update_key(self, key_id: uuid.UUID, changes: KeyChanges, event: NewAuditEvent) -> ApiKey | None:
        """Changes a key."""

    async def delete_key(self, key_id: uuid.UUID, event: NewAuditEvent) -> bool:
        """Deletes a key; False when there is none."""

    async def rotate_key(
        self, key_id: uuid.UUID, secret: Secret, previous_expires_at: dt.datetime | None, event: NewAuditEvent
    ) -> ApiKey | None:
        """Gives a key another secret; the one of now works until the time given. None for a key that does not work."""

    async def touch_keys(self, used: Mapping[uuid.UUID, dt.datetime]) -> None:
        """Notes when keys were last used, unless something later is noted."""
