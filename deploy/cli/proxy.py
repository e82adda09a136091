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
) -> None:
    """Serves a gRPC server whose methods have google.api.http rules as REST, until Ctrl-C."""
    import uvloop

    from deploy.local.errors import StackError
    from edge.proxy import ProxyError, ProxySettings
    from edge.server import listen
    from shared.settings import CommonSettings, load
    from shared.telemetry import configure_logging

    if reflect == (descriptors is not None):
        raise StackError(
            "--descriptors, --reflect: give one of them; --reflect asks the server, --descriptors FILE reads a file"
        )
    common = load(CommonSettings)
    configure_logging("proxy", common.log_level)
    settings = ProxySettings(
        upstream=upstream, descriptors=descriptors, profile=profile, auth=auth, environment=common.env, host=host
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
        await serve(app, listener, DRAIN_SECONDS)
        await stop.wait()


def _show(app: "LiveTranscoder", settings: "ProxySettings", listener: socket.socket) -> None:
    from deploy.cli.output import show_rows

    columns = ("method", "path", "gRPC method", "kind")
    show_rows([dict(zip(columns, _row(route), strict=True)) for route in app.routes], columns)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    keys = "every route needs an API key" if settings.auth is not None else "no key is asked for"
    reload = "SIGHUP reads the file again" if settings.descriptors is not None else "changes are followed"
    print(f"Serving {settings.upstream} at http://{shown}:{port} ({settings.profile}; {keys}; {reload}).")
    print(f"Documentation: http://{shown}:{port}/docs", flush=True)


def _row(route: "Route") -> tuple[str, str, str, str]:
    method = route.method
    kind = {
        (False, False): "unary",
        (False, True): "server stream",
        (True, False): "client stream",
        (True, True): "bidirectional",
    }[bool(method.client_streaming), bool(method.server_streaming)]
    return route.http_method, route.template.source, method.full_name, kind
