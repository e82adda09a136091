"""Keyset paging: a page token holds the place of a page's last row in the list, and nothing a caller should read."""

import base64
import binascii
import datetime as dt
import uuid
from dataclasses import dataclass

from shared.errors import InvalidArgument

DEFAULT_SIZE = 50
MAX_SIZE = 500


@dataclass(frozen=True, slots=True)
class Place:
    """Place in a list ordered by creation time and id, both descending."""

    created_at: dt.datetime
    id: uuid.UUID

    def token(self) -> str:
        """Encodes the place."""
        micros = (self.created_at - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
        return base64.urlsafe_b64encode(micros.to_bytes(8, "big", signed=True) + self.id.bytes).decode().rstrip("=")


START = Place(dt.datetime(9999, 1, 1, tzinfo=dt.UTC), uuid.UUID(int=2**128 - 1))
"""Before every row."""


def page_size(requested: int) -> int:
    """Returns the size of a page. Raises InvalidArgument for a negative one; more than 500 means 500 (AIP-158)."""
    if requested < 0:
        raise InvalidArgument.field("page_size", f"must be 0 (for {DEFAULT_SIZE}) to {MAX_SIZE}, not {requested}")
    return min(requested or DEFAULT_SIZE, MAX_SIZE)


def parse_token(token: str) -> Place:
    """Decodes a page token; an empty one is the start. Raises InvalidArgument for one that is not Gaia's."""
    if not token:
        return START
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        if len(raw) != 24:
            raise ValueError("wrong length")
        micros = int.from_bytes(raw[:8], "big", signed=True)
        created_at = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=micros)
    except (binascii.Error, ValueError, OverflowError) as error:
        raise InvalidArgument.field(
            "page_token", "is not a token of this list; send next_page_token of the page before, or none"
        ) from error
    return Place(created_at, uuid.UUID(bytes=raw[8:]))
