"""What a call costs beyond its tokens, and in the way in which it was served."""

from decimal import Decimal
from typing import Any

import orjson
import pytest

from tests.integration.chat.conftest import Client
from tests.integration.chat.scripted_provider import (
    Exchange,
    ScriptedProvider,
    claude_message,
    openai_chunk,
    openai_completion,
    openai_usage,
)
from tests.integration.chat.test_ledger import ASK, ledger_of, spent_by
from tests.integration.chat.test_response_service import respond

SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}}
RUN = {"type": "code_interpreter_call", "id": "ci_1", "container_id": "cntr_1", "code": "1"}


def response(*items: Any, **more: Any) -> dict[str, Any]:
    """A response of 7 and 3 tokens, which are 0.0000475 dollars of gpt-4o's."""
    usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    return {"id": "resp_1", "status": "completed", "output": list(items), "usage": usage, **more}


class TestTheProvidersTools:
    async def test_searches_are_priced_by_the_search(self, client: Client, openai_upstream: ScriptedProvider):
        openai_upstream.script = lambda exchange: exchange.reply(200, response(SEARCH, SEARCH))
        await respond(client, {"model": "gpt-4o", "input": "hi", "tools": [{"type": "web_search"}]})
        [row] = await ledger_of(client)
        assert row["cost_usd"] == Decimal("0.0000475") + 2 * Decimal("0.01") == await spent_by(client)
        assert orjson.loads(row["pricing"])[0]["usage"]["web_searches"] == 2

    @pytest.mark.parametrize(
        ("aside", "cost"),
        [
            # A million tokens at 2 dollars, and as many beside them.
            ({"type": "compaction", "input_tokens": 1_000_000, "output_tokens": 0}, Decimal(4)),
            # At the price of another model.
            ({"type": "advisor_message", "input_tokens": 9, "output_tokens": 9, "model": "claude-opus-5"}, None),
        ],
        ids=["summing up", "advice"],
    )
    async def test_what_is_not_in_the_counts_of_a_message_is_booked(
        self, client: Client, claude_upstream: ScriptedProvider, aside: Any, cost: Decimal | None
    ):
        own = {"type": "message", "input_tokens": 1_000_000, "output_tokens": 0}
        usage = {"input_tokens": 1_000_000, "output_tokens": 0, "iterations": [aside, own]}
        message = {**claude_message([{"type": "text", "text": "hello"}]), "usage": usage}
        claude_upstream.script = lambda exchange: exchange.reply(200, message)
        ask = {"model": "claude-sonnet-5-5", "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}
        assert [part async for part in client.message_call(ask)]
        [row] = await ledger_of(client)
        assert row["cost_usd"] == cost

    async def test_claudes_searches_too_streamed_or_not(self, client: Client, claude_upstream: ScriptedProvider):
        told = {"input_tokens": 1_000_000, "output_tokens": 0, "server_tool_use": {"web_search_requests": 3}}
        block = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {}}
        message = {**claude_message([block]), "usage": told}
        events = [
            {
                "type": "message_start",
                "message": {**message, "content": [], "usage": {"input_tokens": 1, "output_tokens": 0}},
            },
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": told},
            {"type": "message_stop"},
        ]

        async def script(exchange: Exchange) -> None:
            if exchange.body.get("stream"):
                await exchange.begin()
                await exchange.events(*events)
                await exchange.end()
            else:
                await exchange.reply(200, message)

        claude_upstream.script = script
        ask = {"model": "claude-sonnet-5-5", "max_tokens": 9, "messages": ASK["messages"]}
        for stream in (False, True):
            assert [part async for part in client.message_call({**ask, "stream": stream})]
        # Two dollars a million tokens, and ten a thousand searches.
        assert [row["cost_usd"] for row in await ledger_of(client)] == [Decimal("2.03")] * 2

    async def test_a_completion_that_searches_is_not_booked_as_one_that_does_not(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("found"))
        await client.complete({**ASK, "web_search_options": {}})
        await client.complete({**ASK, "model": "gpt-4o-search-preview"})
        known, unknown = await ledger_of(client)
        assert known["cost_usd"] == Decimal("0.0100475")
        assert (unknown["cost_usd"], unknown["input_tokens"]) == (None, 7)

    async def test_what_has_no_published_price_makes_the_cost_unknown_and_not_low(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = lambda exchange: exchange.reply(200, response(RUN))
        await respond(client, {"model": "gpt-4o", "input": "hi", "tools": [{"type": "code_interpreter"}]})
        [row] = await ledger_of(client)
        assert (row["cost_usd"], row["input_tokens"], row["output_tokens"]) == (None, 7, 3)
        assert orjson.loads(row["pricing"])[0]["usage"]["unpriced_calls"] == 1


class TestTiers:
    async def test_a_call_is_priced_by_the_tier_that_it_was_served_in(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        ask = {"model": "gpt-5", "input": "hi"}
        for asked, told in [("priority", "default"), ("auto", "priority"), ("flex", "flex"), ("flex", None)]:
            more = {} if told is None else {"service_tier": told}
            openai_upstream.script = lambda exchange, more=more: exchange.reply(200, response(**more))
            await respond(client, {**ask, "service_tier": asked})
        # 7 and 3 tokens at 1.25 and 10 dollars a million, twice that, and half of it.
        common = Decimal("0.00003875")
        assert [row["cost_usd"] for row in await ledger_of(client)] == [common, 2 * common, common / 2, common / 2]

    async def test_streams_tell_it_with_their_usage(self, client: Client, openai_upstream: ScriptedProvider):
        async def script(exchange: Exchange) -> None:
            await exchange.begin()
            told = {**openai_usage(7, 3), "service_tier": "default"}
            await exchange.events(openai_chunk({"content": "x"}), openai_chunk({}, "stop"), told, b"[DONE]")
            await exchange.end()

        openai_upstream.script = script
        await client.stream({**ASK, "model": "gpt-5", "service_tier": "priority", "stream": True})
        [row] = await ledger_of(client)
        assert row["cost_usd"] == Decimal("0.00003875")

    async def test_a_budget_holds_a_cheaper_tier_as_if_it_were_the_common_one(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = lambda exchange: exchange.reply(200, response(service_tier="default"))
        await client.rows("UPDATE users SET monthly_budget_usd = 1 WHERE email = $1", await client.email())
        for tier in ("flex", "default"):
            body = {"model": "gpt-5", "input": "hi", "service_tier": tier, "max_output_tokens": 100}
            await respond(client, body)
        flex, common = [row["reserved_usd"] for row in await ledger_of(client)]
        # The word itself is longer.
        assert common - Decimal("0.00001") < flex <= common
