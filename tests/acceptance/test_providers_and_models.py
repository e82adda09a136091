"""Which providers and models there are, in Gaia's words and in those of the official SDKs."""

import datetime as dt

import pytest

from tests.support.mesh import Caller, Mesh

PROVIDERS = "/api/v0.2/providers"
MODELS = "/api/v0.2/models"
CAPABILITIES = {
    "chat",
    "streaming",
    "tool_calling",
    "vision",
    "code_generation",
    "multimodal",
    "long_context",
    "reasoning",
    "structured_output",
}


class TestProviders:
    async def test_every_provider_is_listed_with_its_models(self, caller: Caller):
        body = (await caller.get(PROVIDERS)).json()
        assert set(body) == {"providers", "total_providers", "health_status", "timestamp"}
        assert dt.datetime.fromisoformat(body["timestamp"]).tzinfo is not None
        by_id = {provider["id"]: provider for provider in body["providers"]}
        assert body["total_providers"] == len(by_id) == len(body["providers"])
        assert by_id["claude"]["name"] == "Anthropic Claude"
        assert by_id["openai"]["name"] == "OpenAI"
        for provider_id in ("claude", "openai", "local"):
            provider = by_id[provider_id]
            assert provider["status"] == "available"
            assert provider["health"] in ("unknown", "healthy", "degraded", "unhealthy")
            assert provider["models"]
            assert set(provider["capabilities"]) <= CAPABILITIES
            assert {"chat", "streaming"} <= set(provider["capabilities"])

    @pytest.mark.parametrize("provider_id", ["claude", "openai", "local"])
    async def test_a_provider_is_shown_with_its_models_and_prices(self, caller: Caller, provider_id: str):
        provider = (await caller.get(f"{PROVIDERS}/{provider_id}")).json()
        assert provider["id"] == provider_id
        body = (await caller.get(f"{PROVIDERS}/{provider_id}/models")).json()
        assert body["provider"] == provider_id
        assert [model["id"] for model in body["models"]] == provider["models"]
        assert body["total"] == len(body["models"])
        for model in body["models"]:
            assert model["name"]
            assert set(model["capabilities"]) <= CAPABILITIES
            assert set(model["pricing"] or {}) <= {"input_tokens_per_million", "output_tokens_per_million"}
        if provider_id != "local":
            prices = [model["pricing"] for model in body["models"] if model["pricing"] is not None]
            assert prices, "no model of a provider that everybody knows has a price"
            assert all(price is None or price > 0 for pricing in prices for price in pricing.values())

    async def test_anthropic_is_another_name_of_claude(self, caller: Caller):
        assert (await caller.get(f"{PROVIDERS}/anthropic")).json()["id"] == "claude"

    async def test_health_is_told_for_each_and_for_all(self, caller: Caller):
        body = (await caller.get(f"{PROVIDERS}/health")).json()
        assert set(body) == {"overall_status", "providers", "timestamp"}
        assert {"claude", "openai", "local"} <= set(body["providers"])
        one = (await caller.get(f"{PROVIDERS}/local/health")).json()
        assert one["status"] in ("unknown", "healthy")

    async def test_a_call_that_was_answered_shows_in_the_measured_health(self, caller: Caller):
        assert (await caller.post("/api/v0.2/chat", {"message": "hello", "provider": "local"})).status_code == 200
        health = (await caller.get(f"{PROVIDERS}/local/health")).json()
        assert health["status"] == "healthy"
        assert health["error_rate"] == 0
        assert health["response_time_ms"] > 0
        assert dt.datetime.fromisoformat(health["last_check"]) <= dt.datetime.now(dt.UTC)

    @pytest.mark.parametrize("path", ["", "/models", "/health"])
    async def test_an_unknown_provider_is_404_and_names_those_that_there_are(self, caller: Caller, path: str):
        reply = await caller.get(f"{PROVIDERS}/cluade{path}")
        assert (reply.status_code, reply.json()["code"]) == (404, 5)
        assert "claude" in reply.json()["message"]


class TestModels:
    async def test_all_models_are_listed_and_filtered(self, caller: Caller):
        everything = (await caller.get(MODELS)).json()
        assert everything["total"] == len(everything["models"]) > 3
        assert {"claude", "openai", "local"} <= {model["provider"] for model in everything["models"]}
        assert not any(everything["filters"].values())
        seeing = (await caller.get(MODELS, params={"provider": "claude", "capability": "vision"})).json()
        assert seeing["filters"] == {"provider": "claude", "capability": "vision"}
        assert seeing["models"]
        expected = [
            model
            for model in everything["models"]
            if model["provider"] == "claude" and "vision" in model["capabilities"]
        ]
        assert seeing["models"] == expected

    @pytest.mark.parametrize(("filter_", "value"), [("provider", "cluade"), ("capability", "flying")])
    async def test_a_filter_that_cannot_match_is_refused_by_name(self, caller: Caller, filter_: str, value: str):
        reply = await caller.get(MODELS, params={filter_: value})
        assert reply.status_code in (400, 404)
        assert value in reply.json()["message"]

    async def test_a_model_is_found_by_its_id_and_by_provider_and_id(self, caller: Caller):
        listed = (await caller.get(MODELS, params={"provider": "local"})).json()["models"][0]
        for name in (listed["id"], f"local/{listed['id']}", f"local%2F{listed['id']}"):
            model = (await caller.get(f"{MODELS}/{name}")).json()
            assert {field: model[field] for field in ("id", "provider", "name")} == {
                field: listed[field] for field in ("id", "provider", "name")
            }
            assert model["supports_streaming"] is True
            assert model["is_deprecated"] is False
            assert model["description"]

    async def test_an_unknown_model_is_404_and_names_near_ones(self, caller: Caller):
        known = (await caller.get(MODELS, params={"provider": "claude"})).json()["models"][0]["id"]
        reply = await caller.get(f"{MODELS}/{known}x")
        assert (reply.status_code, reply.json()["code"]) == (404, 5)
        assert known in reply.json()["message"]


class TestDialects:
    async def test_openai_clients_see_openais_list(self, caller: Caller):
        body = (await caller.get("/v1/models")).json()
        assert body["object"] == "list"
        for model in body["data"]:
            assert model["object"] == "model"
            assert set(model) >= {"id", "object", "created", "owned_by"}
            assert isinstance(model["created"], int)
        native = (await caller.get(MODELS)).json()["models"]
        assert {model["id"] for model in native} <= {model["id"].rpartition("/")[2] for model in body["data"]}

    async def test_anthropic_clients_see_anthropics_list(self, caller: Caller):
        headers = {"anthropic-version": "2023-06-01"}
        body = (await caller.get("/v1/models", headers=headers)).json()
        assert set(body) >= {"data", "has_more", "first_id", "last_id"}
        assert all(model["type"] == "model" for model in body["data"])
        one = (await caller.get(f"/v1/models/{body['first_id']}", headers=headers)).json()
        assert (one["type"], one["id"]) == ("model", body["first_id"])

    async def test_an_unknown_model_is_404_in_the_clients_shape(self, caller: Caller):
        reply = await caller.get("/v1/models/gpt-none")
        assert reply.status_code == 404
        assert set(reply.json()["error"]) == {"message", "type", "param", "code"}

    async def test_keys_may_be_sent_as_each_sdk_sends_them(self, mesh: Mesh, caller: Caller):
        for headers in ({"authorization": f"Bearer {caller.key}"}, {"x-api-key": caller.key}):
            assert (await mesh.http.get("/v1/models", headers=headers)).status_code == 200


class TestAdvice:
    async def test_a_model_is_recommended(self, caller: Caller):
        reply = await caller.post(f"{MODELS}/recommend", {"message": "hello", "priority": "cost", "unknown": 1})
        body = reply.raise_for_status().json()
        assert {"recommended_model", "provider", "confidence", "reasoning", "alternatives", "model_info"} <= set(body)
        assert body["model_info"]["id"] == body["recommended_model"]
        assert body["estimated_cost"] > 0

    async def test_models_are_compared(self, caller: Caller):
        body = (await caller.get(f"{MODELS}/compare", params={"model_ids": "gpt-4o,local-echo"})).json()
        assert [model["id"] for model in body["models"]] == ["gpt-4o", "local-echo"]
        assert (await caller.get(f"{MODELS}/compare", params={"model_ids": "gpt-4o"})).status_code == 400

    async def test_streams_tell_what_they_can(self, caller: Caller):
        status = (await caller.get("/api/v0.2/chat/stream/status")).json()
        assert set(status) == {"status", "message_count", "has_history", "capabilities", "timestamp"}
        assert (status["status"], status["message_count"]) == ("ready", 0)
        body = (await caller.get("/api/v0.2/chat/stream/models")).json()
        assert body["default_selection"] in [model["model_id"] for model in body["models"]]
