"""Providers and models through their gRPC doors."""

from collections.abc import AsyncIterator

import grpc
import orjson
import pytest
from gaia.chat.v1.chat_service_pb2 import ChatRequest
from gaia.chat.v1.model_service_pb2 import (
    GetDialectModelRequest,
    GetModelRequest,
    ListDialectModelsRequest,
    ListModelsRequest,
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
        settings = {"openai_api_key": "k", "openai_base_url": openai_upstream.url}
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
        assert [one["id"] for one in claude["data"]] == [one["id"] for one in openai["data"]]

    async def test_one_model_has_the_shape_of_the_dialect_that_asks(self, client: Client):
        request = GetDialectModelRequest(id="gpt-4o-2024-08-06")
        found = orjson.loads((await client.models.GetDialectModel(request, metadata=client.metadata)).data)
        assert found["id"] == "gpt-4o-2024-08-06"
        assert found["created"] == 1722902400
