"""Whatever creates or spends heeds an Idempotency-Key over REST."""

import secrets
from typing import Any

import pytest

from tests.support.mesh import Caller, Mesh

KEY = {"Idempotency-Key": "the-same"}
COMPLETION = {"model": "gpt-4o", "messages": [{"role": "user", "content": "please greet"}]}
ASSET = {"category": "image", "description": "a square of many colours", "preferences": {"max_wait_time_ms": 15000}}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", COMPLETION),
        ("/api/v0.2/chat", {"message": "please greet", "provider": "openai"}),
        ("/api/v1/chat", {"message": "please greet", "provider": "openai"}),
        ("/api/v0.3/chat", {"message": "please greet"}),
        ("/api/v1/conversations", {"title": "once"}),
        ("/api/v0.3/conversations", {"title": "once"}),
        ("/api/v0.2/personas", {"name": "Once", "system_prompt": "Be brief."}),
        ("/api/v1/assets/generate", ASSET),
    ],
)
async def test_a_repeated_request_is_told_the_first_answer(caller: Caller, path: str, body: Any):
    first = await caller.post(path, body, headers=KEY)
    assert first.status_code in (200, 201), first.text
    second = await caller.post(path, body, headers=KEY)
    assert (second.status_code, second.json()) == (first.status_code, first.json())
    conflict = await caller.post(path, {**body, **_other(body)}, headers=KEY)
    assert conflict.status_code == 409, conflict.text
    assert "another request" in conflict.text


def _other(body: Any) -> dict[str, Any]:
    changed = next(name for name in ("title", "name", "message", "description", "model") if name in body)
    return {changed: "gpt-4o-mini" if changed == "model" else f"another {secrets.token_hex(4)}"}


async def test_a_stream_is_told_again(caller: Caller):
    body = {**COMPLETION, "stream": True}
    first = await caller.post("/v1/chat/completions", body, headers=KEY)
    second = await caller.post("/v1/chat/completions", body, headers=KEY)
    assert first.text.endswith("data: [DONE]\n\n")
    assert second.text == first.text


async def test_a_user_is_made_once_and_a_key_is_never_told_twice(mesh: Mesh):
    user = {"email": f"{secrets.token_hex(8)}@gaia.test"}
    header = {"Idempotency-Key": secrets.token_hex(8)}
    first = await mesh.admin.post("/api/v1/users", user, headers=header)
    second = await mesh.admin.post("/api/v1/users", user, headers=header)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    key = {"user_id": first.json()["id"], "name": "once", "scopes": ["chat:read"]}
    header = {"Idempotency-Key": secrets.token_hex(8)}
    made = await mesh.admin.post("/api/v1/api-keys", key, headers=header)
    again = await mesh.admin.post("/api/v1/api-keys", key, headers=header)
    assert (made.status_code, again.status_code) == (201, 409)
    assert made.json()["key"] not in again.text
    listed = await mesh.admin.get("/api/v1/api-keys", params={"user_id": key["user_id"]})
    assert len(listed.json()["api_keys"]) == 1


async def test_a_request_that_was_refused_may_be_mended_under_the_same_key(mesh: Mesh):
    header = {"Idempotency-Key": secrets.token_hex(8)}
    refused = await mesh.admin.post("/api/v1/users", {"email": "no address"}, headers=header)
    assert refused.status_code == 400
    user = {"email": f"{secrets.token_hex(8)}@gaia.test"}
    assert (await mesh.admin.post("/api/v1/users", user, headers=header)).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_that_is_none_is_refused_by_name(caller: Caller, key: str):
    reply = await caller.post("/api/v1/conversations", {"title": "x"}, headers={"Idempotency-Key": key})
    assert reply.status_code == 400
    assert "Idempotency-Key" in reply.json()["message"]
