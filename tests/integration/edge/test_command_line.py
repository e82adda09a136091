"""`gaia keys|users|audit|certs` as an operator types them, against a real edge, auth and database."""

import asyncio
import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from gaia.auth.v1 import auth_service_pb2
from gaia.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.local.errors import StackError
from shared.identity import api_key
from tests.support.auth import Auth
from tests.support.edge import running_edge

# The command leaves its connection to the end of the process, which here is not its own.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self):
        assert self.code == 0, self.err
        return json.loads(self.out)


class CommandLine:
    """The `gaia` command with a key of an administrator."""

    def __init__(self, edge: httpx.AsyncClient, auth: Auth, key: str) -> None:
        self.edge = edge
        self._environment = {
            "GAIA_URL": str(edge.base_url).rstrip("/"),
            "GAIA_API_KEY": key,
            "DATABASE_URL": auth.owner_url,
        }

    async def __call__(self, *arguments: str, typed: str = "") -> Result:
        # In a thread, since the edge that it calls runs in this one.
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments, input=typed, env=self._environment)
        error = str(result.exception) if isinstance(result.exception, StackError) else result.stderr
        assert result.exception is None or isinstance(result.exception, StackError | SystemExit)
        return Result(result.exit_code, result.stdout, error)


def given(limits: dict[str, Any]) -> dict[str, Any]:
    """The limits that there are, whether the others are absent or null."""
    return {name: value for name, value in limits.items() if value is not None}


@pytest.fixture(scope="module")
async def gaia(auth: Auth, admin_key: str):
    async with running_edge(auth.address) as edge:
        yield CommandLine(edge, auth, admin_key)


async def test_a_key_is_created_with_limits_changed_and_rotated(gaia: CommandLine):
    created = await gaia(
        "keys", "create", "phone", "--scope", "chat:read", "--model", "m1", "--requests-per-minute", "5",
        "--monthly-budget", "1.5", "--json",
    )  # fmt: skip
    [key] = created.json
    assert given(key["limits"]) == {"requests_per_minute": 5, "monthly_budget_usd": 1.5}
    assert key["allowed_models"] == ["m1"]
    changed = await gaia("keys", "update", key["id"], "--requests-per-minute", "7", "--all-models", "--json")
    assert given(changed.json[0]["limits"]) == {"requests_per_minute": 7, "monthly_budget_usd": 1.5}
    assert changed.json[0]["allowed_models"] == []
    assert changed.json[0]["scopes"] == ["chat:read"]
    rotated = await gaia("keys", "rotate", key["id"], "--grace-seconds", "60")
    assert api_key.is_well_formed(rotated.out.strip())
    assert "works until" in rotated.err
    for secret in (key["key"], rotated.out.strip()):
        reply = await gaia.edge.get("/api/v1/auth/me", headers={"x-api-key": secret})
        assert reply.json()["api_key_id"] == key["id"]


async def test_what_cannot_be_undone_is_asked_first(gaia: CommandLine):
    [key] = (await gaia("keys", "create", "asked", "--json")).json
    refused = await gaia("keys", "rotate", key["id"], "--grace-seconds", "0", typed="n\n")
    assert refused.code != 0
    reply = await gaia.edge.get("/api/v1/auth/me", headers={"x-api-key": key["key"]})
    assert reply.status_code == 200
    [user] = (await gaia("users", "create", "asked@gaia.test", "--json")).json
    assert (await gaia("users", "deactivate", "asked@gaia.test", typed="n\n")).code != 0
    done = await gaia("users", "deactivate", "asked@gaia.test", typed="y\n")
    assert (done.code, f"deactivated {user['id']}" in done.out) == (0, True)


async def test_a_user_is_changed_and_nothing_else_of_it(gaia: CommandLine):
    [user] = (await gaia("users", "create", "changed@gaia.test", "--name", "C", "--json")).json
    [rich] = (await gaia("users", "update", "changed@gaia.test", "--monthly-budget", "20.5", "--json")).json
    assert (rich["id"], rich["name"], rich["monthly_budget_usd"]) == (user["id"], "C", 20.5)
    [renamed] = (await gaia("users", "update", user["id"], "--name", "D", "--json")).json
    assert (renamed["name"], renamed["monthly_budget_usd"]) == ("D", 20.5)
    assert (await gaia("users", "get", "changed@gaia.test", "--json")).json == [renamed]
    [free] = (await gaia("users", "update", user["id"], "--no-budget", "--json")).json
    assert free["monthly_budget_usd"] is None
    for wrong in ((), ("--no-budget", "--monthly-budget", "1")):
        refused = await gaia("users", "update", user["id"], *wrong)
        assert refused.code != 0
        assert refused.err


async def test_a_user_who_was_deactivated_can_be_active_again_without_the_old_keys(gaia: CommandLine):
    [user] = (await gaia("users", "create", "back@gaia.test", "--json")).json
    [key] = (await gaia("keys", "create", "old", "--user", user["id"], "--scope", "chat:read", "--json")).json
    [gone] = (await gaia("users", "deactivate", "back@gaia.test", "--yes", "--json")).json
    [back] = (await gaia("users", "update", "back@gaia.test", "--active", "--json")).json
    assert (gone["is_active"], back["is_active"]) == (False, True)
    reply = await gaia.edge.get("/api/v1/auth/me", headers={"x-api-key": key["key"]})
    assert reply.status_code == 401


async def test_a_revoked_key_stays_in_lists_and_a_deleted_one_does_not(gaia: CommandLine):
    [key] = (await gaia("keys", "create", "ending", "--json")).json
    assert (await gaia("keys", "revoke", key["id"], typed="n\n")).code != 0
    assert (await gaia("keys", "revoke", key["id"], typed="y\n")).code == 0
    [revoked] = (await gaia("keys", "revoke", key["id"], "--yes", "--json")).json
    assert (revoked["id"], revoked["is_active"]) == (key["id"], False)
    assert (await gaia("keys", "get", key["id"], "--json")).json == [revoked]
    assert key["id"] in [listed["id"] for listed in (await gaia("keys", "list", "--json")).json]
    assert (await gaia("keys", "delete", key["id"], typed="n\n")).code != 0
    [deleted] = (await gaia("keys", "delete", key["id"], "--yes", "--json")).json
    assert (deleted["id"], deleted["is_active"]) == (key["id"], False)
    assert key["id"] not in [listed["id"] for listed in (await gaia("keys", "list", "--json")).json]
    missing = await gaia("keys", "delete", key["id"], "--yes")
    assert missing.code != 0
    assert "404" in missing.err


async def test_a_signing_key_is_made_for_programs_too(gaia: CommandLine):
    [made] = (await gaia("keys", "signing", "--json")).json
    assert len(base64.urlsafe_b64decode(made["signing_key"] + "=")) == 32


async def test_the_audit_trail_is_shown_and_exported(gaia: CommandLine, tmp_path: Path):
    [user] = (await gaia("users", "create", "audited@gaia.test", "--json")).json
    listed = (await gaia("audit", "list", "--target", user["id"], "--json")).json
    assert [event["action"] for event in listed] == ["user.create"]
    assert listed[0]["address"] == "127.0.0.1"
    file = tmp_path / "audit.ndjson"
    assert (await gaia("audit", "export", "--output", str(file), "--action", "user.create")).code == 0
    exported = [json.loads(line) for line in file.read_text().splitlines()]
    assert user["id"] in [event["target_id"] for event in exported]
    assert {event["action"] for event in exported} == {"user.create"}
    printed = await gaia("audit", "export", "--target", user["id"], "--since", "2020-01-01T00:00:00")
    assert json.loads(printed.out)["id"] == listed[0]["id"]


async def test_keys_of_another_platform_are_imported_and_go_on_working(gaia: CommandLine, auth: Auth, tmp_path: Path):
    secrets = [f"sk-platform-of-before-{number}" for number in range(3)]
    permissions = ['"{""admin"": true}"', '"{""scopes"": [""chat:read""]}"', ""]
    rows = [
        f"{api_key.digest(secret)},{'moved' if number else 'MOVED'}@gaia.test,key {number},{permission}"
        for number, (secret, permission) in enumerate(zip(secrets, permissions, strict=True))
    ]
    file = tmp_path / "keys.csv"
    file.write_text("\n".join(["key_hash,email,name,permissions", *rows]) + "\n")
    refused = await gaia("keys", "import", "--csv", str(file), "--yes")
    assert refused.code != 0
    assert "moved@gaia.test" in refused.err
    tried = (await gaia("keys", "import", "--csv", str(file), "--create-users", "--dry-run", "--json")).json
    assert tried == {"keys": 3, "known": 0, "users": 1}
    done = (await gaia("keys", "import", "--csv", str(file), "--create-users", "--yes", "--json")).json
    assert done == tried
    again = (await gaia("keys", "import", "--csv", str(file), "--yes", "--json")).json
    assert again == {"keys": 0, "known": 3, "users": 0}
    replies = [await gaia.edge.get("/api/v1/auth/me", headers={"x-api-key": secret}) for secret in secrets]
    assert [reply.json()["scopes"] for reply in replies] == [["admin"], ["chat:read"], []]
    target = replies[0].json()["api_key_id"]
    [event] = (await gaia("audit", "list", "--target", target, "--json")).json
    assert (event["action"], event["details"]["by"]) == ("api_key.import", "operator")
    # The edge took them by their form; auth itself does too.
    request = auth_service_pb2.AuthenticateRequest(api_key=secrets[1])
    assert (await AuthServiceStub(auth.channel).Authenticate(request)).principal.api_key_id


async def test_a_file_with_a_fault_imports_nothing(gaia: CommandLine, tmp_path: Path, auth: Auth):
    file = tmp_path / "keys.csv"
    file.write_text(f"key_hash,email\n{api_key.digest('sk-good-but-not-alone')},a@gaia.test\nshort,b@gaia.test\n")
    refused = await gaia("keys", "import", "--csv", str(file), "--create-users", "--yes")
    assert refused.code != 0
    assert "line 3, key_hash: must be a SHA-256" in refused.err
    with pytest.raises(grpc.aio.AioRpcError):
        await AuthServiceStub(auth.channel).Authenticate(
            auth_service_pb2.AuthenticateRequest(api_key="sk-good-but-not-alone")
        )


async def test_certificates_for_development_are_made_and_renewed(gaia: CommandLine, tmp_path: Path):
    folder = tmp_path / "certs"
    made = (await gaia("certs", "dev", "--folder", str(folder), "--host", "auth.internal", "--json")).json
    assert [row["name"] for row in made] == ["edge", "auth", "chat", "asset"]
    authority = (folder / "ca.pem").read_bytes()
    first = (folder / "edge.pem").read_bytes()
    assert (folder / "edge.key").stat().st_mode & 0o777 == 0o600
    assert (await gaia("certs", "dev", "--folder", str(folder), "--name", "edge")).code == 0
    assert (folder / "ca.pem").read_bytes() == authority
    assert (folder / "edge.pem").read_bytes() != first
