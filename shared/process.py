"""What every `__main__` does around its service: settings, logs, the event loop, and an orderly end."""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import uvloop

from shared.settings import CommonSettings, SettingsError, load
from shared.telemetry import configure_logging

logger = logging.getLogger(__name__)

EXIT_SETTINGS = 2
"""Exit code for settings that are missing or wrong, and for an address that cannot be had."""

S = TypeVar("S", bound=CommonSettings)


def main(name: str, settings_class: type[S], run: Callable[[S, asyncio.Event], Coroutine[Any, Any, None]]) -> int:
    """Runs a process until SIGINT or SIGTERM; returns its exit code. Called by `__main__` modules only.

    `run` gets the settings and an event that is set when the process is to end; it returns when everything is drained.
    A setting that is missing or wrong, or an address in use, is one line on standard error.
    """
    try:
        settings = load(settings_class)
        configure_logging(name, settings.log_level)
        uvloop.run(_until_signalled(name, settings, run))
    except (SettingsError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)  # noqa: T201 - the one line for whoever started the process
        return EXIT_SETTINGS
    return 0


async def _until_signalled(
    name: str, settings: S, run: Callable[[S, asyncio.Event], Coroutine[Any, Any, None]]
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Sent to all processes of an installation, it must not end those that have nothing to read again.
    loop.add_signal_handler(signal.SIGHUP, lambda: logger.info("settings are read at the start of this process only"))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if settings.otlp_endpoint is None:
        await run(settings, stop)
        return
    # Loaded only here: who makes no spans need not pay for what makes them.
    from shared.tracing import tracing

    async with tracing(name):
        await run(settings, stop)
