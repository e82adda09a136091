"""What works, and what is said, where no provider has a key yet."""

import pytest

from tests.support.mesh import Caller, Mesh


async def test_providers_without_a_key_are_listed_as_unconfigured_and_offer_nothing(caller: Caller):
    body = (await caller.get("/api/v0.2/providers")).json()
    by_id = {provider["id"]: provider for provider in body["providers"]}
    for provider_id in ("claude", "openai"):
        assert by_id[provider_id]["status"] == "unconfigured"
        assert by_id[provider_id]["models"] == []
        assert (await caller.get(f"/api/v0.2/providers/{provider_id}/health")).json()["status"] == "unconfigured"
    assert by_id["local"]["status"] == by_id["scripted"]["status"] == "available"
    models = (await caller.get("/api/v0.2/models")).json()["models"]
    assert {model["provider"] for model in models} == {"local", "scripted"}


@pytest.mark.parametrize(("provider", "setting"), [("claude", "ANTHROPIC_API_KEY"), ("openai", "OPENAI_API_KEY")])
async def test_a_wish_for_such_a_provider_names_the_missing_setting(caller: Caller, provider: str, setting: str):
    body = {"message": "hello", "provider": provider, "enable_fallback": False}
    reply = await caller.post("/api/v0.2/chat", body)
    assert (reply.status_code, reply.json()["code"]) == (503, 14)
    assert setting in reply.json()["message"]
    assert "retry-after" in reply.headers


async def test_an_image_names_the_missing_setting_and_leaves_nothing_behind(fragile: Mesh, caller: Caller):
    reply = await caller.post("/api/v1/assets/generate", {"category": "image", "description": "a red square"})
    assert (reply.status_code, reply.json()["code"]) == (503, 14)
    assert "OPENAI_API_KEY" in reply.json()["message"]
    assert "retry-after" in reply.headers
    assert (await caller.get("/api/v1/assets")).json()["total"] == 0
    assert await fragile.rows("SELECT id FROM assets") == []
    assert not [path for path in (fragile.folder / "assets").rglob("*") if path.is_file()]
