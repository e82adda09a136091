"""The rules about users."""

import re
import uuid
from collections.abc import Collection, Sequence

from services.auth.audit import Act, NewAuditEvent
from services.auth.models import User
from services.auth.store import Store
from shared.db.paging import Place
from shared.errors import InvalidArgument, NotFound, Violation

MAX_EMAIL = 320  # RFC 5321: 64 for the local part, 255 for the domain, and the @
MAX_NAME = 200
UPDATABLE = ("name", "is_active")
USER = "user"
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")


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


async def update_user(
    store: Store, act: Act, user_id: str, fields: Collection[str], name: str, is_active: bool
) -> User:
    """Changes the named fields. Raises InvalidArgument for a field that may not change, or NotFound."""
    check_mask(fields, UPDATABLE)
    if violations := check_name(name) if "name" in fields else []:
        raise InvalidArgument.of(*violations)
    event = act.event("user.update", USER, user_id, fields=sorted(fields))
    return await _change(
        store, user_id, event, name if "name" in fields else None, is_active if "is_active" in fields else None
    )


async def deactivate_user(store: Store, act: Act, user_id: str) -> None:
    """Makes a user inactive and revokes all of its keys. Raises NotFound."""
    await _change(store, user_id, act.event("user.delete", USER, user_id), None, False)


async def _change(store: Store, user_id: str, event: NewAuditEvent, name: str | None, is_active: bool | None) -> User:
    user = await store.update_user(parse_id(user_id, "user"), event, name=name, is_active=is_active)
    if user is None:
        raise NotFound(f"there is no user {user_id}")
    return user


def check_name(name: str) -> list[Violation]:
    """Returns what is wrong with a name."""
    if len(name) > MAX_NAME:
        return [Violation("name", f"must have at most {MAX_NAME} characters, not {len(name)}")]
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
