"""`gaia up` as a person uses it: the real processes, the real signals."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess

import httpx
import psutil
import pytest

from tests.integration.deploy.conftest import folder
from tests.support.gaia_up import PROCESSES, Gaia, ended, lines_until


@pytest.fixture(scope="module")
async def up():
    """A running platform: the command line, the process of `gaia up`, and what it said."""
    with folder() as path:
        gaia = Gaia(path / "home")
        process = await gaia.start("up")
        try:
            gaia.said = await lines_until(process, "Ctrl-C")
            gaia.process = process
            yield gaia
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            async with asyncio.timeout(60):
                await process.communicate()


async def test_the_table_says_what_is_where_and_that_it_serves(up):
    rows = re.findall(r"│ (\w+) +│ (\S+) +│ (\w+) +│", up.said)
    assert [(name, health) for name, _, health in rows] == [(name, "SERVING") for name in PROCESSES]
    assert {name: address for name, address, _ in rows}["edge"] == up.environment["GAIA_URL"]


async def test_the_curl_line_works_as_it_is(up):
    [line] = [line for line in up.said.splitlines() if line.startswith("curl ")]
    curl = await asyncio.create_subprocess_shell(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    reply, _ = await curl.communicate()
    found = json.loads(reply)
    assert found.get("total_providers", 0) > 0, found


async def test_status_shows_the_same_table(up):
    code, said = await up.run("status", "--json")
    assert (code, [(row["name"], row["health"]) for row in json.loads(said)]) == (
        0,
        [(name, "SERVING") for name in PROCESSES],
    )


async def test_a_second_up_says_that_one_is_running(up):
    code, said = await up.run("up")
    assert code != 0
    assert said == (
        f"gaia: GAIA_HOME: {up.home.path} is in use: Gaia runs there as pid {up.process.pid}; "
        "stop it with `gaia down`, or set another folder\n"
    )


async def test_another_home_on_the_same_ports_names_the_setting_and_who_holds_the_port(up, tmp_home_path):
    code, said = await up.run("up", GAIA_HOME=str(tmp_home_path))
    assert code != 0
    assert re.fullmatch(rf"gaia: GAIA_EDGE_PORT: port {up.ports['EDGE']} of 127.0.0.1 is taken by .*; stop .*\n", said)
    assert not (tmp_home_path / "postgres").exists()


async def test_the_schema_is_current_as_seen_from_outside(up):
    code, said = await up.run("db", "status", "--json")
    assert (code, json.loads(said)["pending"]) == (0, [])


async def test_secrets_and_logs_are_their_owners_alone(up):
    for path in (up.home.dev_api_key, up.home.signing_keys, *up.home.logs.iterdir()):
        assert path.stat().st_mode & 0o077 == 0, path


async def test_credentials_reach_only_those_who_need_them(up):
    environments = {name: psutil.Process(pid).environ() for name, pid in up.pids().items()}
    assert [name for name, found in environments.items() if "DATABASE_URL" in found] == ["auth", "asset", "chat"]
    assert [name for name, found in environments.items() if "GAIA_SIGNING_KEYS_FILE" in found] == ["auth"]
    users = {name: re.match(r"postgresql://(\w+):", environments[name]["DATABASE_URL"])[1] for name in PROCESSES[1:4]}
    assert users == {"auth": "gaia_auth", "asset": "gaia_asset", "chat": "gaia_chat"}


async def test_users_and_keys_are_managed_from_the_command_line(up):
    code, said = await up.run("users", "create", "ada@example.org", "--name", "Ada", "--json")
    [ada] = json.loads(said)
    assert (code, ada["email"]) == (0, "ada@example.org")
    code, said = await up.run("users", "list")
    assert code == 0
    assert ada["id"] in said
    code, said = await up.run("keys", "create", "ci", "--user", "ada@example.org", "--scope", "chat:read", "--json")
    [key] = json.loads(said)
    assert (key["user_id"], key["scopes"]) == (ada["id"], ["chat:read"])
    code, said = await up.run("test", "providers", "--key", key["key"])
    assert code == 0, said
    code, said = await up.run("keys", "revoke", key["id"], "--yes")
    assert (code, said) == (0, f"revoked {key['id']}\n")
    code, said = await up.run("keys", "list", "--user", "ada@example.org", "--json")
    assert [(row["id"], row["is_active"]) for row in json.loads(said)] in ([(key["id"], False)], [])


async def test_what_cannot_be_undone_is_asked_for(up):
    code, said = await up.run("keys", "create", "keep", "--json")
    [key] = json.loads(said)
    code, said = await up.run("keys", "revoke", key["id"])
    assert code == 1
    assert "Revoke 'keep'" in said
    code, said = await up.run("keys", "list", "--json")
    assert (key["id"], True) in [(row["id"], row["is_active"]) for row in json.loads(said)]


async def test_an_error_of_the_edge_is_one_line_with_its_words(up):
    code, said = await up.run("users", "create", "nonsense")
    assert code == 1
    assert re.fullmatch(r"gaia: POST /api/v1/users: HTTP 400: .* \(request \w+\)\n", said)


async def test_every_test_of_the_platform_passes(up):
    code, said = await up.run("test", "all", "--json")
    results = {row["test"]: (row["result"], row["detail"]) for row in json.loads(said)}
    assert {name: result for name, (result, _) in results.items()} == dict.fromkeys(
        ("health", "providers", "models", "chat", "stream", "assets"), "ok"
    ), results
    assert code == 0


async def test_a_test_with_a_wrong_key_fails(up):
    code, said = await up.run("test", "providers", "--key", "nonsense", "--json")
    [row] = json.loads(said)
    assert (code, row["result"]) == (1, "FAILED")
    assert "HTTP 401" in row["detail"]


async def test_a_service_that_is_killed_is_reported_and_comes_back(up):
    before = up.pids()
    os.kill(before["asset"], signal.SIGKILL)
    said = await lines_until(up.process, "asset serves again")
    assert said.startswith("asset was killed by SIGKILL; it starts again in 1 s\n")
    after = up.pids()
    assert after["asset"] != before["asset"]
    assert {**after, "asset": 0} == {**before, "asset": 0}
    code, said = await up.run("status")
    assert code == 0, said


async def test_settings_are_read_again_without_a_restart_unless_they_are_wrong(up):
    file = up.home.path / "gaia.toml"
    file.write_text('[alias]\nswift = "local/local-echo"\n')
    code, said = await up.run("config", "reload")
    assert (code, said) == (2, f"gaia: {file}:1: alias: is no key of this table (did you mean aliases?)\n")
    before = up.pids()
    file.write_text('[aliases]\nswift = "local/local-echo"\n')
    code, said = await up.run("config", "reload")
    assert (code, said.startswith("Gaia reads its settings again")) == (0, True), said
    headers = {"Authorization": f"Bearer {up.home.dev_api_key.read_text().strip()}"}
    async with httpx.AsyncClient(base_url=up.environment["GAIA_URL"], headers=headers) as client, asyncio.timeout(20):
        while (await client.get("/v1/models/swift")).status_code != 200:  # noqa: ASYNC110 - nothing says when it is done
            await asyncio.sleep(0.05)
    assert up.pids() == before
    file.unlink()


async def test_nothing_survives_a_supervisor_that_is_killed_and_the_next_start_goes_on_where_it_was(up):
    key, pids = up.home.dev_api_key.read_text(), up.pids()
    up.process.kill()
    await up.process.communicate()
    await ended(pids.values())
    up.process = await up.start("up")
    await lines_until(up.process, "Ctrl-C")
    assert up.home.dev_api_key.read_text() == key
    code, said = await up.run("keys", "list", "--json")
    assert (code, "keep" in [row["name"] for row in json.loads(said)]) == (0, True)


async def test_down_stops_everything(up):
    pids = up.pids()
    code, said = await up.run("down")
    assert (code, said) == (0, "Gaia has stopped.\n")
    assert (await up.process.communicate())[0].decode().endswith("Gaia has stopped.\n")
    assert up.process.returncode == 0
    await ended(pids.values())
    assert (await up.run("down"))[1] == f"Gaia does not run in {up.home.path}.\n"
    assert json.loads((await up.run("down", "--json"))[1]) == {"home": str(up.home.path), "stopped": False}
    code, said = await up.run("status")
    assert code == 1
    assert "Gaia does not run" in said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_while_starting_leaves_nothing_running(up, number):
    process = await up.start("up")
    async with asyncio.timeout(60):
        while not up.home.state.exists():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)
    pids = [pid for pid in up.pids().values() if pid]
    process.send_signal(number)
    await process.communicate()
    assert process.returncode == 130
    await ended(pids)
    assert not up.home.state.exists()


async def test_a_folder_that_cannot_be_written_to_names_the_setting(up, tmp_path):
    (tmp_path / "file").write_text("")
    code, said = await up.run("up", GAIA_HOME=str(tmp_path / "file" / "home"))
    assert code == 1
    assert said == (
        f"gaia: GAIA_HOME: cannot write to {tmp_path}/file/home: Not a directory; set it to another folder\n"
    )


async def test_a_database_that_cannot_be_reached_names_the_setting_and_not_the_password(up, tmp_path):
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"postgres://me:hunter2@127.0.0.1:{nobody.getsockname()[1]}/gaia"
        code, said = await up.run("up", GAIA_HOME=str(tmp_path), DATABASE_URL=url)
    assert code == 1
    assert re.fullmatch(r"gaia: DATABASE_URL: cannot connect to 127.0.0.1:\d+/gaia: .*\n", said)
    assert "hunter2" not in said


async def test_a_setting_of_the_wrong_kind_is_named(up, tmp_path):
    code, said = await up.run("up", GAIA_HOME=str(tmp_path), GAIA_EDGE_PORT="many")
    assert code == 2
    assert said.startswith("gaia: GAIA_EDGE_PORT: ")
    assert said.count("\n") == 1
