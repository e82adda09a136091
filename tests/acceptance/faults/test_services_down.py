"""A service is killed, hangs, or is told to stop, while requests run; the edge gets over it by itself."""

import asyncio
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from shared.identity import api_key
from tests.support.mesh import ENVIRONMENT, Caller, Mesh
from tests.support.process import until
from tests.support.sse import DONE, read_events
from tests.support.upstream import WORDS, Upstream
from tests.support.waiting import BUSY_SECONDS
from tests.support.watch import Ask, Watch, watching

TRUST_SECONDS = 5.0
"""How long a cached key is good while nobody can say that it still is."""
RECOVERY_SECONDS = 3.0
"""From a service that serves again to an edge that uses it; channels try again at least every second."""
STREAM = "/api/v0.2/chat/stream"


def questions(caller: Caller) -> dict[str, Ask]:
    """One for each service, none of which takes long."""
    return {
        "auth": lambda: caller.get("/api/v1/auth/me"),
        "chat": lambda: caller.get("/api/v0.2/providers"),
        "asset": lambda: caller.get("/api/v1/assets/test"),
    }


def assert_plain_outage(watch: Watch, name: str) -> None:
    """A service that is away is 503, says when to come again, and nothing about the mesh's inside."""
    assert watch.statuses(name) == {200, 503}
    for seen in watch.seen[name]:
        if seen.status == 503:
            assert seen.reply.json()["code"] == 14
            assert int(seen.reply.headers["retry-after"]) >= 1
            assert not any(word in seen.reply.text for word in ("127.0.0.1", "ipv4", "connect"))


async def report(mesh: Mesh) -> dict[str, Any]:
    """`GET /health`, made now and not half a second ago."""
    await asyncio.sleep(0.6)
    reply = await mesh.http.get("/health")
    assert reply.status_code == 200
    body: dict[str, Any] = reply.json()
    return body


@asynccontextmanager
async def reply_on_its_way(caller: Caller, upstream: Upstream) -> AsyncIterator[tuple[Any, Any]]:
    """A stream whose three words have come and whose end is held back: its events to come, and the provider's call."""
    message = f"hello {uuid.uuid4()}"
    body = {"message": message, "model": "scripted/held", "enable_fallback": False}
    async with caller.stream(STREAM, body) as response:
        events = read_events(response)
        async for event in events:
            if WORDS[-1].strip() in str(event):
                break
        yield events, await upstream.call(message)


class TestKilled:
    @pytest.mark.parametrize("name", ["chat", "asset"])
    async def test_only_its_own_routes_are_503_until_it_is_back(self, fragile: Mesh, caller: Caller, name: str):
        loop = asyncio.get_running_loop()
        async with watching(questions(caller)) as watch:
            for question in watch.seen:
                await watch.until(question, 200)
            await fragile.end(name, signal.SIGKILL)
            killed = loop.time()
            await watch.until(name, 503)
            health = await report(fragile)
            assert (await fragile.http.get("/readyz")).status_code == 200
            await fragile.start_again(name)
            serving = loop.time()
            back = await watch.until(name, 200, began_after=killed)
        assert back - serving < RECOVERY_SECONDS
        assert_plain_outage(watch, name)
        for other in {"auth", "chat", "asset"} - {name}:
            assert watch.statuses(other) == {200}
        assert watch.unanswered == 0
        assert health["status"] == "degraded"
        assert health["services"][name]["status"] == "unhealthy"
        assert health["services"][name]["error"]
        assert health["database"]["responsive"] is True
        assert (await report(fragile))["status"] == "healthy"

    async def test_without_auth_cached_keys_go_on_for_five_seconds_and_then_nobody_is_called_a_stranger(
        self, fragile: Mesh, caller: Caller
    ):
        loop = asyncio.get_running_loop()
        fresh = await fragile.new_caller()
        unknown = api_key.generate(ENVIRONMENT)
        mistyped = unknown[:-1] + ("a" if unknown[-1] != "a" else "b")

        def me(key: str) -> Any:
            return fragile.http.get("/api/v1/auth/me", headers={"x-api-key": key})

        strangers = {"fresh": lambda: me(fresh.key), "unknown": lambda: me(unknown), "mistyped": lambda: me(mistyped)}
        async with watching(questions(caller)) as watch:
            for question in watch.seen:
                await watch.until(question, 200)
            await fragile.end("auth", signal.SIGKILL)
            killed = loop.time()
            async with watching(strangers) as others:
                refused = await watch.until("chat", 503)
                health = await report(fragile)
                ready = await fragile.http.get("/readyz")
                restarting = loop.time()
                await fragile.start_again("auth")
                serving = loop.time()
                for question in watch.seen:
                    assert await watch.until(question, 200, began_after=serving) - serving < RECOVERY_SECONDS
                await others.until("fresh", 200)
                await others.until("unknown", 401)
        assert 200 in watch.statuses("chat", killed, refused), "a cached key went on for a while"
        assert refused - killed < TRUST_SECONDS + 1
        for question in watch.seen:
            assert_plain_outage(watch, question)
        assert others.statuses("fresh", killed, restarting) == {503}
        assert others.statuses("unknown", killed, restarting) == {503}
        assert others.statuses("mistyped") == {401}
        assert (ready.status_code, ready.headers["retry-after"]) == (503, "1")
        assert health["status"] == "degraded"
        assert health["services"]["auth"]["status"] == "unhealthy"

    async def test_a_new_edge_needs_nothing_from_the_old_one(self, fragile: Mesh, caller: Caller):
        assert (await caller.get("/api/v1/auth/me")).status_code == 200
        await fragile.restart("edge", signal.SIGKILL)
        assert (await caller.get("/api/v1/auth/me")).status_code == 200
        assert (await caller.get("/api/v0.2/providers")).status_code == 200

    async def test_a_reply_on_its_way_through_chat_ends_as_an_error(
        self, fragile: Mesh, caller: Caller, upstream: Upstream
    ):
        async with reply_on_its_way(caller, upstream) as (events, _):
            await fragile.end("chat", signal.SIGKILL)
            rest = [event async for event in events]
        await fragile.restart("chat")
        assert [event["type"] for event in rest] == ["error"]
        assert (await caller.get("/api/v0.2/chat/status")).json()["message_count"] == 0

    async def test_a_reply_on_its_way_through_the_edge_breaks_off_and_is_kept_as_incomplete(
        self, fragile: Mesh, caller: Caller, upstream: Upstream
    ):
        async with reply_on_its_way(caller, upstream) as (events, call):
            await fragile.end("edge", signal.SIGKILL)
            with pytest.raises(httpx.TransportError):
                await anext(events)
            async with asyncio.timeout(5):
                await call.gone.wait()
        await fragile.restart("edge")
        rows: list[Any] = []
        async with asyncio.timeout(5):
            while len(rows) < 2:
                rows = await fragile.rows(
                    "SELECT content, is_complete FROM chat_messages JOIN conversations c ON c.id = conversation_id"
                    " WHERE c.user_id = $1 ORDER BY position",
                    caller.user_id,
                )
        assert (rows[1]["content"], rows[1]["is_complete"]) == ("".join(WORDS), False)


class TestToldToStop:
    @pytest.mark.parametrize("name", ["chat", "edge"])
    async def test_it_lets_what_is_on_its_way_come_to_its_end(
        self, fragile: Mesh, caller: Caller, upstream: Upstream, name: str
    ):
        async with reply_on_its_way(caller, upstream) as (events, call):
            ending = asyncio.create_task(fragile.end(name, signal.SIGTERM))
            # The end is held back until the process has begun to stop: it takes nothing new then.
            await until(lambda: _refuses_calls(fragile, caller), f"{name} takes no new calls", 5)
            call.release.set()
            rest = [event async for event in events]
        assert await ending == 0
        await fragile.restart(name)
        assert [event if event == DONE else event["type"] for event in rest] == ["metadata", "complete", DONE]
        assert (await caller.get("/api/v0.2/chat/status")).json()["message_count"] == 2

    async def test_everything_ends_with_code_0(self, fragile: Mesh):
        codes = await asyncio.gather(*(fragile.end(name, signal.SIGTERM) for name in ("asset", "auth")))
        await asyncio.gather(fragile.restart("asset"), fragile.restart("auth"))
        assert list(codes) == [0, 0]


class TestHanging:
    async def test_health_still_answers_within_a_second_and_says_which_service_it_is(
        self, fragile: Mesh, caller: Caller
    ):
        async def answers() -> bool:
            return (await caller.get("/api/v0.2/providers")).status_code == 200

        await until(answers, "chat has found auth again after the tests before", 5)
        loop = asyncio.get_running_loop()
        fragile.processes["chat"].send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(0.6)  # a report may be half a second old
            began = loop.time()
            health = (await fragile.http.get("/health")).json()
            elapsed = loop.time() - began
            assert (await caller.get("/api/v1/assets/test")).status_code == 200
            late = await caller.get("/api/v0.2/providers", headers={"X-Request-Timeout": "0.5"})
        finally:
            fragile.processes["chat"].send_signal(signal.SIGCONT)
        assert elapsed < 1 + BUSY_SECONDS
        assert health["status"] == "degraded"
        assert health["services"]["chat"]["status"] == "unhealthy"
        assert health["services"]["chat"]["error"] == "timeout"
        assert (late.status_code, late.json()["code"]) == (504, 4)
        assert (await caller.get("/api/v0.2/providers")).status_code == 200
        assert (await report(fragile))["status"] == "healthy"


async def _refuses_calls(mesh: Mesh, caller: Caller) -> bool:
    """Whether a request on a new connection to the edge fails."""
    async with httpx.AsyncClient(base_url=mesh.url, verify=False) as client:
        try:
            reply = await client.get("/api/v0.2/providers", headers={"x-api-key": caller.key})
        except httpx.TransportError:
            return True
    return reply.status_code != 200
