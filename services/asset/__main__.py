"""Entry point of the asset service: `python -m services.asset`."""

import asyncio
import signal
import sys

from services.asset.server import serving
from services.asset.settings import AssetSettings
from shared.process import main


async def run(settings: AssetSettings, stop: asyncio.Event) -> None:
    """Serves until told to stop; SIGHUP has the budgets read again."""
    reload = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload.set)
    async with serving(settings, reload):
        await stop.wait()


if __name__ == "__main__":
    sys.exit(main("asset", AssetSettings, run))
