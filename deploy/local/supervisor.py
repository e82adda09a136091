"""Keeping processes running: started together, watched, restarted when they crash, stopped in order."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from deploy.local.errors import StackError
from deploy.local.logs import ProcessLog
from deploy.local.probe import ProbeError, probe

LEASH = Path(__file__).with_name("leash.py")
POLL_SECONDS = 0.1
TRIM_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """A process to keep running.

    `command` begins with the program's path; `environment` is all that the process gets. `health` is the address that
    `probe` asks. Processes of a higher `tier` stop before those of a lower one. `account` is the user and group id to
    run as, None for the supervisor's own.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(repr=False)  # holds secrets
    address: str
    health: str = field(repr=False)
    tier: int = 1
    account: tuple[int, int] | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    orphan_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends when the supervisor dies without having stopped the process."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient the supervisor is, in seconds."""

    ready: float = 60.0
    """From start to serving; a cold cache and a recovering Postgres included."""
    first_backoff: float = 1.0
    longest_backoff: float = 30.0
    healthy: float = 60.0
    """After this long without a crash the backoff begins anew."""
    stop: float = 12.0
    """From the stop signal to SIGKILL; processes drain for 10 s at most."""


@dataclass(frozen=True, slots=True)
class Crash:
    """What is known about a process that ended without being told to."""

    name: str
    how: str
    """Such as `exited with code 1` or `was killed by SIGSEGV`."""
    tail: Sequence[str]
    log: Path
    restart_in: float


class Reporter(Protocol):
    """Told about what happens to the processes."""

    def ready(self, name: str, seconds: float) -> None:
        """The process serves, so long after its start."""

    def crashed(self, crash: Crash) -> None:
        """The process ended by itself and will be started again."""

    def note(self, text: str) -> None:
        """Something that the operator should know."""


@dataclass(frozen=True, slots=True)
class Running:
    """What runs now of a process; `pid` is None between a crash and the restart."""

    spec: ProcessSpec
    pid: int | None
    restarts: int


class Supervisor:
    """Starts, watches and stops processes. `changed` is called whenever a pid changes."""

    def __init__(
        self,
        logs: Path,
        reporter: Reporter,
        *,
        timing: Timing | None = None,
        changed: Callable[[Sequence[Running]], None] = lambda _: None,
    ) -> None:
        self._logs = logs
        self._reporter = reporter
        self._timing = timing or Timing()
        self._changed = changed
        self._children: list[_Child] = []
        self._trimming: asyncio.Task[None] | None = None

    async def start(self, *specs: ProcessSpec) -> None:
        """Starts processes side by side and returns when all of them serve.

        Raises StackError when one ends or is not ready in time; it is left to the caller to stop the others.
        """
        if self._trimming is None:
            self._trimming = asyncio.create_task(self._trim())
        children = [
            _Child(spec, ProcessLog(self._logs / f"{spec.name}.log"), self._reporter, self._timing, self._announce)
            for spec in specs
        ]
        self._children += children
        await together(*(child.start() for child in children))

    async def stop(self) -> None:
        """Stops everything, the highest tier first, and returns when nothing runs any more."""
        if self._trimming is not None:
            self._trimming.cancel()
        for child in self._children:
            child.stopping.set()  # from now on an end is no crash
        for tier in sorted({child.spec.tier for child in self._children}, reverse=True):
            await asyncio.gather(*(child.stop() for child in self._children if child.spec.tier == tier))

    def hurry(self) -> None:
        """Kills what has not stopped yet."""
        for child in self._children:
            child.kill()

    def signal(self, name: str, number: signal.Signals) -> None:
        """Sends a signal to a process, if it runs."""
        for child in self._children:
            if child.spec.name == name and child.pid is not None:
                os.kill(child.pid, number)

    def running(self) -> Sequence[Running]:
        """Returns what runs, in the order of starting."""
        return [Running(child.spec, child.pid, child.restarts) for child in self._children]

    def _announce(self) -> None:
        self._changed(self.running())

    async def _trim(self) -> None:
        while True:
            await asyncio.sleep(TRIM_SECONDS)
            for child in self._children:
                child.log.trim()


async def together(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Runs all at once and cancels the others when one fails. Raises the first StackError as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for coroutine in coroutines:
                group.create_task(coroutine)
    except ExceptionGroup as group_of_errors:
        failed, others = group_of_errors.split(StackError)
        if failed is None or others is not None:
            raise
        raise failed.exceptions[0] from None


class _Child:
    """One process through all its lives."""

    def __init__(
        self, spec: ProcessSpec, log: ProcessLog, reporter: Reporter, timing: Timing, announce: Callable[[], None]
    ) -> None:
        self.spec = spec
        self.log = log
        self.restarts = 0
        self.stopping = asyncio.Event()
        self._reporter = reporter
        self._timing = timing
        self._announce = announce
        self._process: asyncio.subprocess.Process | None = None
        self._log_start = 0
        self._started_at = 0.0
        self._watching: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Pid of the process, None when it does not run."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Starts the process and returns when it serves; from then on it is watched."""
        self.log.rotate()
        process = await self._spawn()
        if not await self._serves(process):
            raise StackError(f"{self.spec.name} {await self._why_not(process)}{self._tail_for_message()}")
        self._watching = asyncio.create_task(self._watch(process))

    async def stop(self) -> None:
        """Tells the process to stop, waits, and kills it in the end."""
        self.stopping.set()
        process = self._process
        if process is not None:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(self.spec.stop_signal)
            try:
                async with asyncio.timeout(self._timing.stop):
                    await process.wait()
            except TimeoutError:
                self._reporter.note(f"{self.spec.name} did not stop within {self._timing.stop:g} s and was killed")
            self.kill()
            await process.wait()
        if self._watching is not None:
            await self._watching

    def kill(self) -> None:
        """Kills the process and whatever it started."""
        if self._process is not None:
            # The process leads a group of its own, which outlives it while one of its children does.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _spawn(self) -> asyncio.subprocess.Process:
        spec = self.spec
        account = "-" if spec.account is None else "{}:{}".format(*spec.account)
        leash = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), str(int(spec.orphan_signal)), account]
        self._log_start = self.log.size()
        self._started_at = time.monotonic()
        log = self.log.open()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *leash,
                *spec.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(spec.environment),
                # Out of the terminal's reach: Ctrl-C is for the supervisor, who stops the processes in order.
                start_new_session=True,
            )
        finally:
            os.close(log)
        if self.stopping.is_set():
            self.kill()  # told to stop while starting
        self._announce()
        return self._process

    async def _serves(self, process: asyncio.subprocess.Process) -> bool:
        """Waits until the process serves; False when it ended or took too long."""
        ended = asyncio.ensure_future(process.wait())
        try:
            while time.monotonic() - self._started_at < self._timing.ready:
                try:
                    await probe(self.spec.health)
                except ProbeError:
                    await asyncio.wait([ended], timeout=POLL_SECONDS)
                else:
                    if not ended.done():  # else the answer came from somebody else at that address
                        self._reporter.ready(self.spec.name, time.monotonic() - self._started_at)
                        return True
                if ended.done():
                    return False
            return False
        finally:
            ended.cancel()

    async def _why_not(self, process: asyncio.subprocess.Process) -> str:
        if process.returncode is None:
            self.kill()
            await process.wait()
            return f"was not ready within {self._timing.ready:g} s"
        return _describe_end(process.returncode)

    def _tail_for_message(self) -> str:
        tail = self.log.tail(self._log_start)
        return "; its log is empty" if not tail else f"; {self.log.path} ends with:\n" + "\n".join(tail)

    async def _watch(self, process: asyncio.subprocess.Process) -> None:
        """Restarts the process whenever it ends, until it is told to stop."""
        crashes = 0
        while True:
            how = _describe_end(await process.wait())
            while True:
                if self.stopping.is_set():
                    return
                self.kill()  # what it may have left behind would hold its address
                crashes = 0 if time.monotonic() - self._started_at >= self._timing.healthy else crashes
                delay = min(self._timing.longest_backoff, self._timing.first_backoff * 2**crashes)
                crashes = min(crashes + 1, 30)
                self._announce()
                self._reporter.crashed(Crash(self.spec.name, how, self.log.tail(self._log_start), self.log.path, delay))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self.stopping.wait()
                if self.stopping.is_set():
                    return
                self.restarts += 1
                process = await self._spawn()
                if await self._serves(process):
                    break
                how = await self._why_not(process)


def _describe_end(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
