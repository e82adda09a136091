"""Entry point of the edge: `python -m edge`."""

import asyncio
import sys

from edge.app import serving
from edge.server import listen, serve
from edge.settings import EdgeSettings
from shared.process import main, settle


async def run(settings: EdgeSettings, stop: asyncio.Event) -> None:
    """Serves until told to stop."""
    try:
        listener = listen(settings.edge_host, settings.edge_port)
    except OSError as error:
        raise OSError(f"GAIA_EDGE_HOST, GAIA_EDGE_PORT: {error}") from error
    async with serving(settings) as app:
        settle()
        await serve(app, listener, settings.drain_seconds, settings.https_files)
        await stop.wait()


if __name__ == "__main__":
    sys.exit(main("edge", EdgeSettings, run))
