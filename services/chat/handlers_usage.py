"""gaia.chat.v1.UsageService, in the order of the contract."""

import datetime as dt
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from gaia.chat.v1 import usage_service_pb2 as pb
from gaia.chat.v1 import usage_service_pb2_grpc

from services.chat.catalogue import Catalogue
from services.chat.health import HealthBoard, overall
from services.chat.usage import (
    DEFAULT_DAYS,
    DEFAULT_HOURS,
    MAX_DAYS,
    MAX_HOURS,
    Balance,
    Measured,
    Query,
    Totals,
    UsageStore,
    bounded,
    month_of,
    query,
    whose,
)
from shared.identity.principal import current_principal

Context = Any  # grpc.aio.ServicerContext, which the handlers do not use

MINUTE = dt.timedelta(minutes=1)


class UsageHandlers(usage_service_pb2_grpc.UsageServiceServicer):
    """Usage and performance. `user_budget` tells the one of users without their own."""

    def __init__(
        self,
        store: UsageStore,
        catalogue: Catalogue,
        board: HealthBoard,
        now: Callable[[], dt.datetime],
        user_budget: Callable[[], Decimal | None],
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._board = board
        self._now = now
        self._user_budget = user_budget

    async def GetCurrentUsage(self, request: pb.GetCurrentUsageRequest, context: Context) -> pb.GetCurrentUsageResponse:
        """Sums up the current month."""
        begin, end = month_of(self._now())
        rows = await self._store.totals(begin, end, whose(current_principal()), None, "", 1)
        response = pb.GetCurrentUsageResponse(usage=_totals(rows[0] if rows else Totals()))
        response.period_start.FromDatetime(begin)
        response.period_end.FromDatetime(end)
        return response

    async def GetUsageHistory(self, request: pb.GetUsageHistoryRequest, context: Context) -> pb.GetUsageHistoryResponse:
        """Sums up each of the last days."""
        days = bounded("days", request.days, DEFAULT_DAYS, MAX_DAYS)
        now = self._now()
        first = now.replace(hour=0, minute=0, second=0, microsecond=0) - dt.timedelta(days=days - 1)
        rows = await self._store.totals(first, now, whose(current_principal()), None, "day", days)
        history = [pb.UsageDay(date=row.group, usage=_totals(row)) for row in rows]
        return pb.GetUsageHistoryResponse(days=days, history=history)

    async def GetUsageLimits(self, request: pb.GetUsageLimitsRequest, context: Context) -> pb.GetUsageLimitsResponse:
        """Tells the caller's limits."""
        caller = current_principal()
        key_id = uuid.UUID(caller.api_key_id) if caller.api_key_id else None
        month = month_of(self._now())[0].date()
        balances = await self._store.balances(month, key_id, uuid.UUID(caller.user_id))
        own = caller.user_monthly_budget_usd
        return pb.GetUsageLimitsResponse(
            requests_per_minute=caller.limits.requests_per_minute,
            tokens_per_minute=caller.limits.tokens_per_minute,
            key=_budget(caller.limits.monthly_budget_usd, balances.get("key", Balance())),
            user=_budget(self._user_budget() if own is None else own, balances.get("user", Balance())),
            allowed_models=sorted(caller.allowed_models),
        )

    async def QueryUsage(self, request: pb.QueryUsageRequest, context: Context) -> pb.QueryUsageResponse:
        """Sums up what was asked for."""
        # `from` is a word of Python's.
        begin = str(getattr(request, "from"))
        asked = Query(begin, request.to, request.group_by, request.user_id, request.api_key_id)
        rows, start, end = await query(self._store, current_principal(), asked, self._now())
        response = pb.QueryUsageResponse(rows=map(_row, rows))
        getattr(response, "from").FromDatetime(start)
        response.to.FromDatetime(end)
        return response

    async def GetPerformanceSummary(
        self, request: pb.GetPerformanceSummaryRequest, context: Context
    ) -> pb.GetPerformanceSummaryResponse:
        """Sums up how calls went."""
        hours = bounded("hours", request.hours, DEFAULT_HOURS, MAX_HOURS)
        now = self._now()
        measured = await self._store.measure(now - dt.timedelta(hours=hours), whose(current_principal()))
        response = pb.GetPerformanceSummaryResponse(
            hours=hours, performance=_performance(measured.get(None, Measured()))
        )
        response.timestamp.FromDatetime(now)
        return response

    async def ListProviderPerformance(
        self, request: pb.ListProviderPerformanceRequest, context: Context
    ) -> pb.ListProviderPerformanceResponse:
        """Sums up how calls went, by provider."""
        hours = bounded("hours", request.hours, DEFAULT_HOURS, MAX_HOURS)
        now = self._now()
        measured = await self._store.measure(now - dt.timedelta(hours=hours), whose(current_principal()))
        providers = {provider: _performance(one) for provider, one in measured.items() if provider is not None}
        response = pb.ListProviderPerformanceResponse(hours=hours, providers=providers)
        response.timestamp.FromDatetime(now)
        return response

    async def GetLivePerformance(
        self, request: pb.GetLivePerformanceRequest, context: Context
    ) -> pb.GetLivePerformanceResponse:
        """Tells what goes on."""
        user_id, now = whose(current_principal()), self._now()
        measured = (await self._store.measure(now - MINUTE, user_id)).get(None, Measured())
        response = pb.GetLivePerformanceResponse(
            active_requests=await self._store.active(user_id),
            requests_last_minute=measured.requests,
            last_minute=_performance(measured),
        )
        response.timestamp.FromDatetime(now)
        return response

    async def GetPerformanceHealth(
        self, request: pb.GetPerformanceHealthRequest, context: Context
    ) -> pb.GetPerformanceHealthResponse:
        """Tells how the providers are doing."""
        states = {one.id: self._board.of(one.id).status for one in self._catalogue.providers if one.is_configured}
        response = pb.GetPerformanceHealthResponse(status=overall(states.values()), providers=states)
        response.timestamp.FromDatetime(self._now())
        return response


def _totals(totals: Totals) -> pb.UsageTotals:
    return pb.UsageTotals(
        requests=totals.requests,
        input_tokens=totals.input_tokens,
        output_tokens=totals.output_tokens,
        cached_tokens=totals.cached_tokens,
        cost_usd=_usd(totals.cost),
        unpriced_requests=totals.unpriced_requests,
    )


def _row(totals: Totals) -> pb.UsageRow:
    return pb.UsageRow(
        group=totals.group,
        requests=totals.requests,
        input_tokens=totals.input_tokens,
        output_tokens=totals.output_tokens,
        cached_tokens=totals.cached_tokens,
        cost_usd=_usd(totals.cost),
        unpriced_requests=totals.unpriced_requests,
    )


def _budget(limit: Decimal | None, balance: Balance) -> pb.UsageBudget:
    left = None if limit is None else max(limit - balance.spent - balance.reserved, Decimal(0))
    return pb.UsageBudget(
        monthly_budget_usd=None if limit is None else _usd(limit),
        spent_usd=_usd(balance.spent),
        reserved_usd=_usd(balance.reserved),
        remaining_usd=None if left is None else _usd(left),
    )


def _performance(measured: Measured) -> pb.Performance:
    return pb.Performance(
        requests=measured.requests,
        errors=measured.errors,
        error_rate=measured.error_rate,
        avg_response_time_ms=measured.average_ms,
        p50_response_time_ms=measured.p50_ms,
        p95_response_time_ms=measured.p95_ms,
        p99_response_time_ms=measured.p99_ms,
        avg_first_word_ms=measured.first_word_ms,
        tokens_per_second=measured.tokens_per_second,
    )


def _usd(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
