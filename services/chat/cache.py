"""Replies that are kept to answer the same request of the same user with: exact matches only, off by default."""

import hashlib
import time
from collections.abc import Mapping
from typing import Any

import orjson
from cachetools import TTLCache

from services.chat import snapshot
from services.chat.snapshot import Told


class ResponseCache:
    """Keeps at most `entries` replies of `max_bytes` together, each for `seconds`; with 0 entries none.

    The replies that were used last stay longest.
    """

    def __init__(self, *, entries: int, max_bytes: int, seconds: float) -> None:
        self.is_on = entries > 0
        # Each counts for its size, and for its share at the least: one bound holds both.
        share = -(-max_bytes // entries) if entries else 1
        self._kept: TTLCache[bytes, bytes] = TTLCache(
            max_bytes, seconds, timer=time.monotonic, getsizeof=lambda kept: max(len(kept), share)
        )

    def get(self, key: bytes) -> Told | None:
        """Returns the reply that is kept for a request, None for none."""
        kept = self._kept.get(key)
        return None if kept is None else snapshot.decode(kept)

    def put(self, key: bytes, told: Told) -> None:
        """Keeps a reply, unless it is larger than all of them may be together."""
        encoded = snapshot.encode(told)
        if encoded is not None and len(encoded) <= self._kept.maxsize:
            self._kept[key] = encoded

    def forget(self, user_id: str) -> None:
        """Lets go of what is kept for a user."""
        if not self._kept:
            return
        theirs = _prefix(user_id)
        for key in [key for key in self._kept if key.startswith(theirs)]:
            self._kept.pop(key, None)


def _prefix(user_id: str) -> bytes:
    return user_id.encode() + b"\n"


def cache_key(user_id: str, dialect: str, model: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> bytes:
    """Returns what two requests have in common that are the same: user, and the SHA-256 of all that makes the reply."""
    said = orjson.dumps([{**body, "model": model}, headers], option=orjson.OPT_SORT_KEYS)
    return _prefix(user_id) + hashlib.sha256(b"\n".join((dialect.encode(), said))).digest()
