"""Deleting what is old in small batches: none holds locks for long, and a backlog is caught up with all the same."""

from typing import Any

from shared.db.pool import Database

BATCH = 1_000
MOST_BATCHES = 20
"""Of one sweep: with one every few seconds that is more than all the rows which a service can write meanwhile."""


async def delete_old(database: Database, query: str, *arguments: Any) -> int:
    """Runs a statement that deletes at most as many rows as its last argument says, until none are left that are due.

    Returns how many it deleted: at most MOST_BATCHES of BATCH rows.
    """
    total = 0
    for _ in range(MOST_BATCHES):
        count = await database.execute(query, *arguments, BATCH)
        total += count
        if count < BATCH:
            break
    return total
