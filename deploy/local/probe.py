"""Asking a process whether it serves."""

import asyncio
import http.client
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import grpc.aio

PROBE_SECONDS = 2.0
"""A process that takes longer to answer does not count as serving; services bound their own probes at 0.7 s."""


class ProbeError(Exception):
    """The process does not serve; the message says why in a few words."""


async def probe(url: str) -> None:
    """Returns when the process at the address serves. Raises ProbeError when it does not, or takes over 2 s.

    `grpc://HOST:PORT/NAME` asks the gRPC health protocol about a service (without a name: the server as a whole),
    `http://…` wants a 200, `postgresql://…` logs in.
    """
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            match urlsplit(url).scheme:
                case "grpc":
                    await _probe_grpc(url)
                case "http":
                    await asyncio.to_thread(_probe_http, url)
                case "postgresql":
                    await _probe_postgres(url)
                case scheme:
                    raise ValueError(f"no probe knows the scheme {scheme!r}")
    except TimeoutError as error:
        raise ProbeError(f"no answer within {PROBE_SECONDS:.0f} s") from error


async def _probe_grpc(url: str) -> None:
    # Libraries are imported where they are used: the health check of a container starts every few seconds.
    import grpc.aio
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    address = urlsplit(url)
    async with _channel(address.netloc) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            request = health_pb2.HealthCheckRequest(service=address.path.removeprefix("/"))
            reply = await stub.Check(request)  # type: ignore[attr-defined]  # the type stubs leave the methods out
        except grpc.aio.AioRpcError as error:
            raise ProbeError(error.code().name) from error
    if reply.status != health_pb2.HealthCheckResponse.SERVING:
        raise ProbeError(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


def _channel(address: str) -> "grpc.aio.Channel":
    if "GAIA_TLS_CERT" not in os.environ:
        import grpc.aio

        return grpc.aio.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
    from shared.rpc.channel import connect
    from shared.rpc.tls import load_certificates
    from shared.settings import CommonSettings, load

    # The container's own certificate: whoever has one of the authority's may ask for health.
    return connect(address, load_certificates(load(CommonSettings)))


def _probe_http(url: str) -> None:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=PROBE_SECONDS)
    try:
        connection.request("GET", address.path or "/")
        status = connection.getresponse().status
    except OSError as error:
        raise ProbeError(error.strerror or type(error).__name__) from error
    except http.client.HTTPException as error:
        raise ProbeError(f"no HTTP answer: {type(error).__name__}") from error
    finally:
        connection.close()
    if status != http.HTTPStatus.OK:
        raise ProbeError(f"HTTP {status}")


async def _probe_postgres(url: str) -> None:
    import asyncpg

    try:
        connection = await asyncpg.connect(url)
    except (OSError, asyncpg.PostgresError) as error:
        raise ProbeError(str(error) or type(error).__name__) from error
    await connection.close()
