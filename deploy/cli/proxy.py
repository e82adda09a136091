"""`gaia proxy`: REST in front of any gRPC server."""

import asyncio
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:  # the command imports what it needs when it runs
    from edge.proxy import ProxySettings
    from edge.transcoding.live import LiveTranscoder
    from edge.transcoding.routes import Route

DRAIN_SECONDS = 8.0


def proxy(
    upstream: Annotated[str, typer.Option(help="The gRPC server: HOST:PORT, or a gRPC target such as unix:/run/x.")],
    descriptors: Annotated[
        Path | None, typer.Option(help="File with its descriptor set (protoc --descriptor_set_out); SIGHUP reloads it.")
    ] = None,
    reflect: Annotated[
        bool, typer.Option("--reflect", help="Ask the server itself, and again when it changes.")
    ] = False,
    profile: Annotated[str, typer.Option(help="`strict` or `grpc-gateway`.")] = "strict",
    auth: Annotated[
        str | None,
        typer.Option(help="Gaia's auth service, HOST:PORT: every route needs an API key, and the identity goes along."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; without --auth only a loopback address.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")] = 8080,
    transport: Annotated[
        str, typer.Option(help="`auto`, or `grpc` to have requests go to the server by the gRPC library.")
    ] = "auto",
    cors_origin: Annotated[
        list[str] | None,
        typer.Option(help="Origin whose pages may call, such as https://game.example; `*` is any. May be repeated."),
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate to serve HTTPS with, PEM, with its chain.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Key of that certificate, PEM.")] = None,
    upstream_tls: Annotated[bool, typer.Option("--upstream-tls", help="Speak TLS to the gRPC server.")] = False,
    upstream_ca: Annotated[
        Path | None, typer.Option(help="Authorities to trust about it, PEM; unless given, the public ones.")
    ] = None,
    upstream_cert: Annotated[Path | None, typer.Option(help="Certificate to show to it, PEM, with its chain.")] = None,
    upstream_key: Annotated[Path | None, typer.Option(help="Key of that certificate, PEM.")] = None,
    upstream_authority: Annotated[
        str, typer.Option(help="Name to ask it for, and to find in its certificate, where that is not its address.")
    ] = "",
) -> None:
    """Serves a gRPC server whose methods have google.api.http rules as REST, until Ctrl-C."""
    import uvloop

    from deploy.local.errors import StackError
    from edge.proxy import ProxyError, ProxySettings, UpstreamTls
    from edge.server import HttpsFiles, listen
    from shared.settings import CommonSettings, load
    from shared.telemetry import configure_logging

    if reflect == (descriptors is not None):
        raise StackError(
            "--descriptors, --reflect: give one of them; --reflect asks the server, --descriptors FILE reads a file"
        )
    if (tls_cert is None) != (tls_key is None):
        raise StackError("--tls-cert, --tls-key: need each other")
    given = {"--upstream-ca": upstream_ca, "--upstream-cert": upstream_cert, "--upstream-key": upstream_key}
    if not upstream_tls and (alone := [name for name, file in given.items() if file is not None]):
        raise StackError(f"{', '.join(alone)}: only with --upstream-tls")
    common = load(CommonSettings)
    configure_logging("proxy", common.log_level)
    settings = ProxySettings(
        upstream=upstream,
        tls=UpstreamTls(authorities=upstream_ca, certificate=upstream_cert, key=upstream_key) if upstream_tls else None,
        authority=upstream_authority,
        descriptors=descriptors,
        profile=profile,
        auth=auth,
        environment=common.env,
        host=host,
        transport=transport,
        cors_origins=tuple(cors_origin or ()),
        https=HttpsFiles(tls_cert, tls_key) if tls_cert is not None and tls_key is not None else None,
    )
    try:
        settings.check()
        listener = listen(host, port)
    except OSError as error:
        raise StackError(f"--host, --port: {error}") from error
    except ProxyError as error:
        raise StackError(str(error)) from error
    with listener:
        try:
            uvloop.run(_run(settings, listener))
        except ProxyError as error:
            raise StackError(str(error)) from error


async def _run(settings: "ProxySettings", listener: socket.socket) -> None:
    from edge.proxy import proxying
    from edge.server import serve

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with proxying(settings) as app:
        loop.add_signal_handler(signal.SIGHUP, app.ask)
        _show(app, settings, listener)
        await serve(app, listener, stop, DRAIN_SECONDS, settings.https)


def _show(app: "LiveTranscoder", settings: "ProxySettings", listener: socket.socket) -> None:
    from deploy.cli.output import show_rows

    columns = ("method", "path", "gRPC method", "kind")
    show_rows([dict(zip(columns, _row(route), strict=True)) for route in app.routes], columns)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    keys = "every route needs an API key" if settings.auth is not None else "no key is asked for"
    reload = "SIGHUP reads the file again" if settings.descriptors is not None else "changes are followed"
    url = f"{'http' if settings.https is None else 'https'}://{shown}:{port}"
    print(f"Serving {settings.upstream} at {url} ({settings.profile}; {keys}; {reload}).")
    print(f"Documentation: {url}/docs", flush=True)


def _row(route: "Route") -> tuple[str, str, str, str]:
    method = route.method
    kind = {
        (False, False): "unary",
        (False, True): "server stream",
        (True, False): "client stream",
        (True, True): "bidirectional",
    }[bool(method.client_streaming), bool(method.server_streaming)]
    return route.http_method, route.template.source, method.full_name, kind
