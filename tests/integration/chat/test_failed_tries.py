"""What tries used that failed: it is booked with the call, and no budget is overdrawn by trying again."""

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import grpc
import pytest
from pydantic import SecretStr

from shared.rpc.channel import connect
from tests.integration.chat.conftest import PROVIDER_KEY, Client, Running, outcome, refusal
from tests.integration.chat.scripted_provider import Exchange, ScriptedProvider, claude_message, claude_stream
from tests.integration.chat.test_budgets import limit, reserved_by
from tests.integration.chat.test_ledger import ledger_of, spent_by
from tests.integration.chat.test_response_service import OPENAI, call, respond
from tests.support.auth import Auth

ASK = {"model": "claude-sonnet-5-5", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}], "stream": True}
USAGE = {"input_tokens": 500, "output_tokens": 0}
# 500 tokens at 2 dollars a million, and 10 at 10.
TRY, REPLY = Decimal("0.001"), Decimal("0.0011")


@pytest.fixture(scope="module")
async def persistent(
    running_chat: Running, openai_upstream: ScriptedProvider, claude_upstream: ScriptedProvider
) -> AsyncIterator[str]:
    """The address of a service that tries again, at once."""
    async with running_chat(
        openai_api_key=SecretStr(PROVIDER_KEY),
        openai_base_url=openai_upstream.url + "/v1",
        anthropic_api_key=SecretStr(f"{PROVIDER_KEY},sk-second,sk-third"),
        anthropic_base_url=claude_upstream.url,
        provider_retries=2,
        provider_circuit_failures=0,
    ) as running:
        yield running


@pytest.fixture
async def client(persistent: str, auth: Auth) -> AsyncIterator[Client]:
    key = await auth.new_key()
    async with connect(persistent) as channel:
        yield Client(channel, (("x-api-key", key),), auth.owner_url)


async def die(exchange: Exchange) -> None:
    """Tells what was read, and dies before the first word."""
    await exchange.begin()
    await exchange.events({"type": "message_start", "message": {**claude_message([]), "usage": USAGE}})
    exchange.cut()


async def answer(exchange: Exchange) -> None:
    start, *events = claude_stream(["hello"])
    start["message"]["usage"] = USAGE
    events[-2]["usage"] = {"output_tokens": 10}
    await exchange.begin()
    await exchange.events(start, *events)
    await exchange.end()


def deaths(count: int) -> Any:
    """Dies so many times, then answers."""
    left = count

    async def script(exchange: Exchange) -> None:
        nonlocal left
        left -= 1
        await (die if left >= 0 else answer)(exchange)

    return script


class TestStreams:
    async def test_what_failed_tries_reported_is_booked_with_the_reply(
        self, client: Client, claude_upstream: ScriptedProvider
    ):
        claude_upstream.script = deaths(2)
        assert [part async for part in client.message_call(ASK)]
        [row] = await ledger_of(client)
        assert (row["state"], row["cost_usd"]) == ("done", 2 * TRY + REPLY)
        assert len(claude_upstream.requests) == 3

    async def test_and_when_no_try_succeeds(self, client: Client, claude_upstream: ScriptedProvider):
        claude_upstream.script = die
        await refusal(client.message_call(ASK))
        [row] = await ledger_of(client)
        assert (row["state"], row["cost_usd"]) == ("failed", 3 * TRY)

    async def test_a_budget_pays_for_further_tries_as_long_as_it_holds_their_worst(
        self, client: Client, claude_upstream: ScriptedProvider
    ):
        claude_upstream.script = deaths(1)
        await limit(client, limits={"monthly_budget_usd": "1"})
        assert [part async for part in client.message_call(ASK)]
        [row] = await ledger_of(client)
        assert row["cost_usd"] == TRY + REPLY == await spent_by(client)
        assert row["reserved_usd"] > TRY + REPLY
        assert await reserved_by(client) == 0

    async def test_and_no_longer(self, client: Client, claude_upstream: ScriptedProvider):
        claude_upstream.script = deaths(1)
        # Enough for the worst that one try may cost (0.0045), and not for what another one already did.
        budget = Decimal("0.0046")
        await limit(client, limits={"monthly_budget_usd": str(budget)})
        _, error = await outcome(client.message_call(ASK))
        assert error.code is grpc.StatusCode.INTERNAL
        assert len(claude_upstream.requests) == 1
        assert (await spent_by(client), await reserved_by(client)) == (TRY, Decimal(0))

    async def test_many_calls_that_are_tried_again_spend_not_one_cent_over(
        self, client: Client, claude_upstream: ScriptedProvider
    ):
        failed: set[str] = set()

        async def script(exchange: Exchange) -> None:
            # The first try of each call dies.
            word = str(exchange.body["messages"])
            await (answer if word in failed else die)(exchange)
            failed.add(word)

        claude_upstream.script = script
        budget = Decimal("0.012")
        await limit(client, limits={"monthly_budget_usd": str(budget)})
        bodies = [{**ASK, "messages": [{"role": "user", "content": f"{number:02}"}]} for number in range(20)]

        async def ask(body: Any) -> bool:
            try:
                return bool([part async for part in client.message_call(body)])
            except grpc.aio.AioRpcError:
                return False

        await asyncio.gather(*(ask(body) for body in bodies))
        assert 0 < await spent_by(client) <= budget
        assert await reserved_by(client) == 0


class TestWhole:
    async def test_a_response_that_failed_is_booked_with_what_it_used(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
        failed = {"status": "failed", "error": {"code": "server_error", "message": "no"}, "output": [], "usage": usage}
        text = {"type": "message", "id": "msg_up", "content": [{"type": "output_text", "text": "hello"}]}
        whole = {"id": "resp_tried", "status": "completed", "output": [text], "usage": usage}
        answers = [failed, whole]
        openai_upstream.script = lambda exchange: exchange.reply(200, answers.pop(0))
        await respond(client, OPENAI)
        answers += [failed] * 3
        await refusal(call(client, OPENAI))
        once = Decimal("0.0000475")
        rows = await ledger_of(client)
        assert [(row["state"], row["cost_usd"], row["is_estimate"]) for row in rows] == [
            ("done", 2 * once, False),
            ("failed", 3 * once, False),
        ]
