"""Entry point of the edge: `python -m edge`."""

import asyncio
import contextlib
import sys

from edge.app import serving
from edge.server import listen, serve
from edge.settings import EdgeSettings
from edge.workers import run_workers, supervisor_gone
from shared.heap import settle
from shared.process import main
from shared.rpc.mesh import background


async def run(settings: EdgeSettings, stop: asyncio.Event) -> None:
    """Serves, or has workers serve, until told to stop."""
    if settings.edge_workers > 1:
        await run_workers(settings, stop)
        return
    is_worker = settings.edge_worker > 0
    try:
        listener = listen(settings.edge_host, settings.edge_port, share=is_worker)
    except OSError as error:
        raise OSError(f"GAIA_EDGE_HOST, GAIA_EDGE_PORT: {error}") from error
    async with contextlib.AsyncExitStack() as stack:
        if is_worker:
            await stack.enter_async_context(background(supervisor_gone(stop)))
        app = await stack.enter_async_context(serving(settings))
        settle()
        await serve(app, listener, stop, settings.drain_seconds, settings.https_files)


if __name__ == "__main__":
    sys.exit(main("edge", EdgeSettings, run))
