"""Entry point of the chat service: `python -m services.chat`."""

import asyncio
import sys

from services.chat.server import serving
from services.chat.settings import ChatSettings
from shared.process import main, settle


async def run(settings: ChatSettings, stop: asyncio.Event) -> None:
    """Serves until told to stop."""
    async with serving(settings):
        settle()
        await stop.wait()


if __name__ == "__main__":
    sys.exit(main("chat", ChatSettings, run))
