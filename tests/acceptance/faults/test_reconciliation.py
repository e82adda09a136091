"""What clients counted, what the ledger says and what the provider noted are the same, whatever broke in between."""

import asyncio
import json
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from services.chat.ledger import State
from tests.acceptance.test_usage import gaia
from tests.support.mesh import Caller, Mesh, running_mesh
from tests.support.postgres import PostgresServer
from tests.support.simulator import Simulator, running_simulator
from tests.support.waiting import eventually

CALLS = 90
AT_ONCE = 8
KILL_AFTER = 30
CHAOS = {"dropRate": 0.06, "malformedRate": 0.06, "rateLimitRate": 0.06, "disconnectRate": 0.06}
INPUT_TOKENS, OUTPUT_TOKENS = 17, 9
# 2.50 and 10 dollars a million.
COST = Decimal("0.0001325")
SECONDS = "4"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client saw of a call: its tokens where the answer came whole."""

    text: str
    tokens: tuple[int, int] | None


@pytest.fixture
async def chaotic(tmp_path: Path) -> AsyncIterator[Simulator]:
    """A provider that drops, garbles, refuses and hangs up on some of its calls."""
    async with running_simulator(tmp_path) as simulator:
        (await simulator.http.post("/__aimock/chaos", json=CHAOS)).raise_for_status()
        yield simulator


@pytest.fixture
async def mortal(chaotic: Simulator, postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[Mesh]:
    """A mesh in front of it, whose calls are given up soon after their deadline."""
    database = postgres.create_database()
    chat = {
        "OPENAI_API_KEY": "sk-simulated",
        "OPENAI_BASE_URL": chaotic.openai_url,
        "GAIA_LEDGER_GRACE_SECONDS": "0.5",
    }
    async with running_mesh(tmp_path, postgres, database, {"chat": chat}) as running:
        yield running
    postgres.drop_database(database)


async def ask(caller: Caller, number: int) -> Seen:
    """Makes one call, every other one a stream, and counts what comes back."""
    text = f"please count {number:04d}"
    body: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], "max_tokens": 50}
    if number % 2:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    headers = {"X-Request-Timeout": SECONDS}
    try:
        reply = await caller.post("/v1/chat/completions", body, headers=headers)
    except httpx.HTTPError:
        return Seen(text, None)
    if reply.status_code != 200:
        return Seen(text, None)
    if not number % 2:
        return Seen(text, tokens(reply.json()["usage"]))
    if not reply.text.endswith("data: [DONE]\n\n"):
        return Seen(text, None)
    events = [json.loads(line.removeprefix("data: ")) for line in reply.text.split("\n\n")[:-2] if line[0] != ":"]
    return Seen(text, tokens(events[-1]["usage"]))


def tokens(usage: Any) -> tuple[int, int]:
    return usage["prompt_tokens"], usage["completion_tokens"]


async def test_clients_ledger_and_provider_agree_under_chaos_and_a_sudden_death(mortal: Mesh, chaotic: Simulator):
    caller = await mortal.new_caller()
    turn = asyncio.Semaphore(AT_ONCE)
    killing: asyncio.Task[None] | None = None
    done = 0

    async def answers() -> bool:
        return (await caller.get("/v1/models")).status_code == 200

    async def kill() -> None:
        await mortal.restart("chat", signal.SIGKILL)
        # Calls go by a connection of their own, which is made again within a second.
        await eventually(answers)

    async def one(number: int) -> Seen:
        nonlocal done, killing
        async with turn:
            seen = await ask(caller, number)
            done += 1
            if done == KILL_AFTER:
                killing = asyncio.ensure_future(kill())
            elif killing is not None and not killing.done():
                # Whoever is refused meanwhile does not use up all calls before the service is back.
                await asyncio.wait([killing])
            return seen

    numbers = list(range(CALLS))
    random.Random(1).shuffle(numbers)
    seen = await asyncio.gather(*map(one, numbers))
    assert killing is not None
    await killing

    connection = await asyncpg.connect(mortal.owner_url)
    try:

        async def settled() -> bool:
            return not await connection.fetchval("SELECT count(*) FROM reservations")

        await eventually(settled, seconds=20)
        ledger = await connection.fetch(
            "SELECT l.*, (SELECT m.content FROM chat_messages m WHERE m.conversation_id = l.id AND role = 'user') "
            "AS text FROM ledger l"
        )
        balance = await connection.fetchrow("SELECT * FROM budget_balances WHERE kind = 'platform'")
    finally:
        await connection.close()
    journal = Counter(text for entry in await chaotic.journal("please count") if (text := text_in(entry)) is not None)
    states = Counter(State(row["state"]) for row in ledger)
    booked = {row["text"]: row for row in ledger if row["state"] == State.DONE}
    whole = {one.text: one.tokens for one in seen if one.tokens is not None}

    assert len(whole) > CALLS / 3, "chaos left too little to compare"
    assert states[State.INTERRUPTED] > 0, "nothing was under way when the service died"
    # What a client was told is in the ledger with the same tokens, each call once.
    assert len(booked) == states[State.DONE]
    assert whole == {text: (booked[text]["input_tokens"], booked[text]["output_tokens"]) for text in whole}
    assert set(whole.values()) == {(INPUT_TOKENS, OUTPUT_TOKENS)}
    # What the ledger books as whole was asked of the provider, and costs what it comes to.
    assert booked.keys() <= journal.keys()
    assert {row["cost_usd"] for row in booked.values()} == {COST}
    # What the provider was asked is in the ledger, whatever became of it: one row for each call that was dispatched.
    dispatched = [row for row in ledger if row["state"] != State.CACHED]
    assert len(journal) <= len(dispatched) <= CALLS
    assert balance is not None
    assert balance["spent_usd"] == sum(row["cost_usd"] for row in ledger if row["cost_usd"] is not None)
    assert balance["reserved_usd"] == 0
    code, out = await gaia(mortal, "usage", "reconcile", "--json")
    report = json.loads(out)
    assert (code, report["differences"]) == (0, 0), report
    assert report["interrupted"] == states[State.INTERRUPTED]


def text_in(entry: Any) -> str | None:
    """Returns what the user said in a request that the provider noted."""
    messages = entry["body"].get("messages") or []
    return next((str(one["content"]) for one in messages if one["role"] == "user"), None)
