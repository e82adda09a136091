"""Asking a process whether it serves."""

import asyncio
import http.client
import os
import ssl
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlencode, urlsplit

if TYPE_CHECKING:
    import grpc.aio

    from shared.settings import TlsFiles

PROBE_SECONDS = 2.0
"""A process that takes longer to answer does not count as serving; services bound their own probes at 0.7 s."""


class ProbeError(Exception):
    """The process does not serve; the message says why in a few words."""


async def probe(url: str) -> None:
    """Returns when the process at the address serves. Raises ProbeError when it does not, or takes over 2 s.

    `grpc://HOST:PORT/NAME` asks the gRPC health protocol about a service (without a name: the server as a whole), over
    TLS where the environment has GAIA_TLS_CERT; `grpcs://…` is what `grpc_probe` makes; `http://…` and `https://…` want
    a 200, `postgresql://…` logs in.
    """
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            match urlsplit(url).scheme:
                case "grpc" | "grpcs":
                    await _probe_grpc(url)
                case "http" | "https":
                    await asyncio.to_thread(_probe_http, url)
                case "postgresql":
                    await _probe_postgres(url)
                case scheme:
                    raise ValueError(f"no probe knows the scheme {scheme!r}")
    except TimeoutError as error:
        raise ProbeError(f"no answer within {PROBE_SECONDS:.0f} s") from error


def grpc_probe(address: str, tls: "TlsFiles | None") -> str:
    """Returns what `probe` asks of a gRPC server at `HOST:PORT`; with TLS it shows the certificate given."""
    if tls is None:
        return f"grpc://{address}"
    return f"grpcs://{address}?{urlencode([('file', str(path)) for path in (tls.certificate, tls.key, tls.authority)])}"


async def _probe_grpc(url: str) -> None:
    # Libraries are imported where they are used: the health check of a container starts every few seconds.
    import grpc.aio
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    address = urlsplit(url)
    async with _channel(url) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            request = health_pb2.HealthCheckRequest(service=address.path.removeprefix("/"))
            reply = await stub.Check(request)  # type: ignore[attr-defined]  # the type stubs leave the methods out
        except grpc.aio.AioRpcError as error:
            raise ProbeError(error.code().name) from error
    if reply.status != health_pb2.HealthCheckResponse.SERVING:
        raise ProbeError(health_pb2.HealthCheckResponse.ServingStatus.Name(reply.status))


def _channel(url: str) -> "grpc.aio.Channel":
    address = urlsplit(url)
    if address.scheme == "grpc" and "GAIA_TLS_CERT" not in os.environ:
        import grpc.aio

        return grpc.aio.insecure_channel(address.netloc, options=[("grpc.enable_http_proxy", 0)])
    from shared.rpc.channel import connect
    from shared.rpc.tls import Certificates, load_certificates
    from shared.settings import CommonSettings, SettingsError, TlsFiles, load

    # Whoever has a certificate of the authority may ask for health.
    try:
        if address.scheme == "grpcs":
            certificate, key, authority = (Path(path) for path in parse_qs(address.query)["file"])
            return connect(address.netloc, Certificates(TlsFiles(certificate, key, authority)))
        return connect(address.netloc, load_certificates(load(CommonSettings)))  # the container's own
    except SettingsError as error:
        raise ProbeError(str(error)) from error


def _probe_http(url: str) -> None:
    address = urlsplit(url)
    connection = _connection(address.scheme, address.hostname or "", address.port)
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


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=PROBE_SECONDS)
    # Whether it serves is asked, not who it is: certificates are for the name that clients know, not for loopback.
    unverified = ssl.create_default_context()
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=PROBE_SECONDS, context=unverified)


async def _probe_postgres(url: str) -> None:
    import asyncpg

    try:
        connection = await asyncpg.connect(url)
    except (OSError, asyncpg.PostgresError) as error:
        raise ProbeError(str(error) or type(error).__name__) from error
    await connection.close()
