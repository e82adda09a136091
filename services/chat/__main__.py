"""Entry point of the chat service: `python -m services.chat`."""

import asyncio
import signal
import sys

from services.chat.server import serving
from services.chat.settings import ChatSettings
from shared.heap import settle
from shared.process import main


async def run(settings: ChatSettings, stop: asyncio.Event) -> None:
    """Serves until told to stop; SIGHUP has the settings read again."""
    reload = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload.set)
    async with serving(settings, reload):
        settle()
        await stop.wait()


if __name__ == "__main__":
    sys.exit(main("chat", ChatSettings, run))
