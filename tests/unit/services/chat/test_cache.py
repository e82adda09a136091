"""The cache of replies: what it lets go of."""

import datetime as dt
import uuid

from services.chat.cache import ResponseCache, cache_key
from services.chat.snapshot import Told
from services.chat.turn import Reply

ALICE, BOB = str(uuid.UUID(int=1)), str(uuid.UUID(int=2))


def told(text: str) -> Told:
    return Told(uuid.uuid4(), dt.datetime(2026, 1, 1, tzinfo=dt.UTC), Reply(text), "p", "m", False, 1)


def key(user: str, said: str) -> bytes:
    return cache_key(user, "openai.chat", "p/m", {"messages": said}, {})


def test_what_is_kept_of_a_user_is_forgotten_together():
    cache = ResponseCache(entries=10, max_bytes=100_000, seconds=60)
    for user in (ALICE, BOB):
        for said in ("a", "b"):
            cache.put(key(user, said), told(said))
    cache.forget(ALICE)
    assert [cache.get(key(ALICE, said)) for said in ("a", "b")] == [None, None]
    assert [kept and kept.reply.text for kept in (cache.get(key(BOB, said)) for said in ("a", "b"))] == ["a", "b"]
