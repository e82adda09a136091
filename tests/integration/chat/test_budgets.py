"""Budgets, allowed models and token rates hold a call before anybody is paid for it."""

import asyncio
from decimal import Decimal
from typing import Any

import grpc
import orjson
import pytest
from gaia.chat.v1.chat_service_pb2 import ChatRequest
from gaia.chat.v1.model_service_pb2 import ListDialectModelsRequest, ListModelsRequest, RecommendModelRequest

from services.chat.model_settings import ModelSettings, PriceSettings
from services.chat.settings import CompatibleEndpoint
from shared.rpc.channel import connect
from tests.integration.chat.conftest import Client, Running, refusal, until
from tests.integration.chat.scripted_provider import ScriptedProvider, claude_message, openai_completion
from tests.integration.chat.test_ledger import ledger_of, spent_by
from tests.support.auth import Auth

ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10}
# A call of ASK costs at most (1,000 of overhead, its own bytes) x 2.50 and 10 x 10 dollars a million.
ONE_CALL = Decimal("0.0028")


async def limit(client: Client, **permissions: Any) -> None:
    """Gives the client's key limits and allowed models."""
    await client.rows(
        "UPDATE api_keys SET permissions = permissions || $2::jsonb "
        "WHERE key_hash = encode(sha256(convert_to($1, 'UTF8')), 'hex')",
        client.metadata[0][1],
        orjson.dumps(permissions).decode(),
    )


async def reserved_by(client: Client) -> Decimal:
    """Returns what is still held for the client's user."""
    [row] = await client.rows(
        "SELECT coalesce(sum(reserved_usd), 0) AS reserved FROM budget_balances b JOIN users u ON u.id = b.owner "
        "WHERE kind = 'user' AND u.email = $1",
        await client.email(),
    )
    return Decimal(row["reserved"])


def costly(exchange):
    """A reply that uses all that it may: 10 tokens out, and as many in as the request can have at the most."""
    usage = {"prompt_tokens": 1060, "completion_tokens": 10, "total_tokens": 1070}
    return exchange.reply(200, openai_completion("x", usage=usage))


class TestBudgets:
    async def test_twenty_calls_at_once_against_a_nearly_empty_budget_spend_not_one_cent_over(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        budget = ONE_CALL * 3
        await limit(client, limits={"monthly_budget_usd": str(budget)})
        openai_upstream.script = costly
        results = await asyncio.gather(*(client.complete(ASK) for _ in range(20)), return_exceptions=True)
        good = [result for result in results if not isinstance(result, BaseException)]
        refused = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
        assert len(good) == len(openai_upstream.requests) == 3
        assert {error.code() for error in refused} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert 0 < await spent_by(client) <= budget
        assert await reserved_by(client) == 0

    async def test_what_a_call_did_not_use_is_free_for_the_next(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        await limit(client, limits={"monthly_budget_usd": str(ONE_CALL + Decimal("0.0004"))})
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("cheap"))
        for _ in range(5):
            await client.complete(ASK)
        assert await spent_by(client) == 5 * Decimal("0.0000475")

    async def test_a_failed_call_gives_its_money_back(self, client: Client, openai_upstream: ScriptedProvider):
        await limit(client, limits={"monthly_budget_usd": str(ONE_CALL)})
        openai_upstream.script = lambda exchange: exchange.reply(400, {"error": {"message": "no"}})
        for _ in range(3):
            assert (await refusal(client.completion_call(ASK))).code is grpc.StatusCode.INVALID_ARGUMENT

    async def test_a_budget_of_zero_refuses_and_says_what_would_help(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        await limit(client, limits={"monthly_budget_usd": "0"})
        error = await refusal(client.completion_call(ASK))
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "this key's budget of 0 USD a month has 0 left" in error.message
        assert "max_tokens" in error.message
        assert openai_upstream.requests == []
        assert await ledger_of(client) == []
        await client.complete({**ASK, "model": "local-echo"})

    async def test_users_and_the_platform_have_budgets_too(
        self, running_chat: Running, auth: Auth, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = costly
        settings = {"openai_api_key": "k", "openai_base_url": openai_upstream.url}
        async with (
            running_chat(**settings, user_monthly_budget_usd=ONE_CALL) as address,
            connect(address) as channel,
        ):
            client = Client(channel, (("x-api-key", await auth.new_key()),), auth.owner_url)
            await client.complete(ASK)
            assert "this user's budget" in (await refusal(client.completion_call(ASK))).message
            # One that the user has of its own goes before that of the configuration.
            other = Client(channel, (("x-api-key", await auth.new_key()),), auth.owner_url)
            await other.rows("UPDATE users SET monthly_budget_usd = 1 WHERE email = $1", await other.email())
            await other.complete(ASK)
            await other.complete(ASK)
        async with (
            running_chat(**settings, platform_monthly_budget_usd=Decimal(0)) as address,
            connect(address) as channel,
        ):
            client = Client(channel, (("x-api-key", await auth.new_key()),), auth.owner_url)
            assert "the platform's budget" in (await refusal(client.completion_call(ASK))).message

    async def test_a_model_without_a_price_cannot_be_held_by_a_budget(
        self, running_chat: Running, auth: Auth, openai_upstream: ScriptedProvider
    ):
        endpoint = CompatibleEndpoint(id="mine", base_url=openai_upstream.url, models=("house-model",))
        async with running_chat(openai_compatible=(endpoint,)) as address, connect(address) as channel:
            client = Client(channel, (("x-api-key", await auth.new_key()),), auth.owner_url)
            await limit(client, limits={"monthly_budget_usd": "5"})
            error = await refusal(client.completion_call({**ASK, "model": "house-model"}))
            assert error.code is grpc.StatusCode.PERMISSION_DENIED
            assert "the price of house-model is not known" in error.message
        assert openai_upstream.requests == []

    async def test_a_model_that_searches_for_every_reply_cannot_be_held_where_a_search_has_no_price(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        await limit(client, limits={"monthly_budget_usd": "5"})
        error = await refusal(client.completion_call({**ASK, "model": "gpt-4o-search-preview"}))
        assert error.code is grpc.StatusCode.PERMISSION_DENIED
        assert "the price of gpt-4o-search-preview is not known" in error.message
        assert openai_upstream.requests == []

    @pytest.mark.parametrize("wish", [{}, {"auto_select_model": True, "priority": "quality"}])
    async def test_a_model_that_is_chosen_for_a_client_has_a_price(
        self, running_chat: Running, auth: Auth, openai_upstream: ScriptedProvider, wish: dict[str, Any]
    ):
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("hello"))
        endpoint = CompatibleEndpoint(id="mine", base_url=openai_upstream.url, models=("house-model", "priced"))
        price = ModelSettings(prices=(PriceSettings(input=Decimal(1), output=Decimal(1)),), max_tokens=100)
        settings = {"openai_compatible": (endpoint,), "models": {"priced": price}}
        async with running_chat(**settings) as address, connect(address) as channel:
            client = Client(channel, (("x-api-key", await auth.new_key()),), auth.owner_url)
            await limit(client, limits={"monthly_budget_usd": "5"})
            reply = await client.call(client.chat.Chat, ChatRequest(message="hi", **wish))
            assert reply.model == "priced"


class TestAllowedModels:
    @pytest.mark.parametrize("allowed", ["gpt-4o", "openai/gpt-4o"])
    async def test_a_key_uses_the_models_that_it_may(
        self, client: Client, openai_upstream: ScriptedProvider, allowed: str
    ):
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("hello"))
        await limit(client, allowed_models=[allowed])
        await client.complete(ASK)

    @pytest.mark.parametrize("wish", [{}, {"auto_select_model": True, "priority": "quality"}, {"provider": "openai"}])
    async def test_a_client_that_names_no_model_gets_one_that_it_may_use(
        self, client: Client, openai_upstream: ScriptedProvider, wish: dict[str, Any]
    ):
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("hello"))
        await limit(client, allowed_models=["gpt-4o"])
        reply = await client.call(client.chat.Chat, ChatRequest(message="hi", **wish))
        assert reply.model == "gpt-4o"
        listed = [{"role": "user", "content": "hi"}]
        assert (await client.combined(messages=listed, **wish))["provider"] == "openai"
        advice = await client.call(client.models.RecommendModel, RecommendModelRequest(message="hi"))
        assert (advice.recommended_model, list(advice.alternatives)) == ("gpt-4o", [])

    async def test_the_lists_hold_what_a_key_may_use(self, client: Client):
        await limit(client, allowed_models=["gpt-4o", "local/local-echo"])
        native = await client.call(client.models.ListModels, ListModelsRequest())
        assert [(one.id, one.provider) for one in native.models] == [("gpt-4o", "openai"), ("local-echo", "local")]
        assert native.total == 2
        for metadata in ((), (("anthropic-version", "2023-06-01"),)):
            request = ListDialectModelsRequest(limit=2)
            body = await client.models.ListDialectModels(request, metadata=(*client.metadata, *metadata))
            assert [one["id"] for one in orjson.loads(body.data)["data"]] == ["gpt-4o", "local-echo"]

    async def test_and_no_others_by_whatever_way(self, client: Client, openai_upstream: ScriptedProvider):
        await limit(client, allowed_models=["gpt-4o"])
        for call in (
            client.completion_call({**ASK, "model": "local-echo"}),
            client.combined_call({"message": "hi", "model": "local-echo"}),
            client.chat.Chat(ChatRequest(message="hi", model="local-echo"), metadata=client.metadata),
        ):
            error = await refusal(call)
            assert error.code is grpc.StatusCode.PERMISSION_DENIED
            assert "this key may not use local-echo; it may use gpt-4o" in error.message
        assert await ledger_of(client) == []

    async def test_a_fallback_is_no_way_around(
        self, client: Client, openai_upstream: ScriptedProvider, claude_upstream: ScriptedProvider
    ):
        openai_upstream.script = lambda exchange: exchange.reply(500, {})
        await limit(client, allowed_models=["gpt-4o"])
        request = ChatRequest(message="hi", model="gpt-4o", enable_fallback=True)
        await client.refused(client.chat.Chat, request)
        assert claude_upstream.requests == []


class TestTokenRate:
    async def test_a_key_that_used_its_tokens_waits(self, client: Client, openai_upstream: ScriptedProvider):
        usage = {"prompt_tokens": 40, "completion_tokens": 70, "total_tokens": 110}
        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("x", usage=usage))
        await limit(client, limits={"tokens_per_minute": 100})
        await client.complete(ASK)
        error = await refusal(client.completion_call(ASK))
        assert error.code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "100 tokens a minute" in error.message
        assert len(openai_upstream.requests) == 1


class TestChanges:
    async def test_what_costs_nothing_is_held_to_no_budget_not_even_an_overdrawn_one(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        openai_upstream.script = costly
        await client.complete(ASK)
        await limit(client, limits={"monthly_budget_usd": "0.0001"})

        async def refused() -> bool:
            # Whoever knows a key is told of its new budget within a second.
            try:
                await client.complete(ASK)
            except grpc.aio.AioRpcError as error:
                return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            return False

        await until(refused)
        assert await client.complete({**ASK, "model": "local-echo"})


class TestStandIns:
    async def test_a_model_that_cannot_be_paid_for_does_not_stand_in_and_does_not_forbid_the_call(
        self, client: Client, openai_upstream: ScriptedProvider, claude_upstream: ScriptedProvider
    ):
        # Without a limit, Claude is asked for 16,384 tokens, 17 cents of this model. GPT may go on for longer.
        claude_upstream.script = lambda exchange: exchange.reply(200, claude_message([{"type": "text", "text": "hey"}]))
        await limit(client, limits={"monthly_budget_usd": "1"})
        request = ChatRequest(message="hi", model="claude-sonnet-5-5", enable_fallback=True)
        assert (await client.call(client.chat.Chat, request)).response == "hey"
        claude_upstream.script = lambda exchange: exchange.reply(500, {})
        error = await client.refused(client.chat.Chat, request)
        assert error.code is grpc.StatusCode.INTERNAL
        assert openai_upstream.requests == []
        assert await reserved_by(client) == 0

    async def test_the_call_without_it_is_counted_once_in_the_rate_of_tokens(
        self, client: Client, claude_upstream: ScriptedProvider
    ):
        claude_upstream.script = lambda exchange: exchange.reply(200, claude_message([{"type": "text", "text": "hey"}]))
        await limit(client, limits={"monthly_budget_usd": "1", "tokens_per_minute": 1_500})
        # Some 1,000 tokens.
        request = ChatRequest(message="hi " * 1_000, model="claude-sonnet-5-5", enable_fallback=True)
        assert (await client.call(client.chat.Chat, request)).response == "hey"
