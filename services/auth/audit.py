"""The audit trail: who did what, from where, and how it ended."""

import asyncio
import contextlib
import datetime as dt
import logging
import uuid
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from shared.db.paging import START, Place
from shared.errors import GaiaError, InvalidArgument, Unavailable
from shared.identity.principal import Principal
from shared.identity.refusals import RefusalCounter, Refusals

logger = logging.getLogger(__name__)

SUCCESS = "success"
AUTHENTICATE = "authenticate"
DENIED = "authorization.denied"
METHOD = "method"
MAX_WAITING = 1000
"""Most failed acts that wait to be written; the oldest make room."""
EXPORT_PAGE = 500
MAX_ID = 64
"""Most characters that are kept of an id that a caller sent."""


@dataclass(frozen=True, slots=True)
class NewAuditEvent:
    """An entry about to be written. Ids are UUIDs in text form or empty; `details` never hold a secret."""

    action: str
    target_type: str
    target_id: str
    result: str
    actor_user_id: str
    actor_key_id: str
    request_id: str
    address: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def about(self, target_id: uuid.UUID) -> "NewAuditEvent":
        """Returns the entry with the id of its target, for what has none until it is stored."""
        return replace(self, target_id=str(target_id))


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """An entry of the trail."""

    id: uuid.UUID
    created_at: dt.datetime
    action: str
    result: str
    actor_user_id: uuid.UUID | None
    actor_key_id: uuid.UUID | None
    target_type: str
    target_id: str
    request_id: str
    address: str
    details: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries: those that are equal where something is given, within the half-open time from start to end."""

    actor_user_id: uuid.UUID | None = None
    actor_key_id: uuid.UUID | None = None
    action: str | None = None
    target_id: str | None = None
    result: str | None = None
    address: str | None = None
    start_time: dt.datetime | None = None
    end_time: dt.datetime | None = None


@dataclass(frozen=True, slots=True)
class Act:
    """Somebody who does something: the caller, the request and the address it came from."""

    caller: Principal
    request_id: str
    address: str

    def event(self, action: str, target_type: str, target_id: str = "", **details: Any) -> NewAuditEvent:
        """Describes what is done, as it stands in the trail when it ends well."""
        return NewAuditEvent(
            action=action,
            target_type=target_type,
            target_id=target_id,
            result=SUCCESS,
            actor_user_id=self.caller.user_id,
            actor_key_id=self.caller.api_key_id,
            request_id=self.request_id,
            address=self.address,
            details=details,
        )


class AuditStore(Protocol):
    """Where the trail is kept. Every method raises Unavailable when the store does not answer."""

    async def add_audit_events(self, events: Sequence[NewAuditEvent]) -> None:
        """Writes entries that belong to no act that is stored."""

    async def list_audit_events(self, wanted: AuditFilter, after: Place, limit: int) -> Sequence[AuditEvent]:
        """Returns entries, the newest first."""


class AuditTrail:
    """Writes down what did not come about: acts that failed, and credentials that were refused.

    Acts that succeed are written by the store, in the transaction of the act. What failed is collected, bounded, and
    written every `interval` seconds: an attacker can neither slow the service down nor fill the database at will.
    """

    def __init__(self, store: AuditStore, refusals: RefusalCounter, *, interval: float) -> None:
        self._store = store
        self._refusals = refusals
        self._interval = interval
        self._waiting: deque[NewAuditEvent] = deque(maxlen=MAX_WAITING)

    @contextlib.contextmanager
    def attempt(self, event: NewAuditEvent) -> Iterator[None]:
        """Notes that the act inside the block failed, unless it was malformed or the database is away."""
        try:
            yield
        except (InvalidArgument, Unavailable):
            raise
        except GaiaError as error:
            self._waiting.append(replace(event, result=error.code.lower()))
            raise

    async def run(self) -> None:
        """Writes until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            await self.flush()

    async def flush(self) -> None:
        """Writes what was collected; what cannot be written now is kept for the next time, as far as there is room."""
        refusals = self._refusals.drain()
        waiting = list(self._waiting)
        self._waiting.clear()
        events = waiting + [_refused(one) for one in refusals]
        if not events:
            return
        try:
            await self._store.add_audit_events(events)
        except GaiaError as error:
            logger.warning("failures could not be written to the audit trail", extra={"cause": str(error)})
            self._refusals.put_back(refusals)
            self._waiting.extendleft(reversed(waiting[: MAX_WAITING - len(self._waiting)]))


def _refused(refusals: Refusals) -> NewAuditEvent:
    what, details = refusals.what, {"count": refusals.count}
    if not what.method:
        return NewAuditEvent(
            AUTHENTICATE, "", "", "unauthenticated", "", "", refusals.request_id, what.address, details
        )
    return NewAuditEvent(
        action=DENIED,
        target_type=METHOD,
        target_id=what.method[:MAX_ID],
        result="permission_denied",
        actor_user_id=what.user_id,
        actor_key_id=what.api_key_id,
        request_id=refusals.request_id,
        address=what.address,
        details={**details, "scope": what.scope},
    )


async def export_events(store: AuditStore, wanted: AuditFilter) -> AsyncIterator[AuditEvent]:
    """Yields all entries that the filter lets through, the newest first, reading them page by page."""
    place = START
    while True:
        page = await store.list_audit_events(wanted, place, EXPORT_PAGE)
        for event in page:
            yield event
        if len(page) < EXPORT_PAGE:
            return
        place = Place(page[-1].created_at, page[-1].id)
