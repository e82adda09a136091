"""Entry point of the auth service: `python -m services.auth`."""

import asyncio
import sys

from services.auth.server import serving
from services.auth.settings import AuthSettings
from shared.process import main


async def run(settings: AuthSettings, stop: asyncio.Event) -> None:
    """Serves until told to stop."""
    async with serving(settings):
        await stop.wait()


if __name__ == "__main__":
    sys.exit(main("auth", AuthSettings, run))
