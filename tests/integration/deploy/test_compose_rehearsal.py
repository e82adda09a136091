"""The Compose file, rehearsed without a container engine.

Its commands run with exactly its environments and are asked by its health checks. Only what a container brings is
replaced: host names and ports become this machine's, /var/lib/gaia a folder, and Postgres is the embedded one.
"""

import asyncio
import json
import os
import re
import secrets
import subprocess
import sys
import urllib.request
from pathlib import Path

import asyncpg
from ruamel.yaml import YAML

from deploy.check import COMPOSE, ROOT
from deploy.local.probe import ProbeError, probe
from tests.support.ports import free_port

PROCESSES = ("auth", "chat", "asset", "edge")
BASE = {
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}",
    "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos' / 'stubs'}",
    "PYTHONSAFEPATH": "1",
}


def rehearsed(folder: Path, sockets: Path) -> dict:
    """Returns the services of the Compose file as they can run here."""
    text = (COMPOSE / "compose.yaml").read_text()
    values = {name: secrets.token_urlsafe(8) for name in re.findall(r"^(GAIA_\w+_PASSWORD)=", EXAMPLE, re.MULTILINE)}
    text = re.sub(r"\$\{(\w+)(?::-)?([^}]*)\}", lambda match: values.get(match[1], match[2] or "''"), text)
    for port in ("8001", "8002", "8003", "8666"):
        text = re.sub(rf"\b{port}\b", str(free_port()), text)
    text = re.sub(r"dns:///(auth|asset|chat):", "dns:///127.0.0.1:", text)
    text = text.replace("@postgres:5432/gaia", f"@/gaia?host={sockets}").replace("/var/lib/gaia", str(folder))
    services = YAML(typ="safe").load(text)["services"]
    services["postgres"]["environment"] = {"POSTGRES_PASSWORD": values["GAIA_OWNER_DB_PASSWORD"]}
    return services


EXAMPLE = (COMPOSE / "env.example").read_text()


async def start(service: dict, **options) -> asyncio.subprocess.Process:
    environment = {name: str(value) for name, value in service["environment"].items()}
    program, *arguments = service["command"]
    return await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name(program), *arguments, env=BASE | environment, stdin=subprocess.DEVNULL, **options
    )


async def healthy(url: str, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(60):
        while True:
            assert process.returncode is None, f"{url} ended with {process.returncode}"
            try:
                return await probe(url)
            except ProbeError:
                await asyncio.wait([asyncio.ensure_future(process.wait())], timeout=0.1)


async def test_its_commands_and_environments_make_a_platform_that_knows_its_key(running, tmp_path):
    services = rehearsed(tmp_path, running.cluster.sockets)
    admin = await asyncpg.connect(running.cluster.url("postgres", "postgres"))
    # What the image of Postgres does with its three variables.
    password = services["postgres"]["environment"]["POSTGRES_PASSWORD"]
    await admin.execute(f"CREATE ROLE gaia_owner SUPERUSER LOGIN PASSWORD '{password}'")
    await admin.execute("CREATE DATABASE gaia OWNER gaia_owner")
    await admin.close()
    (tmp_path / "secrets").mkdir()
    (tmp_path / "assets").mkdir()

    init = await start(services["init"], stdout=subprocess.PIPE)
    said, _ = await init.communicate()
    assert (init.returncode, said) == (0, b""), "init must print neither key nor passwords into the container's log"
    key = (tmp_path / "secrets" / "dev-api-key").read_text().strip()
    again = await start(services["init"])
    assert await again.wait() == 0
    assert (tmp_path / "secrets" / "dev-api-key").read_text().strip() == key

    processes = {name: await start(services[name]) for name in PROCESSES}
    try:
        for name, process in processes.items():
            *command, url = services[name]["healthcheck"]["test"]
            assert command == ["CMD", "python", "-m", "deploy.cli.probe"]
            await healthy(url, process)
        check = await start({"command": services["edge"]["healthcheck"]["test"][1:], "environment": {}})
        assert await check.wait() == 0
        port = services["edge"]["environment"]["GAIA_EDGE_PORT"]
        request = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/auth/me", headers={"X-API-Key": key})
        reply = await asyncio.to_thread(lambda: json.load(urllib.request.urlopen(request, timeout=10)))
        assert reply["user"]["email"] == "dev@gaia.local"
    finally:
        for process in processes.values():
            process.terminate()
        codes = [await process.wait() for process in processes.values()]
    assert codes == [0, 0, 0, 0]


async def test_the_health_check_fails_where_nothing_serves():
    check = await start(
        {"command": ["python", "-m", "deploy.cli.probe", f"grpc://127.0.0.1:{free_port()}"], "environment": {}},
        stderr=subprocess.PIPE,
    )
    _, said = await check.communicate()
    assert (check.returncode, said.decode().rstrip().rpartition(" ")[2]) == (1, "UNAVAILABLE")
