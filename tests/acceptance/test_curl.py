"""Every route of the first issue by curl, as the README and the operators use them."""

import asyncio
import json
import shutil
from typing import Any

import pytest

from tests.support.mesh import Caller, Mesh

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")

GREET = {"message": "please greet"}
RESPONSE = {"model": "gpt-5", "input": "please greet"}
COMPLETION = {"model": "gpt-5", "messages": [{"role": "user", "content": "please greet"}]}
IMAGE = {"category": "image", "description": "a red square"}


async def curl(*arguments: str) -> tuple[int, str]:
    """Runs curl; returns the HTTP status and the body."""
    options = ["-sS", "--noproxy", "*", "--max-time", "20", "-w", "\n%{http_code}"]
    process = await asyncio.create_subprocess_exec(
        "curl", *options, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    body, _, status = output.decode().rpartition("\n")
    return int(status), body


NOBODYS = "0b13a858-a6c5-4fb8-88ee-e56d09a8609e"
"""An id that nothing has."""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/", '"docs"'),
        ("/health", '"status":"healthy"'),
        ("/livez", "ok"),
        ("/readyz", "ok"),
        ("/api/v0.2/", '"endpoints"'),
        ("/api/v0.2/health", '"healthy"'),
    ],
)
async def test_what_is_public_needs_no_key(mesh: Mesh, path: str, found: str):
    status, body = await curl(mesh.url + path)
    assert status == 200
    assert found in body


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "found"),
    [
        ("GET", "/api/v1/auth/me", None, 200, '"email"'),
        ("GET", "/api/v1/api-keys", None, 200, '"api_keys"'),
        ("POST", "/api/v1/api-keys", {"name": "by curl"}, 201, '"key":"gaia_test_'),
        ("GET", "/api/v1/users", None, 403, "users:manage"),
        ("GET", "/api/v0.2/providers", None, 200, '"total_providers"'),
        ("GET", "/api/v0.2/providers/health", None, 200, '"overall_status"'),
        ("GET", "/api/v0.2/providers/claude", None, 200, '"Anthropic Claude"'),
        ("GET", "/api/v0.2/providers/claude/models", None, 200, '"pricing"'),
        ("GET", "/api/v0.2/providers/claude/health", None, 200, '"status"'),
        ("GET", "/api/v0.2/models?provider=local", None, 200, '"local-echo"'),
        ("GET", "/api/v0.2/models/local/local-echo", None, 200, '"supports_streaming":true'),
        ("GET", "/v1/models", None, 200, '"object":"list"'),
        ("GET", "/v1/models/local-echo", None, 200, '"object":"model"'),
        ("POST", "/api/v0.2/chat", GREET, 200, '"response":"Hello from the simulated provider'),
        ("POST", "/api/v0.2/chat", {**GREET, "stream": True}, 200, "data: [DONE]"),
        ("POST", "/api/v0.2/chat/stream", GREET, 200, "data: [DONE]"),
        ("GET", "/api/v0.2/chat/status", None, 200, '"message_count"'),
        ("DELETE", "/api/v0.2/chat/history", None, 200, '"status":"success"'),
        ("POST", "/v1/chat/completions", COMPLETION, 200, '"chat.completion"'),
        ("POST", "/v1/chat/completions", {**COMPLETION, "stream": True}, 200, "data: [DONE]"),
        ("POST", "/v1/responses", RESPONSE, 200, '"object":"response"'),
        ("POST", "/v1/responses", {**RESPONSE, "stream": True}, 200, "event: response.completed"),
        ("POST", "/api/v1/assets/generate", IMAGE, 200, '"download_url"'),
        ("GET", "/api/v1/assets", None, 200, '"total"'),
        ("GET", "/api/v1/assets/test", None, 200, '"asset-service"'),
        ("GET", f"/api/v1/assets/{NOBODYS}", None, 404, '"code":5'),
        ("DELETE", f"/api/v1/assets/{NOBODYS}", None, 404, '"code":5'),
        ("POST", "/api/v0.2/chat", {}, 400, "message"),
        ("PATCH", "/api/v0.2/chat", GREET, 405, "POST"),
    ],
)
async def test_what_needs_a_key(
    mesh: Mesh, caller: Caller, method: str, path: str, body: dict[str, Any] | None, status: int, found: str
):
    sent = [] if body is None else ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
    without_key, _ = await curl("-X", method, *sent, mesh.url + path)
    assert without_key == (401 if status != 405 else 405)
    for header in (f"X-API-Key: {caller.key}", f"Authorization: Bearer {caller.key}"):
        answered, text = await curl("-X", method, "-H", header, *sent, mesh.url + path)
        assert (answered, found in text) == (status, True), text
