"""`gaia db` for programs."""

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

from shared.identity import api_key
from tests.support.postgres import PostgresServer


async def gaia(url: str, *arguments: str) -> Any:
    """Runs the command line on a database; returns the JSON that it prints."""
    command = [sys.executable, "-m", "deploy.cli.main", *arguments, "--json"]
    environment = {**os.environ, "DATABASE_URL": url}
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


async def test_a_database_is_prepared_and_migrated_with_answers_for_programs(postgres: PostgresServer, database: str):
    url = postgres.url(database, "postgres")
    made = await gaia(url, "db", "init", "--user", "first@gaia.test")
    assert api_key.is_well_formed(made["api_key"])
    assert set(made["database_urls"]) | set(made["unchanged"]) == {"auth", "chat", "asset"}
    migrated = await gaia(url, "db", "migrate")
    assert (migrated["before"], migrated["ran"]) == (migrated["now"], [])
