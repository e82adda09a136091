"""Bringing keys of another platform here by their SHA-256, so that its users keep them."""

import csv
import datetime as dt
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from services.auth.permissions import Permissions, parse_permissions
from services.auth.users import MAX_EMAIL, MAX_NAME
from shared.errors import InvalidArgument, Violation
from shared.identity.principal import SCOPES

REQUIRED = ("key_hash", "email")
COLUMNS = (*REQUIRED, "name", "permissions", "scopes", "is_active", "expires_at", "prefix", "last_four")
MAX_FAULTS = 20
"""Most faults that are named at once."""
_HASH = re.compile(r"[0-9a-f]{64}")
_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_TRUE, _FALSE = ("", "true", "t", "1", "yes"), ("false", "f", "0", "no")


@dataclass(frozen=True, slots=True)
class ImportedKey:
    """A key to be imported; `digest` is its SHA-256 in hexadecimal."""

    digest: str
    email: str
    name: str
    permissions: Permissions
    is_active: bool
    expires_at: dt.datetime | None
    prefix: str
    last_four: str


def read_keys(lines: Iterable[str]) -> list[ImportedKey]:
    """Reads a CSV file whose first line names the columns, of `COLUMNS`; others are ignored.

    `permissions` is the column of the other platform's table as JSON, `scopes` a list separated by spaces instead; a
    time without a zone is UTC. Raises InvalidArgument that names the lines with faults, the first twenty of them.
    """
    reader = csv.DictReader(lines, strict=True)
    try:
        return _read(reader)
    except csv.Error as error:
        raise InvalidArgument.field(f"line {reader.line_num}", f"is no CSV: {error}") from error


def _read(reader: "csv.DictReader[str]") -> list[ImportedKey]:
    names = reader.fieldnames or ()
    if missing := [name for name in REQUIRED if name not in names]:
        raise InvalidArgument.field(
            "line 1", f"the columns {', '.join(missing)} are missing; it needs {', '.join(REQUIRED)}"
        )
    keys: list[ImportedKey] = []
    faults: list[Violation] = []
    first: dict[str, int] = {}
    for row in reader:
        key, found = _read_row({name: (row.get(name) or "").strip() for name in COLUMNS})
        where = f"line {reader.line_num}"
        faults += [Violation(f"{where}, {fault.field}", fault.description) for fault in found]
        if key is not None:
            earlier = first.setdefault(key.digest, reader.line_num)
            if earlier != reader.line_num:
                faults.append(Violation(f"{where}, key_hash", f"is that of line {earlier}"))
            keys.append(key)
        if len(faults) >= MAX_FAULTS:
            break
    if faults:
        raise InvalidArgument.of(*faults[:MAX_FAULTS])
    return keys


def _read_row(row: Mapping[str, str]) -> tuple[ImportedKey | None, list[Violation]]:
    faults = list(_faults(row))
    if faults:
        return None, faults
    permissions = (
        parse_permissions(json.loads(row["permissions"]))
        if row["permissions"]
        else Permissions(tuple(row["scopes"].split()))
    )
    return (
        ImportedKey(
            digest=row["key_hash"].lower(),
            email=row["email"],
            name=row["name"] or "imported",
            permissions=permissions,
            is_active=row["is_active"].lower() in _TRUE,
            expires_at=_time(row["expires_at"]) if row["expires_at"] else None,
            prefix=row["prefix"],
            last_four=row["last_four"],
        ),
        [],
    )


def _faults(row: Mapping[str, str]) -> Iterator[Violation]:
    if not _HASH.fullmatch(row["key_hash"].lower()):
        yield Violation("key_hash", "must be a SHA-256 in hexadecimal: 64 digits")
    if len(row["email"]) > MAX_EMAIL or not _EMAIL.fullmatch(row["email"]):
        yield Violation("email", f"must be an email address of at most {MAX_EMAIL} characters")
    if len(row["name"]) > MAX_NAME:
        yield Violation("name", f"must have at most {MAX_NAME} characters")
    if row["permissions"] and not isinstance(_json(row["permissions"]), dict):
        yield Violation("permissions", 'must be a JSON object, such as {"scopes":["chat:read"]}')
    if unknown := set(row["scopes"].split()) - set(SCOPES):
        yield Violation("scopes", f"no such scope: {', '.join(sorted(unknown))[:200]}; there are {', '.join(SCOPES)}")
    if row["is_active"].lower() not in (*_TRUE, *_FALSE):
        yield Violation("is_active", "must be true or false")
    if row["expires_at"] and _time(row["expires_at"]) is None:
        yield Violation("expires_at", "must be a time such as 2027-01-31T12:00:00Z")
    if len(row["prefix"]) > 32 or len(row["last_four"]) > 4:
        yield Violation("prefix, last_four", "must have at most 32 and 4 characters, and be no secret")


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _time(text: str) -> dt.datetime | None:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
