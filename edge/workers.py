"""Several processes of the edge on one port: each listens by itself (SO_REUSEPORT), the kernel deals out connections.

Whatever an edge keeps in memory each worker has of its own: its cache of keys, its stream of revocations, its channels,
and its rate limits, unless a shared store counts them.
"""

import asyncio
import contextlib
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edge.server import reserve
from edge.settings import EdgeSettings
from shared.process import EXIT_SETTINGS
from shared.settings import split_listen_address

logger = logging.getLogger(__name__)

_STOP_SECONDS = 5.0
"""What a worker may take to end beyond the time that its requests have."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a worker that ended is started again, in seconds."""

    first: float = 0.5
    longest: float = 30.0
    healthy: float = 30.0
    """After this long the backoff begins anew."""

    def after(self, ends: int) -> float:
        """Returns the wait after so many ends in a row."""
        return float(min(self.longest, self.first * 2 ** min(ends - 1, 16)))


async def run_workers(
    settings: EdgeSettings,
    stop: asyncio.Event,
    *,
    command: Sequence[str] | None = None,
    backoff: Backoff | None = None,
) -> None:
    """Runs `settings.edge_workers` processes until told to stop, and returns when all of them have drained.

    A worker that ends is started again. `command` is the one that this process was started by, unless given. Raises
    OSError for an address that cannot be had, and when a first worker finds a setting wrong.
    """
    try:
        reserved = reserve(settings.edge_host, settings.edge_port)
    except OSError as error:
        raise OSError(f"GAIA_EDGE_HOST, GAIA_EDGE_PORT: {error}") from error
    if settings.rate_limit_url is None:
        logger.info("each worker counts rate limits by itself; GAIA_RATE_LIMIT_URL has them counted together")
    with reserved:
        port = reserved.getsockname()[1]
        # The same command again, with the flags that this interpreter was given.
        command = command or (sys.executable, *sys.orig_argv[1:])
        workers = [
            _Worker(
                number, command, environment_of(settings, number, port), settings.drain_seconds, backoff or Backoff()
            )
            for number in range(1, settings.edge_workers + 1)
        ]
        running = [asyncio.create_task(worker.run(stop)) for worker in workers]
        try:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_EXCEPTION)
            stop.set()  # where one could not start, the others are not wanted
            await asyncio.wait(running)
        finally:
            for worker in workers:
                worker.kill()
        for task in done:
            task.result()


def environment_of(settings: EdgeSettings, number: int, port: int) -> Mapping[str, str]:
    """Returns what a worker is told beside what its supervisor was; its metrics are on a port of its own."""
    told = {"GAIA_EDGE_WORKERS": "1", "GAIA_EDGE_WORKER": str(number), "GAIA_EDGE_PORT": str(port)}
    if settings.metrics_listen is not None:
        host, metrics_port = split_listen_address(settings.metrics_listen)
        told["GAIA_METRICS_LISTEN"] = f"{host}:{metrics_port + number - 1 if metrics_port else 0}"
    return told


async def supervisor_gone(stop: asyncio.Event) -> None:
    """Sets the event when the supervisor's end of standard input is closed: when it has ended in whatever way."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()
    stop.set()


class _Worker:
    """One worker through all its lives."""

    def __init__(
        self,
        number: int,
        command: Sequence[str],
        environment: Mapping[str, str],
        drain_seconds: float,
        backoff: Backoff,
    ) -> None:
        self._number = number
        self._command = command
        self._environment = {**os.environ, **environment}
        self._patience = drain_seconds + _STOP_SECONDS
        self._backoff = backoff
        self._process: asyncio.subprocess.Process | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Keeps the worker running until told to stop; raises OSError where its first life ends by a setting."""
        stopping = asyncio.ensure_future(stop.wait())
        ends = 0
        try:
            while not stop.is_set():
                began = time.monotonic()
                process = self._process = await self._start()
                ended = asyncio.ensure_future(process.wait())
                await asyncio.wait((ended, stopping), return_when=asyncio.FIRST_COMPLETED)
                if stop.is_set():
                    await self._end(process)
                    return
                if process.returncode == EXIT_SETTINGS and ends == 0:
                    raise OSError("the workers cannot start; what they said stands above")
                ends = 1 if time.monotonic() - began >= self._backoff.healthy else ends + 1
                wait = self._backoff.after(ends)
                logger.warning(
                    "worker %d ended with code %s and is started again in %g s", self._number, process.returncode, wait
                )
                await asyncio.wait((stopping,), timeout=wait)
        finally:
            stopping.cancel()

    def kill(self) -> None:
        """Kills what still runs."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _start(self) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._command, stdin=asyncio.subprocess.PIPE, env=self._environment
        )

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(self._patience):
                await process.wait()
        except TimeoutError:
            logger.warning("worker %d did not end within %g s and was killed", self._number, self._patience)
            self.kill()
            await process.wait()
