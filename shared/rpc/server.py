"""A gRPC server of Gaia: interceptors, health, reflection, and an end that loses no call."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from shared import telemetry
from shared.errors import GaiaError
from shared.rpc.callers import CallerInterceptor
from shared.rpc.tls import Certificates
from shared.rpc.transports import USUAL_LIMITS, Kind, Limits, transport
from shared.settings import ServiceSettings

logger = logging.getLogger(__name__)

PROBE_SECONDS = 0.7
"""A dependency that takes longer to answer a health probe counts as down; leaves room in the edge's one second."""

HealthContext = grpc.aio.ServicerContext[health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse]
Probe = Callable[[], Awaitable[None]]
Register = Callable[[grpc.aio.Server], None]


@dataclass(frozen=True, slots=True)
class ServerTls:
    """The certificates of a server, the names of those who may call it, and of those who speak for others."""

    certificates: Certificates
    callers: tuple[str, ...]
    speakers: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: ServiceSettings, certificates: Certificates | None) -> "ServerTls | None":
        """Returns what the settings ask for; None where there are no certificates."""
        if certificates is None:
            return None
        return cls(certificates, settings.caller_names, settings.speaker_names)


class Health(health.aio.HealthServicer):
    """gRPC health protocol, with dependencies such as `database` probed when they are asked for.

    A probe returns when the dependency answers and raises GaiaError when it does not. Concurrent checks share a
    probe.
    """

    def __init__(self, probes: Mapping[str, Probe]) -> None:
        super().__init__()
        self._probes = dict(probes)
        self._running: dict[str, asyncio.Task[bool]] = {}

    async def Check(  # noqa: N802 - the contract's name
        self, request: health_pb2.HealthCheckRequest, context: HealthContext
    ) -> health_pb2.HealthCheckResponse:
        """Answers SERVING or NOT_SERVING; NOT_FOUND for a name that is neither a service nor a dependency."""
        probe = self._probes.get(request.service)
        if probe is None:
            response: health_pb2.HealthCheckResponse = await super().Check(request, context)
            return response
        task = self._running.get(request.service)
        if task is None:
            task = asyncio.ensure_future(_answers(probe))
            self._running[request.service] = task
            task.add_done_callback(lambda _: self._running.pop(request.service, None))
        up = await asyncio.shield(task)
        status = health_pb2.HealthCheckResponse
        return status(status=status.SERVING if up else status.NOT_SERVING)


async def _answers(probe: Probe) -> bool:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await probe()
    except (GaiaError, TimeoutError):
        return False
    return True


def _tracing() -> list[grpc.aio.ServerInterceptor]:
    if telemetry.tracing.get() is None:
        return []
    from shared.rpc.tracing import tracing_interceptors  # loads OpenTelemetry

    return tracing_interceptors()


class RpcServer:
    """A server that is built, started, and drained. `address` is where it listens, once started.

    `register` adds the servicers; `services` are their descriptors, for health and reflection. With `tls`, callers need
    a certificate with one of the names that may call. `kind` is what carries the calls, within `limits`.
    """

    def __init__(
        self,
        *,
        listen: str,
        services: Sequence[ServiceDescriptor],
        register: Iterable[Register],
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        probes: Mapping[str, Probe],
        limits: Limits = USUAL_LIMITS,
        tls: ServerTls | None = None,
        kind: Kind = "http2",
    ) -> None:
        self._tls = tls
        speaking = [CallerInterceptor(tls.callers, tls.speakers)] if tls else []
        self._transport = transport(kind, [*_tracing(), *speaking, *interceptors], limits)
        self._health = Health(probes)
        self._listen = listen
        self._services = services
        handlers = self._transport.handlers
        for add in register:
            add(handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, handlers)
        names = [*(service.full_name for service in services), health.SERVICE_NAME, reflection.SERVICE_NAME]
        reflecting = reflection.aio.ReflectionServicer(names)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflecting, handlers)  # type: ignore[no-untyped-call]
        self.address = ""

    async def start(self) -> None:
        """Listens and serves. Raises OSError when the address cannot be had."""
        certificates = None if self._tls is None else self._tls.certificates
        try:
            port = await self._transport.start(self._listen, certificates)
        except OSError as error:
            raise OSError(f"GAIA_LISTEN: cannot listen on {self._listen}; is it in use?") from error
        for service in self._services:
            await self._health.set(service.full_name, health_pb2.HealthCheckResponse.SERVING)
        host = self._listen.rpartition(":")[0]
        self.address = self._listen if self._listen.startswith("unix:") else f"{host}:{port}"
        logger.info("serving", extra={"address": self.address})

    async def stop(self, drain_seconds: float) -> None:
        """Reports NOT_SERVING, refuses new calls, and lets those in flight end within the time given."""
        await self._health.enter_graceful_shutdown()
        await self._transport.stop(drain_seconds)
