"""Users who come with a token of the outside issuer instead of a key."""

import contextlib
import datetime as dt

from services.auth.audit import SUCCESS, NewAuditEvent
from services.auth.issuer import INVALID_JWT, OutsideIssuer
from services.auth.models import Account
from services.auth.store import Store
from services.auth.users import MAX_EMAIL, USER
from shared import telemetry
from shared.errors import AlreadyExists, Unauthenticated


class OutsideUsers:
    """Finds the user that a token of the issuer names, by email address.

    `scopes` are the most that such a user may do, whatever the token says. With `create` a user who is not known yet is
    created; an inactive one is refused in either case.
    """

    def __init__(self, issuer: OutsideIssuer, store: Store, *, scopes: frozenset[str], create: bool) -> None:
        self._issuer = issuer
        self._store = store
        self._create = create
        self.scopes = scopes

    def issued(self, token: str) -> bool:
        """Whether a token says that it is of the issuer; nothing is verified."""
        return self._issuer.issued(token)

    async def identify(self, token: str) -> tuple[Account, frozenset[str], dt.datetime]:
        """Returns the user, what it may do, and until when. Raises Unauthenticated, or Unavailable."""
        said = await self._issuer.verify(token)
        account = await self._store.find_account(email=said.email)
        if account is None and self._create and len(said.email) <= MAX_EMAIL:
            account = await self._create_user(said.email)
        if account is None or not account.is_active:
            raise Unauthenticated(INVALID_JWT)
        scopes = self.scopes if said.scopes is None else self.scopes & said.scopes
        return account, scopes, dt.datetime.fromtimestamp(said.expires_at, dt.UTC)

    async def _create_user(self, email: str) -> Account | None:
        event = NewAuditEvent(
            action="user.create",
            target_type=USER,
            target_id="",
            result=SUCCESS,
            actor_user_id="",
            actor_key_id="",
            request_id=telemetry.request_id.get(),
            address="",
            details={"by": "first token of the outside issuer"},
        )
        # Another request with the same token may have created it a moment ago.
        with contextlib.suppress(AlreadyExists):
            await self._store.create_user(email, "", event)
        return await self._store.find_account(email=email)
