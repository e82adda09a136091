"""A process that cannot start says why in one line that names the setting, and exits with a code of its own."""

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest

from tests.support.auth import new_signing_key
from tests.support.mesh import ROOT
from tests.support.postgres import PostgresServer

EXIT_SETTINGS = 2


async def start(module: str, environment: dict[str, str]) -> tuple[int, str]:
    """Runs a module that is expected to end by itself; returns its exit code and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos' / 'stubs'}", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(20):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.communicate()
        raise
    assert process.returncode is not None
    return process.returncode, output.decode()


def assert_one_line(output: str, setting: str) -> None:
    assert setting in output
    assert output.count("\n") == 1, output


@pytest.mark.parametrize(
    ("module", "wrong", "setting"),
    [
        ("services.auth", {"DATABASE_URL": ""}, "DATABASE_URL"),
        ("services.auth", {"DATABASE_URL": "mysql://gaia:hidden-password@db/gaia"}, "DATABASE_URL"),
        ("services.auth", {"GAIA_SIGNING_KEYS": "hidden-password"}, "GAIA_SIGNING_KEYS"),
        ("services.auth", {"GAIA_SIGNING_KEYS_FILE": "nowhere/keys"}, "GAIA_SIGNING_KEYS_FILE"),
        ("services.chat", {"GAIA_LISTEN": "8003"}, "GAIA_LISTEN"),
        ("services.chat", {"GAIA_OPENAI_COMPATIBLE": "[{hidden-password"}, "GAIA_OPENAI_COMPATIBLE"),
        ("services.asset", {"GAIA_ASSET_STORE": "ftp://host/folder"}, "GAIA_ASSET_STORE"),
        ("edge", {"GAIA_EDGE_PORT": "many"}, "GAIA_EDGE_PORT"),
    ],
)
async def test_a_wrong_setting_is_named(postgres: PostgresServer, module: str, wrong: dict[str, str], setting: str):
    right = {"DATABASE_URL": postgres.url("postgres", "gaia_auth"), "GAIA_LISTEN": "127.0.0.1:0", "GAIA_ENV": "test"}
    code, output = await start(module, {**right, **wrong})
    assert code == EXIT_SETTINGS, output
    assert_one_line(output, setting)
    assert "hidden-password" not in output


@pytest.mark.parametrize(("module", "setting"), [("services.auth", "GAIA_LISTEN"), ("edge", "GAIA_EDGE_PORT")])
async def test_an_address_that_is_taken_is_named(postgres: PostgresServer, tmp_path: Path, module: str, setting: str):
    keys = tmp_path / "signing-keys"
    keys.write_text(new_signing_key())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        environment = {
            "DATABASE_URL": postgres.url("postgres", "gaia_auth"),
            "GAIA_SIGNING_KEYS_FILE": str(keys),
            "GAIA_LISTEN": f"127.0.0.1:{port}",
            "GAIA_EDGE_PORT": str(port),
        }
        code, output = await start(module, environment)
    assert code == EXIT_SETTINGS, output
    # gRPC's core writes a line of its own about it before.
    line = output.splitlines()[-1]
    assert setting in line
    assert f"127.0.0.1:{port}" in line
