"""The pool of connections while the server ends them."""

import asyncio

import asyncpg

from shared.db.pool import Database
from shared.errors import Unavailable
from tests.support.postgres import PostgresServer

CONNECTIONS = 8
ROUNDS = 15


async def test_whenever_the_server_ends_a_connection_a_query_is_answered_or_unavailable(
    postgres: PostgresServer, database: str
):
    url = postgres.url(database, "gaia_owner")
    pool = Database(url, size=CONNECTIONS)
    await pool.open()
    admin = await asyncpg.connect(url)
    try:
        for turn in range(ROUNDS):
            held = [pool.row("SELECT pg_backend_pid() AS pid, pg_sleep(0.002)") for _ in range(CONNECTIONS)]
            used = await asyncio.gather(*held)
            pids = [row["pid"] for row in used if row is not None]
            await admin.execute("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid", pids)
            # A little later each time, so that some queries meet their connection before the server's farewell, some
            # between the farewell and the end, and some after it.
            await asyncio.sleep(turn * 0.0001)
            asked = [pool.row("SELECT 1 AS one") for _ in range(CONNECTIONS)]
            for answer in await asyncio.gather(*asked, return_exceptions=True):
                assert isinstance(answer, Unavailable) or (answer is not None and not isinstance(answer, Exception))
        assert await pool.row("SELECT 1 AS one") is not None
    finally:
        await admin.close()
        await pool.close()
