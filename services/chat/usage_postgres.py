"""Sums over the ledger in Postgres."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from services.chat.usage import Balance, Measured, ProviderTotals, Totals
from shared.db.pool import Database
from shared.db.queries import load_queries

SQL = load_queries(Path(__file__).with_name("usage.sql"))


class PostgresUsage:
    """Implements `services.chat.usage.UsageStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def totals(
        self,
        start: dt.datetime,
        end: dt.datetime,
        user_id: uuid.UUID | None,
        api_key_id: uuid.UUID | None,
        group: str,
        limit: int,
    ) -> Sequence[Totals]:
        """Sums up calls of a time."""
        rows = await self._database.rows(SQL["sum_usage"], start, end, user_id, api_key_id, group, limit)
        return [
            Totals(
                group=row["grouped"] or "",
                requests=row["requests"],
                input_tokens=row["input_tokens"],
                output_tokens=row["output_tokens"],
                cached_tokens=row["cached_tokens"],
                cost=row["cost_usd"],
                unpriced_requests=row["unpriced_requests"],
            )
            for row in rows
        ]

    async def by_provider(self, start: dt.datetime, user_id: uuid.UUID | None) -> Mapping[str, ProviderTotals]:
        """Sums up calls by provider."""
        rows = await self._database.rows(SQL["sum_by_provider"], start, user_id)
        return {
            row["provider"]: ProviderTotals(
                requests=row["requests"],
                tokens=row["tokens"],
                cost=row["cost_usd"],
                average_ms=_number(row["average_ms"]),
                errors=row["errors"],
                last_request=row["last_request"],
            )
            for row in rows
        }

    async def measure(self, start: dt.datetime, user_id: uuid.UUID | None) -> Mapping[str | None, Measured]:
        """Measures calls by provider."""
        measured = {}
        for row in await self._database.rows(SQL["measure_performance"], start, user_id):
            p50, p95, p99 = row["percentiles_ms"] or (None, None, None)
            measured[row["provider"]] = Measured(
                requests=row["requests"],
                errors=row["errors"],
                average_ms=_number(row["average_ms"]),
                p50_ms=p50,
                p95_ms=p95,
                p99_ms=p99,
                first_word_ms=_number(row["first_word_ms"]),
                tokens_per_second=_number(row["tokens_per_second"]),
            )
        return measured

    async def active(self, user_id: uuid.UUID | None) -> int:
        """Counts calls that go on."""
        row = await self._database.row(SQL["count_active_calls"], user_id)
        assert row is not None
        return int(row["count"])

    async def balances(self, month: dt.date, api_key_id: uuid.UUID | None, user_id: uuid.UUID) -> Mapping[str, Balance]:
        """Returns balances."""
        rows = await self._database.rows(SQL["read_balances"], month, api_key_id, user_id)
        return {row["kind"]: Balance(row["spent_usd"], row["reserved_usd"]) for row in rows}


def _number(value: object) -> float | None:
    return None if value is None else float(str(value))
