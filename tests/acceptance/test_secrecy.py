"""Keys, prompts and replies stay out of logs and errors, whatever goes well or wrong."""

import asyncio
import uuid

from shared.identity import api_key
from tests.support.mesh import ENVIRONMENT, Mesh
from tests.support.simulator import Simulator


async def test_nothing_that_users_say_or_hold_reaches_a_log(mesh: Mesh, simulator: Simulator):
    caller = await mesh.new_caller()
    secret = f"secret{uuid.uuid4().hex}"
    stranger = api_key.generate(ENVIRONMENT)
    requests = [
        caller.post(path, {"message": f"{wish} {secret}", "provider": provider, "enable_fallback": False})
        for path in ("/api/v0.2/chat", "/api/v0.2/chat/stream")
        for provider in ("claude", "openai", "local")
        for wish in ("please greet", "please fail with 500", "please answer nonsense", "please refuse the request")
    ]
    requests += [
        caller.post("/api/v0.2/chat", {"message": [secret]}),
        caller.post("/api/v0.2/chat", {"message": "x", "model": secret}),
        caller.post("/v1/chat/completions", {"model": "gpt-5", "messages": [{"role": "user", "content": secret}]}),
        caller.post("/v1/chat/completions", {"model": "gpt-5", "messages": [{"role": secret, "content": 5}]}),
        caller.post("/api/v1/assets/generate", {"category": "image", "description": f"fail with 500 {secret}"}),
        caller.post("/api/v1/assets/generate", {"category": "image", "description": f"answer nonsense {secret}"}),
        caller.post("/api/v1/api-keys", {"name": secret, "scopes": ["admin"]}),
        caller.get("/api/v1/auth/me", headers={"x-api-key": stranger}),
        caller.get(f"/api/v0.2/chat/status?{secret}=1"),
        mesh.http.post("/api/v1/auth/validate", json={"api_key": stranger}),
        mesh.http.get("/api/v1/auth/me", headers={"authorization": f"Basic {secret}"}),
    ]
    replies = await asyncio.gather(*requests)
    assert {200, 400, 401, 403, 404, 502} <= {reply.status_code for reply in replies}
    assert await simulator.journal(secret), "the secret was sent where it belongs"
    for name, process in mesh.processes.items():
        log = process.text()
        assert secret not in log, f"{name} logged what a user said"
        for key in (caller.key, mesh.admin.key, stranger):
            assert key not in log, f"{name} logged a key"
            assert key.rpartition("_")[2][:20] not in log, f"{name} logged a part of a key"
        assert "sk-simulated" not in log, f"{name} logged the provider's key"
    assert not any("sk-simulated" in reply.text + str(reply.headers) for reply in replies)
