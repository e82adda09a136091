"""The ledger in Postgres, which chat keeps too: the same tables, the same budgets."""

from pathlib import Path
from typing import Any

import orjson

from services.asset.spending import OPERATION, Booking, Opening
from shared.budgets import Refused
from shared.db.pool import Connection, Database
from shared.db.queries import load_queries

SQL = load_queries(Path(__file__).with_name("ledger.sql"))


class PostgresLedger:
    """Implements `services.asset.spending.Ledger`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(self, opening: Opening) -> Refused | None:
        """Writes down that a generation is asked for."""
        one, limits = opening, opening.limits
        held = one.amount is not None
        reserved = (
            one.id,
            one.month,
            one.user_id,
            one.api_key_id,
            one.amount,
            limits.key,
            limits.user,
            limits.platform,
        )
        row = await self._database.row(
            SQL["open_call"],
            *([value] if held else [] for value in reserved),
            one.id,
            one.created_at,
            one.lease_until,
            one.user_id,
            one.api_key_id,
            one.request_id,
            OPERATION,
            one.provider,
            one.model,
            one.month,
            one.amount,
        )
        return Refused(row["refused_by"], row["limit_usd"], row["left_usd"]) if row else None

    async def book(self, booking: Booking) -> None:
        """Books a generation."""
        async with self._database.connection() as connection:
            await book_on(connection, booking)


async def book_on(connection: Connection, booking: Booking) -> None:
    """Books a generation on a connection, in its transaction if there is one."""
    opening, charge = booking.opening, booking.charge
    usage = {} if charge is None else charge.usage
    await connection.execute(
        SQL["book_call"],
        opening.id,
        opening.created_at,
        opening.user_id,
        opening.api_key_id,
        opening.request_id,
        OPERATION,
        booking.state.value,
        opening.provider,
        opening.model,
        usage.get("input_tokens"),
        usage.get("output_tokens"),
        booking.is_estimate,
        _cost(booking),
        _pricing(booking),
        booking.total_ms,
        booking.error,
        opening.month,
    )


def _cost(booking: Booking) -> Any:
    if booking.charge is None:
        return None if booking.is_unknown else 0
    return booking.charge.cost_usd


def _pricing(booking: Booking) -> str | None:
    """What the cost was computed from, in the form in which `gaia usage reconcile` adds it up."""
    charge = booking.charge
    if charge is None and not booking.is_unknown:
        return None
    one = {
        "provider": booking.opening.provider,
        "model": booking.opening.model,
        "usage": {} if charge is None else {kind: count for kind, count in charge.usage.items() if count},
        "prices": None if charge is None else charge.prices,
    }
    return orjson.dumps([one]).decode()
