"""Personas over REST."""

import uuid

from tests.support.mesh import Caller

PERSONAS = "/api/v0.2/personas"
FIELDS = {
    "id",
    "name",
    "description",
    "system_prompt",
    "personality_traits",
    "capabilities",
    "is_active",
    "created_by",
    "created_at",
    "updated_at",
}


async def test_a_persona_lives_from_post_to_delete(caller: Caller):
    wanted = {
        "name": "Pirate",
        "system_prompt": "Arr!",
        "personality_traits": {"warmth": 0.5, "level": 3},
        "capabilities": {},
        "unknown": 1,
    }
    made = (await caller.post(PERSONAS, wanted)).raise_for_status().json()
    assert set(made) == {"success", "message", "persona"}
    persona = made["persona"]
    assert set(persona) == FIELDS
    assert (persona["personality_traits"], persona["capabilities"]) == ({"warmth": 0.5, "level": 3}, {})
    assert persona["created_by"] == caller.user_id
    path = f"{PERSONAS}/{persona['id']}"

    assert (await caller.get(path)).json()["persona"] == persona
    listed = (await caller.get(PERSONAS, params={"active_only": "true"})).json()
    assert (listed["personas"], listed["total"], listed["success"]) == ([persona], 1, True)

    changed = await caller.request("PUT", path, json={"name": "Captain", "is_active": True})
    assert (changed.status_code, changed.json()["persona"]["name"]) == (200, "Captain")
    assert changed.json()["persona"]["system_prompt"] == "Arr!"

    chosen = await caller.post(f"{PERSONAS}/set", {"persona_id": persona["id"]})
    assert (chosen.status_code, chosen.json()["success"]) == (200, True)
    assert (await caller.get(f"{PERSONAS}/current")).json()["persona"]["name"] == "Captain"

    gone = await caller.delete(path)
    assert (gone.status_code, gone.json()["persona"]["is_active"]) == (200, False)
    assert (await caller.get(PERSONAS)).json()["personas"] == []
    assert (await caller.get(f"{PERSONAS}/current")).json()["persona"]["id"] == "default"


async def test_the_default_persona_is_stored_on_demand(caller: Caller):
    made = await caller.post(f"{PERSONAS}/initialize-default")
    assert (made.status_code, made.json()["persona"]["id"]) == (200, "default")
    assert [one["id"] for one in (await caller.get(PERSONAS)).json()["personas"]] == ["default"]


async def test_errors_have_the_default_shape(caller: Caller):
    unknown = await caller.get(f"{PERSONAS}/{uuid.uuid4()}")
    assert unknown.status_code == 404
    assert unknown.json()["detail"].startswith("there is no persona")
    assert (await caller.post(PERSONAS, {"name": ""})).status_code == 400
    await caller.post(PERSONAS, {"name": "Twice"})
    assert (await caller.post(PERSONAS, {"name": "twice"})).status_code == 409
