"""Providers and models through their gRPC doors."""

from collections.abc import AsyncIterator

import grpc
import orjson
import pytest
from gaia.chat.v1.chat_service_pb2 import ChatRequest, GetStreamStatusRequest
from gaia.chat.v1.model_service_pb2 import (
    CompareModelsRequest,
    GetDialectModelRequest,
    GetModelRequest,
    ListDialectModelsRequest,
    ListModelsRequest,
    ListStreamModelsRequest,
    RecommendModelRequest,
)
from gaia.chat.v1.provider_service_pb2 import (
    GetProviderHealthRequest,
    GetProviderRequest,
    ListProviderHealthRequest,
    ListProviderModelsRequest,
    ListProvidersRequest,
)

from shared.rpc.channel import connect
from tests.integration.chat.conftest import Client, Running, refusal
from tests.integration.chat.scripted_provider import ScriptedProvider, openai_completion
from tests.support.auth import Auth


@pytest.fixture(scope="module")
async def bare(running_chat: Running, auth: Auth) -> AsyncIterator[Client]:
    """A client of a service that has the local provider only."""
    async with running_chat() as address, connect(address) as channel:
        yield Client(channel, (("x-api-key", await auth.new_key()),), auth.owner_url)


class TestWithoutCredentials:
    async def test_a_provider_without_a_key_is_listed_but_offers_nothing(self, bare: Client):
        listed = await bare.providers.ListProviders(ListProvidersRequest(), metadata=bare.metadata)
        assert [(one.id, one.status, one.health, len(one.models)) for one in listed.providers] == [
            ("claude", "unconfigured", "unknown", 0),
            ("openai", "unconfigured", "unknown", 0),
            ("local", "available", "unknown", 1),
        ]
        assert (listed.total_providers, listed.health_status) == (3, "healthy")
        models = await bare.models.ListModels(ListModelsRequest(), metadata=bare.metadata)
        assert [model.id for model in models.models] == ["local-echo"]

    async def test_asking_it_names_the_setting_that_is_missing(self, bare: Client):
        request = ChatRequest(message="x", provider="claude")
        error = await refusal(bare.chat.Chat(request, metadata=bare.metadata))
        assert error.code is grpc.StatusCode.UNAVAILABLE
        assert "ANTHROPIC_API_KEY" in error.message

    async def test_the_local_provider_answers_when_nobody_else_can(self, bare: Client):
        reply = await bare.chat.Chat(ChatRequest(message="x"), metadata=bare.metadata)
        assert reply.provider == "local"
        assert "local development provider" in reply.response


class TestProviders:
    async def test_a_provider_is_found_by_its_alias(self, client: Client):
        found = await client.providers.GetProvider(GetProviderRequest(id="anthropic"), metadata=client.metadata)
        assert (found.provider.id, found.provider.name) == ("claude", "Anthropic Claude")
        assert "claude-haiku-5-5" in found.provider.models

    async def test_health_is_measured_from_calls_and_unknown_before(
        self, running_chat: Running, auth: Auth, openai_upstream: ScriptedProvider
    ):
        settings = {"openai_api_key": "k", "openai_base_url": openai_upstream.url, "provider_retries": 0}
        async with running_chat(**settings) as address, connect(address) as channel:
            fresh = Client(channel, (("x-api-key", await auth.new_key()),), auth.owner_url)

            async def health():
                request = GetProviderHealthRequest(id="openai")
                return (await fresh.providers.GetProviderHealth(request, metadata=fresh.metadata)).health

            before = await health()
            assert (before.status, before.HasField("error_rate"), before.HasField("last_check")) == (
                "unknown",
                False,
                False,
            )
            openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("ok"))
            ask = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
            await fresh.complete(ask)
            after = await health()
            assert (after.status, after.error_rate) == ("healthy", 0.0)
            assert after.response_time_ms > 0
            openai_upstream.script = lambda exchange: exchange.reply(400, {"error": {"message": "your fault"}})
            await refusal(fresh.completion_call(ask))
            assert (await health()).error_rate == 0.0
            openai_upstream.script = lambda exchange: exchange.reply(500, {})
            await refusal(fresh.completion_call(ask))
            broken = await health()
            assert (broken.status, broken.error_rate) == ("unhealthy", 0.5)
            listed = await fresh.providers.ListProviders(ListProvidersRequest(), metadata=fresh.metadata)
            [openai] = [one for one in listed.providers if one.id == "openai"]
            assert openai.health == "unhealthy"
            assert openai.last_health_check == broken.last_check
            every = await fresh.providers.ListProviderHealth(ListProviderHealthRequest(), metadata=fresh.metadata)
            assert every.overall_status == "healthy"
            assert every.providers["claude"].status == "unconfigured"

    async def test_models_have_published_prices_and_none_where_there_is_none(self, client: Client):
        request = ListProviderModelsRequest(id="claude")
        listed = await client.providers.ListProviderModels(request, metadata=client.metadata)
        by_id = {model.id: model for model in listed.models}
        priced = by_id["claude-opus-5"].pricing
        assert (priced.input_tokens_per_million, priced.output_tokens_per_million) == (5.0, 25.0)
        assert not by_id["claude-mythos-5"].pricing.HasField("input_tokens_per_million")
        assert not by_id["claude-mythos-5"].HasField("context_window")

    async def test_an_unknown_provider_is_not_there(self, client: Client):
        error = await refusal(client.providers.GetProvider(GetProviderRequest(id="x"), metadata=client.metadata))
        assert error.code is grpc.StatusCode.NOT_FOUND
        assert "claude, openai, local" in error.message


class TestModels:
    async def test_models_are_filtered_by_provider_and_capability(self, client: Client):
        request = ListModelsRequest(provider="anthropic", capability="vision")
        listed = await client.models.ListModels(request, metadata=client.metadata)
        assert listed.total == len(listed.models) > 5
        assert {model.provider for model in listed.models} == {"claude"}
        assert (listed.filters.provider, listed.filters.capability) == ("claude", "vision")

    async def test_an_unknown_capability_is_refused_naming_those_there_are(self, client: Client):
        request = ListModelsRequest(capability="fly")
        error = await refusal(client.models.ListModels(request, metadata=client.metadata))
        assert error.code is grpc.StatusCode.INVALID_ARGUMENT
        assert "long_context" in error.message

    @pytest.mark.parametrize("name", ["claude-haiku-4-5", "claude/claude-haiku-4-5", "quick"])
    async def test_a_model_is_found_by_id_provider_and_alias(self, client: Client, name):
        model = await client.models.GetModel(GetModelRequest(id=name), metadata=client.metadata)
        assert (model.id, model.provider) == ("claude-haiku-4-5", "claude")
        assert model.cost_per_input_token == pytest.approx(1e-6)
        assert not model.supports_temperature

    async def test_the_lists_have_the_shape_of_the_dialect_that_asks(self, client: Client):
        plain = await client.models.ListDialectModels(ListDialectModelsRequest(), metadata=client.metadata)
        openai = orjson.loads(plain.data)
        assert openai["object"] == "list"
        assert {"id", "object", "created", "owned_by"} <= set(openai["data"][0])
        metadata = (*client.metadata, ("anthropic-version", "2026-10-21"))
        claude = orjson.loads(
            (await client.models.ListDialectModels(ListDialectModelsRequest(), metadata=metadata)).data
        )
        assert claude["has_more"] is False
        assert claude["data"][0]["type"] == "model"
        assert claude["first_id"] == claude["data"][0]["id"]
        assert claude["data"]
        both = [one["id"] for one in claude["data"]]
        # Anthropic's dialect has chats alone; OpenAI's lists what makes vectors, images and sound behind them.
        assert [one["id"] for one in openai["data"]][: len(both)] == both
        assert {"text-embedding-3-small", "tts-1"} <= {one["id"] for one in openai["data"]} - set(both)

    async def test_one_model_has_the_shape_of_the_dialect_that_asks(self, client: Client):
        request = GetDialectModelRequest(id="gpt-4o-2024-08-06")
        found = orjson.loads((await client.models.GetDialectModel(request, metadata=client.metadata)).data)
        assert found["id"] == "gpt-4o-2024-08-06"
        assert found["created"] == 1722902400


class TestAdvice:
    async def test_a_model_is_recommended_with_its_price_and_its_measured_time(
        self, client: Client, openai_upstream: ScriptedProvider
    ):
        request = RecommendModelRequest(message="x" * 300, provider="openai", priority="cost")
        found = await client.call(client.models.RecommendModel, request)
        assert (found.provider, found.model_info.id) == ("openai", found.recommended_model)
        assert "priority cost: the lowest published price" in found.reasoning
        assert 0 < found.confidence <= 1
        model = await client.call(client.models.GetModel, GetModelRequest(id=found.recommended_model))
        assert found.estimated_cost == pytest.approx(
            104 * model.cost_per_input_token + 500 * model.cost_per_output_token
        )
        assert len(found.alternatives) == 3
        assert found.recommended_model not in [one.model for one in found.alternatives]

        openai_upstream.script = lambda exchange: exchange.reply(200, openai_completion("ok"))
        await client.call(client.chat.Chat, ChatRequest(message="x", model=found.recommended_model))
        again = await client.call(client.models.RecommendModel, request)
        assert again.estimated_response_time_ms > 0

    async def test_what_cannot_be_recommended_says_why(self, client: Client):
        for request, says in (
            (RecommendModelRequest(), "message: must not be empty"),
            (RecommendModelRequest(message="x", priority="best"), "priority: must be one of"),
            (RecommendModelRequest(message="x" * 4_000_000, provider="local"), "more than any such model reads"),
            (RecommendModelRequest(message="x", provider="local", required_capabilities=["vision"]), "vision"),
        ):
            error = await client.refused(client.models.RecommendModel, request)
            assert error.code is grpc.StatusCode.INVALID_ARGUMENT
            assert says in error.message

    async def test_models_stand_side_by_side_in_the_order_asked_for(self, client: Client):
        request = CompareModelsRequest(model_ids=["gpt-4o, local-echo", "gpt-4o-mini"])
        found = await client.call(client.models.CompareModels, request)
        assert [one.id for one in found.models] == ["gpt-4o", "local-echo", "gpt-4o-mini"]
        assert (found.total, found.cheapest) == (3, "local-echo")
        assert list(found.shared_capabilities) == ["chat", "streaming"]
        assert found.largest_context_window == "gpt-4o"
        by_id = {one.id: one for one in found.models}
        assert by_id["gpt-4o-mini"].cost_per_output_token < by_id["gpt-4o"].cost_per_output_token
        assert by_id["local-echo"].HasField("cost_per_output_token"), "known to be nothing"

    async def test_fewer_than_two_more_than_ten_and_unknown_models_are_refused(self, client: Client):
        for names, code in (
            ([], grpc.StatusCode.INVALID_ARGUMENT),
            (["gpt-4o,gpt-4o"], grpc.StatusCode.INVALID_ARGUMENT),
            ([",".join(f"m{number}" for number in range(11))], grpc.StatusCode.INVALID_ARGUMENT),
            (["gpt-4o,gpt4o"], grpc.StatusCode.NOT_FOUND),
        ):
            request = CompareModelsRequest(model_ids=names)
            assert (await client.refused(client.models.CompareModels, request)).code is code


class TestStreamInformation:
    async def test_streaming_models_come_with_what_was_measured(self, bare: Client):
        await bare.call(bare.chat.Chat, ChatRequest(message="x", provider="local"))
        listed = await bare.call(bare.models.ListStreamModels, ListStreamModelsRequest())
        [model] = listed.models
        assert (model.model_id, model.provider, listed.default_selection) == ("local-echo", "local", "local-echo")
        assert model.avg_ttft_ms > 0

    async def test_the_status_counts_the_default_conversation(self, client: Client):
        status = await client.call(client.chat.GetStreamStatus, GetStreamStatusRequest())
        assert (status.status, status.message_count, status.has_history) == ("ready", 0, False)
        await client.call(client.chat.Chat, ChatRequest(message="x", provider="local"))
        status = await client.call(client.chat.GetStreamStatus, GetStreamStatusRequest())
        assert (status.message_count, status.has_history) == (2, True)
        call = client.chat.StreamChat(ChatRequest(message="x", provider="local"), metadata=client.metadata)
        assert {event.type async for event in call} <= set(status.capabilities.event_types)
