"""The rules about users."""

import re
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal

from services.auth.audit import Act, NewAuditEvent
from services.auth.models import User, UserChanges
from services.auth.permissions import check_budget
from services.auth.store import Store
from shared.db.paging import Place
from shared.errors import InvalidArgument, NotFound, PermissionDenied, Violation
from shared.identity.principal import ADMIN

MAX_EMAIL = 320  # RFC 5321: 64 for the local part, 255 for the domain, and the @
MAX_NAME = 200
BUDGET = "monthly_budget_usd"
UPDATABLE = ("name", "is_active", BUDGET)
USER = "user"
_EMAIL = re.compile(r"[^@\s\0]+@[^@\s\0]+")


@dataclass(frozen=True, slots=True)
class UserRequest:
    """What somebody wants a user to be."""

    name: str
    is_active: bool
    monthly_budget_usd: Decimal | None


async def create_user(store: Store, act: Act, email: str, name: str) -> User:
    """Stores a user. Raises InvalidArgument, or AlreadyExists when the email address is taken."""
    email = email.strip()
    violations = []
    if len(email) > MAX_EMAIL or not _EMAIL.fullmatch(email):
        violations.append(Violation("email", f"must be an email address of at most {MAX_EMAIL} characters"))
    violations += check_name(name)
    if violations:
        raise InvalidArgument.of(*violations)
    return await store.create_user(email, name, act.event("user.create", USER))


async def get_user(store: Store, user_id: str) -> User:
    """Returns a user. Raises NotFound."""
    user = await store.get_user(parse_id(user_id, "user"))
    if user is None:
        raise NotFound(f"there is no user {user_id}")
    return user


async def list_users(store: Store, after: Place, limit: int) -> Sequence[User]:
    """Returns a page of users, the newest first."""
    return await store.list_users(after, limit)


async def update_user(store: Store, act: Act, user_id: str, fields: Collection[str], wanted: UserRequest) -> User:
    """Changes the named fields.

    Raises InvalidArgument for a field that may not change, NotFound, and PermissionDenied for a budget, unless the
    caller is an admin: who keeps users does not thereby hold the purse, least of all their own.
    """
    check_mask(fields, UPDATABLE)
    violations = check_name(wanted.name) if "name" in fields else []
    if BUDGET in fields:
        violations += check_budget(BUDGET, wanted.monthly_budget_usd)
    if violations:
        raise InvalidArgument.of(*violations)
    if BUDGET in fields and not act.caller.is_admin:
        raise PermissionDenied(
            f"{BUDGET}: changing it needs the scope {ADMIN}", reason="MISSING_SCOPE", metadata={"scope": ADMIN}
        )
    budget = wanted.monthly_budget_usd if BUDGET in fields else None
    changes = UserChanges(
        name=wanted.name if "name" in fields else None,
        is_active=wanted.is_active if "is_active" in fields else None,
        monthly_budget_usd=budget,
        clear_budget=BUDGET in fields and budget is None,
    )
    given = {BUDGET: None if budget is None else str(budget)} if BUDGET in fields else {}
    return await _change(
        store, user_id, changes, act.event("user.update", USER, user_id, fields=sorted(fields), **given)
    )


async def deactivate_user(store: Store, act: Act, user_id: str) -> None:
    """Makes a user inactive and revokes all of its keys. Raises NotFound."""
    await _change(store, user_id, UserChanges(is_active=False), act.event("user.delete", USER, user_id))


async def _change(store: Store, user_id: str, changes: UserChanges, event: NewAuditEvent) -> User:
    user = await store.update_user(parse_id(user_id, "user"), changes, event)
    if user is None:
        raise NotFound(f"there is no user {user_id}")
    return user


def check_name(name: str) -> list[Violation]:
    """Returns what is wrong with a name."""
    if len(name) > MAX_NAME:
        return [Violation("name", f"must have at most {MAX_NAME} characters, not {len(name)}")]
    if "\0" in name:
        return [Violation("name", "must not hold the character U+0000")]
    return []


def check_mask(fields: Collection[str], updatable: Sequence[str]) -> None:
    """Raises InvalidArgument unless the fields are some of those that may change."""
    allowed = ", ".join(updatable)
    if not fields:
        raise InvalidArgument.field("update_mask", f"names no field; name some of {allowed}")
    if wrong := sorted(set(fields) - set(updatable)):
        raise InvalidArgument.field("update_mask", f"{', '.join(wrong)} cannot be changed; only {allowed} can")


def parse_id(text: str, what: str) -> uuid.UUID:
    """Reads an id. Raises NotFound for one that cannot be: there is no such thing."""
    try:
        return uuid.UUID(text)
    except ValueError as error:
        raise NotFound(f"there is no {what} {text[:64]}") from error
