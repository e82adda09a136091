"""Whether the edge and what is behind it work: `/health` for people, `/livez` and `/readyz` for orchestrators."""

import asyncio
import datetime as dt
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import grpc
from grpc_health.v1 import health_pb2

from edge.transcoding.transport.channel import Channel, Method

PROBE_SECONDS = 0.9
"""Longest time for one probe; all run at once, so the whole report takes at most a second."""
REUSE_SECONDS = 0.5
"""A report younger than this answers again, so that /health, which anybody may call, cannot load what is behind."""


T = TypeVar("T")
CHECK = "/grpc.health.v1.Health/Check"


@dataclass(frozen=True, slots=True)
class Probe:
    """What one service answered. `seconds` is how long it took; `error` is empty when it serves."""

    seconds: float
    error: str
    database: bool | None
    """Whether its database answers; None when the service could not say."""

    @property
    def status(self) -> str:
        """`healthy` or `unhealthy`."""
        return "unhealthy" if self.error else "healthy"


class HealthReporter:
    """Asks all services at once, over the gRPC health protocol, by each channel that the edge itself needs them by."""

    def __init__(self, services: Mapping[str, Sequence[Channel]], version: str) -> None:
        self._checks = {
            name: [channel.method(CHECK, client_streaming=False, server_streaming=False) for channel in channels]
            for name, channels in services.items()
        }
        self._version = version
        self._report = _Shared(self._make_report)
        self._ready = _Shared(self._ask_auth)

    async def report(self) -> dict[str, Any]:
        """Returns the long form of REST.md."""
        return await self._report.get()

    async def ready(self) -> bool:
        """Whether requests can be authenticated, without which the edge can do nothing for anybody."""
        return not (await self._ready.get()).error

    async def _ask_auth(self) -> Probe:
        return await self._probe("auth")

    async def _make_report(self) -> dict[str, Any]:
        probes = dict(zip(self._checks, await asyncio.gather(*map(self._probe, self._checks)), strict=True))
        responsive = any(probe.database for probe in probes.values())
        if not responsive:
            status = "unhealthy"
        elif any(probe.error or probe.database is False for probe in probes.values()):
            status = "degraded"
        else:
            status = "healthy"
        return {
            "status": status,
            "timestamp": dt.datetime.now(dt.UTC).isoformat(),
            "version": self._version,
            "services": {name: _describe(probe) for name, probe in probes.items()},
            "database": {
                "status": "healthy" if responsive else "unhealthy",
                "database": "postgresql",
                "responsive": responsive,
            },
        }

    async def _probe(self, name: str) -> Probe:
        began = time.perf_counter()
        checks = self._checks[name]
        database, *serving = await asyncio.gather(
            self._check(checks[0], "database"), *(self._check(check, "") for check in checks)
        )
        seconds = time.perf_counter() - began
        error = next(filter(None, serving), "")
        return Probe(seconds, error, None if error else not database)

    async def _check(self, check: Method, service: str) -> str:
        request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
        try:
            answer = await check(request, timeout=PROBE_SECONDS, metadata=())
        except grpc.aio.AioRpcError as error:
            return "timeout" if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED else "unreachable"
        status = health_pb2.HealthCheckResponse.FromString(answer).status
        return "" if status == health_pb2.HealthCheckResponse.SERVING else "not serving"


class _Shared(Generic[T]):
    """A result that concurrent callers share and that answers again for a moment."""

    def __init__(self, make: Callable[[], Awaitable[T]]) -> None:
        self._make = make
        self._task: asyncio.Task[T] | None = None
        self._made_at = float("-inf")

    async def get(self) -> T:
        task = self._task
        if task is None or (task.done() and time.monotonic() - self._made_at > REUSE_SECONDS):
            self._task = task = asyncio.ensure_future(self._run())
        return await asyncio.shield(task)

    async def _run(self) -> T:
        try:
            return await self._make()
        finally:
            self._made_at = time.monotonic()


def _describe(probe: Probe) -> dict[str, Any]:
    described = {"status": probe.status, "response_time_ms": round(probe.seconds * 1000, 2)}
    return {**described, "error": probe.error} if probe.error else described
