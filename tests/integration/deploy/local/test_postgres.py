"""The embedded Postgres: who gets in, and what happens to its folder."""

import asyncio
import os
import signal
import stat
import subprocess
import sys

import asyncpg
import psutil
import pytest

from deploy.local import postgres as embedded
from deploy.local.embedded import owner_url
from deploy.local.errors import StackError
from deploy.local.home import open_home
from deploy.migrations import runner
from tests.integration.deploy.conftest import RunningCluster


async def fetch(url: str, query: str):
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


async def test_the_user_who_runs_it_is_superuser_without_a_password(running):
    assert await fetch(running.cluster.url("postgres", "postgres"), "SELECT current_user") == "postgres"


async def test_everybody_else_needs_the_right_password(running):
    admin = await asyncpg.connect(running.cluster.url("postgres", "postgres"))
    await admin.execute("CREATE ROLE somebody LOGIN PASSWORD 'right'")
    await admin.close()
    assert await fetch(running.cluster.url("somebody", "postgres", "right"), "SELECT 1") == 1
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(running.cluster.url("somebody", "postgres", "wrong"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_other_users_of_the_machine_do_not_reach_the_socket(running):
    address = str(running.cluster.sockets / f".s.PGSQL.{embedded.PORT}")
    program = (
        f"import os, socket; os.setgid(65534); os.setuid(65534); socket.socket(socket.AF_UNIX).connect({address!r})"
    )
    done = await asyncio.create_subprocess_exec(sys.executable, "-I", "-S", "-c", program, stderr=subprocess.PIPE)
    _, said = await done.communicate()
    assert b"PermissionError" in said


async def test_it_listens_on_no_port(running):
    server = psutil.Process(running.pid)
    assert [c for c in server.net_connections("inet") if c.status == psutil.CONN_LISTEN] == []


async def test_text_is_sorted_and_folded_the_same_on_every_machine(running):
    assert await fetch(running.cluster.url("postgres", "postgres"), "SELECT lower('ÄÉ')") == "äé"


async def test_the_data_is_readable_by_nobody_else(running):
    assert stat.S_IMODE(running.cluster.data.stat().st_mode) == 0o700


async def test_statements_that_fail_leave_no_text_of_users_in_the_log(running):
    url = running.cluster.url("postgres", "postgres")
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TEMP TABLE notes (text text UNIQUE)")
    await connection.execute("INSERT INTO notes VALUES ($1)", "my secret prompt")
    with pytest.raises(asyncpg.UniqueViolationError) as refused:
        await connection.execute("INSERT INTO notes VALUES ($1)", "my secret prompt")
    await connection.close()
    assert "my secret prompt" in str(refused.value)  # the client is told, the log is not
    log = (running.home.logs / "postgres.log").read_text()
    assert "duplicate key value" in log
    assert "my secret prompt" not in log


async def test_after_a_crash_it_is_restarted_with_everything_that_was_committed(running):
    url = running.cluster.url("postgres", "postgres")
    await fetch(url, "CREATE TABLE kept AS SELECT 42 AS value")
    os.kill(running.pid, signal.SIGKILL)
    assert (await running.reporter.crashes.get()).how == "was killed by SIGKILL"
    assert await running.reporter.readies.get() == "postgres"
    assert await fetch(url, "SELECT value FROM kept") == 42


async def test_a_server_that_was_left_running_is_stopped_at_the_next_start(tmp_home):
    cluster = embedded.prepare(tmp_home, pytest.fail)
    identity = {} if cluster.account is None else {"user": cluster.account.uid, "group": cluster.account.gid}
    left = await asyncio.create_subprocess_exec(*cluster.spec({}).command, cwd="/", stderr=subprocess.PIPE, **identity)
    while b"ready to accept connections" not in await left.stderr.readline():
        assert left.returncode is None
    notes = []
    await asyncio.to_thread(embedded.prepare, tmp_home, notes.append)
    # Its exit code goes to whoever asks first, the test or what stopped it; its last words go to the test.
    assert b"database system is shut down" in await left.stderr.read()
    await left.wait()
    assert notes == [f"Postgres (pid {left.pid}) was left running; stopping it"]


async def test_the_owner_gets_in_from_outside_while_it_runs_and_what_it_makes_is_the_owners(tmp_home):
    running = await RunningCluster(tmp_home).start()
    try:
        admin = await asyncpg.connect(running.cluster.url("postgres", "postgres"))
        await admin.execute("CREATE ROLE gaia_owner")
        await admin.execute("CREATE DATABASE gaia OWNER gaia_owner")
        await admin.close()
        url = owner_url(tmp_home)
        runner.migrate(url)
        owner = "SELECT tableowner FROM pg_tables WHERE tablename = 'users'"
        assert await fetch(running.cluster.url("postgres", "gaia"), owner) == "gaia_owner"
    finally:
        await running.stop()
    assert owner_url(tmp_home) is None


async def test_a_path_too_long_for_a_socket_puts_it_elsewhere_and_takes_it_away_in_the_end(tmp_home_path):
    home = open_home(tmp_home_path / ("long" * 30))
    running = await RunningCluster(home).start()
    try:
        sockets = running.cluster.sockets
        assert sockets != running.cluster.data
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert await fetch(running.cluster.url("postgres", "postgres"), "SELECT 1") == 1
        assert embedded.running_cluster(home).sockets == sockets
    finally:
        await running.stop()
    assert not sockets.exists()


def test_a_data_folder_that_was_left_half_made_is_made_again(tmp_home):
    (tmp_home.path / "postgres.unfinished").mkdir()
    (tmp_home.path / "postgres.unfinished" / "PG_VERSION").write_text("18\n")
    cluster = embedded.prepare(tmp_home, pytest.fail)
    assert (cluster.data / "global" / "pg_control").exists()


def test_data_of_another_version_is_refused(tmp_home):
    tmp_home.postgres.mkdir()
    (tmp_home.postgres / "PG_VERSION").write_text("16\n")
    with pytest.raises(StackError, match=r"^GAIA_HOME: .* was made by Postgres 16, this is 18; set another folder$"):
        embedded.prepare(tmp_home, lambda _: None)
