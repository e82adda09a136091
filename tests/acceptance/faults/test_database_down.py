"""Postgres is stopped and started again while requests run: 503, never 401, and recovery without a restart."""

import asyncio
import uuid
from dataclasses import dataclass
from typing import Any

import pytest

from shared.identity import api_key
from tests.support.mesh import ENVIRONMENT, Caller, Mesh
from tests.support.own_postgres import OwnPostgres
from tests.support.process import until
from tests.support.sse import DONE, read_events
from tests.support.upstream import WORDS, Upstream
from tests.support.waiting import BUSY_SECONDS
from tests.support.watch import Watch, watching

TRUST_SECONDS = 5.0
"""How long a cached key is good while nobody can say that it still is."""
NEED_THE_DATABASE = ("keys", "conversation", "assets", "chat", "fresh key")


@dataclass(frozen=True, slots=True)
class Outage:
    """What was seen, and when (loop time) the database was wholly away and back."""

    watch: Watch
    stopped: float
    refused: float
    starting: float
    started: float
    pids: tuple[dict[str, int], dict[str, int]]
    broken_stream: list[Any]
    conversation_before: int
    conversation_after: int


@pytest.fixture(scope="module")
async def outage(fragile: Mesh, own_postgres: OwnPostgres, upstream: Upstream) -> Outage:
    """One outage; its tests look at it from all sides."""
    loop = asyncio.get_running_loop()
    warm, fresh, streaming = [await fragile.new_caller() for _ in range(3)]
    unknown = api_key.generate(ENVIRONMENT)
    mistyped = unknown[:-1] + ("a" if unknown[-1] != "a" else "b")

    def me(key: str) -> Any:
        return fragile.http.get("/api/v1/auth/me", headers={"x-api-key": key})

    questions = {
        "providers": lambda: warm.get("/api/v0.2/providers"),
        "keys": lambda: warm.get("/api/v1/api-keys"),
        "conversation": lambda: warm.get("/api/v0.2/chat/status"),
        "assets": lambda: warm.get("/api/v1/assets"),
        "chat": lambda: warm.post("/api/v0.2/chat", {"message": "hello", "provider": "local"}),
        "mistyped key": lambda: me(mistyped),
        "health": lambda: fragile.http.get("/health"),
    }
    assert (await warm.get("/api/v0.2/providers")).status_code == 200
    pids = {name: process.pid for name, process in fragile.processes.items()}

    stored = await streaming.post("/api/v0.2/chat", {"message": "hello", "provider": "local"})
    assert stored.status_code == 200
    message = f"hello {uuid.uuid4()}"
    body = {"message": message, "model": "scripted/held", "enable_fallback": False}
    before = await count_messages(streaming)
    async with streaming.stream("/api/v0.2/chat/stream", body) as response, watching(questions) as watch:
        events = read_events(response)
        broken = []
        async for event in events:
            broken.append(event)
            if WORDS[-1].strip() in str(event):
                break
        for name in questions:
            await watch.until(name, 401 if name == "mistyped key" else 200)

        await asyncio.to_thread(own_postgres.stop)
        stopped = loop.time()
        try:
            (await upstream.call(message)).release.set()
            broken += [event async for event in events]
            async with watching({"fresh key": lambda: me(fresh.key), "unknown key": lambda: me(unknown)}) as strangers:
                watch.seen.update(strangers.seen)
                refused = await watch.until("providers", 503, began_after=stopped)
                await watch.until("fresh key", 503)
                await watch.until("unknown key", 503)
                starting = loop.time()
                await asyncio.to_thread(own_postgres.start)
                started = loop.time()
                for name in (*questions, "fresh key", "unknown key"):
                    await watch.until(
                        name, 401 if name in ("mistyped key", "unknown key") else 200, began_after=started
                    )
        except BaseException:
            # Whatever went wrong here, the tests after this one find a database.
            await asyncio.to_thread(own_postgres.start)
            raise
    return Outage(
        watch=watch,
        stopped=stopped,
        refused=refused,
        starting=starting,
        started=started,
        pids=(pids, {name: process.pid for name, process in fragile.processes.items()}),
        broken_stream=broken,
        conversation_before=before,
        conversation_after=await count_messages(streaming),
    )


async def count_messages(caller: Caller) -> int:
    return int((await caller.get("/api/v0.2/chat/status")).json()["message_count"])


@pytest.mark.parametrize("question", NEED_THE_DATABASE)
async def test_what_needs_the_database_is_503_with_code_14_and_retry_after(outage: Outage, question: str):
    assert outage.watch.statuses(question, outage.stopped, outage.starting) == {503}
    for seen in outage.watch.seen[question]:
        if seen.status == 503:
            assert seen.reply.json()["code"] == 14
            assert int(seen.reply.headers["retry-after"]) >= 1
            assert "gaia-test-pg" not in seen.reply.text


@pytest.mark.parametrize("question", [*NEED_THE_DATABASE, "providers"])
async def test_nothing_but_200_and_503_is_ever_answered(outage: Outage, question: str):
    assert outage.watch.statuses(question) == {200, 503}
    assert outage.watch.unanswered == 0


async def test_a_cached_key_goes_on_for_five_seconds_and_no_longer(outage: Outage):
    assert 200 in outage.watch.statuses("providers", outage.stopped)
    # A busy machine takes its time to begin to stop a database.
    answered = [seen.began for seen in outage.watch.seen["keys"] if seen.began < outage.stopped and seen.status == 200]
    assert outage.refused - max(answered) < TRUST_SECONDS + 1


async def test_a_mistyped_key_is_refused_without_the_database(outage: Outage):
    assert outage.watch.statuses("mistyped key") == {401}
    answered = [seen for seen in outage.watch.seen["mistyped key"] if outage.stopped < seen.began < outage.starting]
    assert len(answered) > 10


async def test_a_key_that_is_not_known_is_not_refused_while_nobody_can_know(outage: Outage):
    assert outage.watch.statuses("unknown key", outage.stopped, outage.starting) == {503}


async def test_health_says_that_the_database_is_down_and_the_services_are_up(outage: Outage):
    reports = [
        seen.reply.json()
        for seen in outage.watch.seen["health"]
        if outage.stopped + 1 < seen.began < outage.starting  # a report may be half a second old
    ]
    assert reports
    for report in reports:
        assert report["status"] == "unhealthy"
        assert report["database"] == {"status": "unhealthy", "database": "postgresql", "responsive": False}
        assert {service["status"] for service in report["services"].values()} == {"healthy"}
    assert outage.watch.statuses("health") == {200}


async def test_health_never_takes_longer_than_a_second(outage: Outage):
    assert max(seen.ended - seen.began for seen in outage.watch.seen["health"]) < 1 + BUSY_SECONDS


async def test_a_reply_that_cannot_be_stored_is_not_acknowledged(outage: Outage):
    types = [event if event == DONE else event["type"] for event in outage.broken_stream]
    assert types[-1] == "error"
    assert not {"metadata", "complete", DONE} & set(types)
    assert outage.conversation_after == outage.conversation_before


@pytest.mark.parametrize("question", [*NEED_THE_DATABASE, "providers", "health"])
async def test_everything_recovers_by_itself_within_seconds(outage: Outage, question: str):
    first = next(seen for seen in outage.watch.seen[question] if seen.began >= outage.started and seen.status == 200)
    assert first.ended - outage.started < 4
    assert outage.pids[0] == outage.pids[1]


async def test_health_is_good_again(fragile: Mesh, outage: Outage):
    async def healthy() -> bool:
        return (await fragile.http.get("/health")).json()["status"] == "healthy"

    await until(healthy, "health is good again", 5)


async def test_what_was_stored_before_is_still_there(outage: Outage):
    assert outage.conversation_before == outage.conversation_after == 2
