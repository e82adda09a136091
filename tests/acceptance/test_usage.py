"""What calls used and cost, over REST and at the command line."""

import asyncio
import base64
import datetime as dt
import json
import os
import subprocess
import sys
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support.mesh import Caller, Mesh
from tests.support.waiting import eventually

CHAT = "/api/v0.2/chat"
USAGE = "/api/v1/usage"
TOTALS = {"requests", "input_tokens", "output_tokens", "cached_tokens", "cost_usd", "unpriced_requests"}


async def spend(caller: Caller, model: str = "gpt-4o", provider: str = "openai") -> Any:
    """Makes a call and returns its reply."""
    reply = await caller.post(CHAT, {"message": "please greet", "model": model, "provider": provider})
    assert reply.status_code == 200, reply.text
    return reply.json()


class TestUsage:
    async def test_the_current_month_is_what_the_replies_said(self, caller: Caller):
        replies = [await spend(caller), await spend(caller, "local-echo", "local")]
        body = (await caller.get("/api/v0.2/usage/current")).json()
        assert set(body["usage"]) == TOTALS
        assert body["usage"]["requests"] == 2
        assert body["usage"]["input_tokens"] == sum(reply["usage"]["input_tokens"] for reply in replies)
        assert body["usage"]["output_tokens"] == sum(reply["usage"]["output_tokens"] for reply in replies)
        assert Decimal(body["usage"]["cost_usd"]) > 0
        assert dt.datetime.fromisoformat(body["period_start"]).day == 1

    async def test_the_history_has_a_row_for_today(self, caller: Caller):
        await spend(caller, "local-echo", "local")
        body = (await caller.get("/api/v0.2/usage/history", params={"days": 2})).json()
        assert body["days"] == 2
        assert body["history"][0]["date"] == dt.datetime.now(dt.UTC).date().isoformat()
        assert body["history"][0]["usage"]["requests"] == 1

    @pytest.mark.parametrize("days", [-1, 367])
    async def test_a_history_that_is_none_is_refused_by_name(self, caller: Caller, days: int):
        reply = await caller.get("/api/v0.2/usage/history", params={"days": days})
        assert reply.status_code == 400
        assert "days: must be 1 to 366" in reply.json()["message"]

    @pytest.mark.parametrize(
        ("group", "wanted"),
        [
            ("model", {"openai/gpt-4o", "local/local-echo"}),
            ("provider", {"openai", "local"}),
            ("day", {dt.datetime.now(dt.UTC).date().isoformat()}),
        ],
    )
    async def test_any_time_is_summed_up_by_what_is_named(self, caller: Caller, group: str, wanted: set[str]):
        await spend(caller)
        await spend(caller, "local-echo", "local")
        rows = (await caller.get(USAGE, params={"group_by": group})).json()["rows"]
        assert {row["group"] for row in rows} == wanted
        assert sum(row["requests"] for row in rows) == 2

    async def test_by_key_and_by_user(self, caller: Caller, mesh: Mesh):
        other = await mesh.new_key(caller.user_id)
        await spend(caller, "local-echo", "local")
        await spend(other, "local-echo", "local")
        rows = (await caller.get(USAGE, params={"group_by": "key"})).json()["rows"]
        assert {row["group"] for row in rows} == {caller.key_id, other.key_id}
        rows = (await caller.get(USAGE, params={"group_by": "user"})).json()["rows"]
        assert [(row["group"], row["requests"]) for row in rows] == [(caller.user_id, 2)]

    async def test_a_user_sees_no_other_and_an_administrator_sees_all(self, caller: Caller, mesh: Mesh):
        other = await mesh.new_caller()
        await spend(other, "local-echo", "local")
        assert (await caller.get(USAGE)).json()["rows"][0]["requests"] == 0
        assert (await caller.get(USAGE, params={"user_id": other.user_id})).status_code == 404
        rows = (await mesh.admin.get(USAGE, params={"group_by": "user"})).json()["rows"]
        assert other.user_id in {row["group"] for row in rows}
        mine = (await mesh.admin.get(USAGE, params={"user_id": other.user_id})).json()["rows"]
        assert mine[0]["requests"] == 1

    @pytest.mark.parametrize(
        ("params", "says"),
        [
            ({"group_by": "colour"}, "group_by: must be one of key, user, model, provider, day"),
            ({"from": "yesterday"}, "from: must be a date such as"),
            ({"to": "2026-11-29T12:00:00"}, "to: must say its zone"),
            ({"from": "2026-11-02", "to": "2026-11-01"}, "from: must be before to"),
            ({"user_id": "me"}, "user_id: must be an id"),
            ({"from": "0001-01-01T00:00:00+14:00"}, "from: must be within the years 1 to 9999"),
            ({"to": "9999-12-31T23:59:59-14:00"}, "to: must be within the years 1 to 9999"),
        ],
    )
    async def test_a_query_that_is_none_says_what_would_be_right(self, caller: Caller, params: Any, says: str):
        reply = await caller.get(USAGE, params=params)
        assert reply.status_code == 400
        assert says in reply.json()["message"]

    async def test_limits_tell_what_is_left(self, mesh: Mesh):
        user = (await mesh.admin.post("/api/v1/users", {"email": f"{uuid.uuid4().hex}@gaia.test"})).json()
        body = {
            "user_id": user["id"],
            "name": "limited",
            "scopes": ["chat:write", "usage:read"],
            "limits": {"monthly_budget_usd": 5.25, "requests_per_minute": 90},
            "allowed_models": ["gpt-4o"],
        }
        made = (await mesh.admin.post("/api/v1/api-keys", body)).json()
        limited = Caller(mesh.http, user["id"], made["id"], made["key"])
        await spend(limited)
        limits = (await limited.get("/api/v0.2/usage/limits")).json()
        assert (limits["requests_per_minute"], limits["allowed_models"]) == (90, ["gpt-4o"])
        spent, left = (Decimal(limits["key"][name]) for name in ("spent_usd", "remaining_usd"))
        assert spent > 0
        assert spent + left == Decimal("5.25")
        assert limits["key"]["reserved_usd"] == "0"
        assert limits["user"]["monthly_budget_usd"] is None
        assert limits["user"]["spent_usd"] == limits["key"]["spent_usd"]

    async def test_it_needs_its_scope(self, mesh: Mesh):
        blind = await mesh.new_caller(["chat:write"])
        assert (await blind.get("/api/v0.2/usage/current")).status_code == 403


class TestPerformance:
    async def test_what_was_measured_is_told(self, caller: Caller):
        await spend(caller)
        summary = (await caller.get("/api/v0.2/performance/summary")).json()
        assert summary["performance"]["requests"] == 1
        assert summary["performance"]["p50_response_time_ms"] > 0
        providers = (await caller.get("/api/v0.2/performance/providers")).json()["providers"]
        assert set(providers) == {"openai"}
        assert providers["openai"]["avg_response_time_ms"] > 0
        live = (await caller.get("/api/v0.2/performance/live")).json()
        assert (live["active_requests"], live["requests_last_minute"]) == (0, 1)
        health = (await caller.get("/api/v0.2/performance/health")).json()
        assert health["status"] in ("healthy", "degraded", "unhealthy")
        assert {"openai", "claude", "local"} <= set(health["providers"])

    async def test_what_was_not_measured_is_null(self, caller: Caller):
        summary = (await caller.get("/api/v0.2/performance/summary")).json()
        assert (summary["performance"]["requests"], summary["performance"]["p50_response_time_ms"]) == (0, None)

    async def test_providers_have_statistics(self, caller: Caller):
        reply = await spend(caller)
        stats = (await caller.get("/api/v0.2/providers/stats")).json()
        [openai] = stats["provider_stats"].values()
        assert set(openai) == {
            "requests_count",
            "total_tokens",
            "total_cost",
            "avg_response_time_ms",
            "error_count",
            "error_rate",
            "last_request",
        }
        assert openai["total_tokens"] == reply["usage"]["total_tokens"]
        assert openai["total_cost"] > 0
        assert stats["summary"]["total_requests"] == 1
        assert (await caller.get("/api/v0.2/providers/openai/stats")).json() == openai
        assert (await caller.get("/api/v0.2/providers/nobody/stats")).status_code == 404


async def gaia(mesh: Mesh, *arguments: str) -> tuple[int, str]:
    """Runs the command line against the mesh's database; returns its exit code and output."""
    command = [sys.executable, "-m", "deploy.cli.main", *arguments]
    environment = {**os.environ, "DATABASE_URL": mesh.owner_url}
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


class TestReconciling:
    async def test_a_ledger_that_adds_up_and_one_that_does_not(self, caller: Caller, mesh: Mesh):
        await spend(caller)
        code, out = await gaia(mesh, "usage", "reconcile", "--json")
        report = json.loads(out)
        assert (code, report["differences"]) == (0, 0), report
        assert report["calls"] > 0
        connection = await asyncpg.connect(mesh.owner_url)
        try:
            owner = uuid.UUID(caller.user_id)
            await connection.execute("UPDATE ledger SET cost_usd = cost_usd + 1 WHERE user_id = $1", owner)
            code, out = await gaia(mesh, "usage", "reconcile", "--json")
            found = json.loads(out)
            assert code == 1
            # The call itself, and what its key, its user and the platform have spent.
            assert found["differences"] == 4
            assert found["details"][0]["what"].startswith("call ")
            await connection.execute(
                "UPDATE ledger SET cost_usd = cost_usd - 1, output_tokens = output_tokens + 1 WHERE user_id = $1", owner
            )
            found = json.loads((await gaia(mesh, "usage", "reconcile", "--json"))[1])
            [detail] = found["details"]
            assert detail["what"].startswith("output tokens of call ")
            assert int(detail["booked"]) == int(detail["computed"]) + 1
            await connection.execute("UPDATE ledger SET output_tokens = output_tokens - 1 WHERE user_id = $1", owner)
        finally:
            await connection.close()
        assert (await gaia(mesh, "usage", "reconcile"))[0] == 0


class TestPersonalData:
    async def test_all_that_is_kept_of_a_user_is_given_out_and_taken_away(
        self, caller: Caller, mesh: Mesh, tmp_path: Path
    ):
        word = f"word{uuid.uuid4().hex}"
        once = {"idempotency-key": word}
        chat = {"message": f"please greet {word}", "model": "local-echo", "provider": "local"}
        assert (await caller.post(CHAT, chat, headers=once)).status_code == 200
        persona = {"name": word, "personality_traits": {"level": 7}}
        assert (await caller.post("/api/v0.2/personas", persona)).status_code == 200
        name = {"name": word, "user_id": caller.user_id, "scopes": ["chat:read"]}
        assert (await mesh.admin.post("/api/v1/api-keys", name)).status_code == 201
        file = tmp_path / "export.ndjson"
        file.touch(0o644)
        code, _ = await gaia(mesh, "users", "export", caller.user_id, "--output", str(file))
        assert code == 0
        assert file.stat().st_mode & 0o777 == 0o600
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        tables = [row["table"] for row in rows]
        assert tables.count("chat_messages") == 2
        kept = {"user", "api_keys", "personas", "conversations", "ledger", "idempotency_records", "audit_events"}
        assert kept <= set(tables)
        assert any(row.get("content") == f"please greet {word}" for row in rows)
        assert [row["personality_traits"] for row in rows if row["table"] == "personas"] == [{"level": 7}]
        assert not any("key_hash" in row for row in rows)
        [answer] = [base64.b64decode(row["answer"]) for row in rows if row["table"] == "idempotency_records"]
        assert word.encode() in answer

        code, out = await gaia(mesh, "users", "erase", caller.user_id, "--yes", "--json")
        assert code == 0
        assert json.loads(out)["conversations"] == 1

        async def forgotten() -> bool:
            return (await caller.get("/api/v0.2/usage/current")).status_code == 401

        await eventually(forgotten)
        left = await self.rows_with(mesh, caller.user_id)
        assert set(left) == {"ledger", "audit_events", "revocations"}
        assert {row["address"] for row in left["audit_events"]} == {""}
        assert "user.erase" in {row["action"] for row in left["audit_events"]}
        assert await self.rows_with(mesh, word) == {}
        code, _ = await gaia(mesh, "users", "export", caller.user_id)
        assert code == 1
        assert (await gaia(mesh, "usage", "reconcile"))[0] == 0, "the accounts stay whole"

    async def test_the_audit_trail_takes_no_change_afterwards_either(self, caller: Caller, mesh: Mesh):
        assert (await gaia(mesh, "users", "erase", caller.user_id, "--yes"))[0] == 0
        connection = await asyncpg.connect(mesh.owner_url)
        try:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="only ever added to"):
                await connection.execute("DELETE FROM audit_events")
        finally:
            await connection.close()

    async def rows_with(self, mesh: Mesh, text: str) -> dict[str, list[Any]]:
        """Returns the rows of all tables in which a text stands, by their table."""
        connection = await asyncpg.connect(mesh.owner_url)
        try:
            tables = await connection.fetch(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1"
            )
            found = {}
            for (table,) in tables:
                held = "to_jsonb(t)::text LIKE '%' || $1 || '%'"
                if table == "idempotency_records":
                    held = f"({held} OR position(convert_to($1, 'UTF8') IN answer) > 0)"
                query = f"SELECT to_jsonb(t)::text FROM {table} t WHERE {held}"
                rows = [json.loads(row) for (row,) in await connection.fetch(query, text)]
                if rows:
                    found[str(table)] = rows
            return found
        finally:
            await connection.close()
