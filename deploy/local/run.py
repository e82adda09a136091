"""Running the stack in the foreground, until a signal."""

import asyncio
import contextlib
import signal
import sys

from rich.console import Console

from deploy.local.settings import LocalSettings
from deploy.local.stack import Stack, edge_url
from deploy.local.status import look
from deploy.local.view import ConsoleReporter, first_request, short, table

EXIT_INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_RELOADING = ("chat", "asset")
"""The processes that take settings anew while they run: offers, prices and budgets the one, budgets the other."""


async def run(settings: LocalSettings, console: Console) -> int:
    """Starts everything, shows what is where, and stops it all on SIGINT or SIGTERM; returns the exit code.

    A second signal kills what has not stopped. SIGHUP has the settings read again; where it says that the terminal is
    gone, it stops everything too. Raises StackError when something cannot start.
    """
    reporter = ConsoleReporter(console)
    stack = Stack(settings, reporter)
    serving = asyncio.ensure_future(_serve(stack, settings, reporter))
    signals = 0

    def take_signal() -> None:
        nonlocal signals
        signals += 1
        if signals == 1:
            serving.cancel()
        else:
            stack.supervisor.hurry()

    in_terminal = sys.stdin.isatty()

    def take_hangup() -> None:
        if in_terminal and not sys.stdin.isatty():
            take_signal()
        else:
            for name in _RELOADING:
                stack.supervisor.signal(name, signal.SIGHUP)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, take_hangup)
    for number in _SIGNALS:
        loop.add_signal_handler(number, take_signal)
    try:
        await serving
    except asyncio.CancelledError:
        return EXIT_INTERRUPTED  # before everything served
    reporter.say("Gaia has stopped.")
    return 0


async def _serve(stack: Stack, settings: LocalSettings, reporter: ConsoleReporter) -> None:
    """Serves until cancelled."""
    async with stack.running():
        reporter.show(table(await look(stack.home)))
        reporter.say(first_request(edge_url(settings), stack.home.dev_api_key, settings.edge_tls_cert))
        reporter.say(f"Logs are in {short(stack.home.logs)}; Ctrl-C stops everything.", style="dim")
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
