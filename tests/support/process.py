"""Real processes for tests: started on ports of their own, logged to files, ended by their ids only."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

LEASH = Path(__file__).parents[2] / "deploy" / "local" / "leash.py"
POLL_SECONDS = 0.02
END_SECONDS = 20.0


class Process:
    """A program that can be started, signalled and started again; every start adds to the same log.

    It ends with the tests, however they end. `environment` is all that it gets.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._environment = dict(environment)
        self._running: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Id of the running process."""
        assert self._running is not None, f"{self.name} is not running"
        return self._running.pid

    def start(self) -> None:
        """Starts the program; returns at once."""
        assert self._running is None, f"{self.name} is running"
        leash = [sys.executable, "-I", "-S", str(LEASH), str(os.getpid()), str(int(signal.SIGKILL)), "-"]
        with self.log.open("ab") as log:
            self._running = subprocess.Popen(
                [*leash, *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raises RuntimeError, with the end of the log, when the program has ended by itself."""
        if self._running is not None and (code := self._running.poll()) is not None:
            raise RuntimeError(f"{self.name} ended with code {code}; its log ends with:\n{self.tail()}")

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal and waits for the end; returns the exit code, negative for a signal."""
        process, self._running = self._running, None
        assert process is not None, f"{self.name} is not running"
        process.send_signal(number)
        try:
            return await asyncio.to_thread(process.wait, END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal, such as SIGSTOP and SIGCONT, and waits for nothing."""
        assert self._running is not None, f"{self.name} is not running"
        self._running.send_signal(number)

    @property
    def is_running(self) -> bool:
        """Whether it was started and not ended."""
        return self._running is not None

    def text(self, start: int = 0) -> str:
        """Returns the log from a byte on."""
        with self.log.open("rb") as log:
            log.seek(start)
            return log.read().decode(errors="replace")

    def tail(self, lines: int = 30) -> str:
        """Returns the last lines of the log."""
        return "\n".join(self.text().splitlines()[-lines:])


async def until(condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 20.0) -> float:
    """Asks again and again until the condition holds; returns the seconds that it took.

    Raises TimeoutError that says what did not come true.
    """
    began = time.perf_counter()
    while not await condition():
        if time.perf_counter() - began > seconds:
            raise TimeoutError(f"after {seconds:g} s, still not: {what}")
        await asyncio.sleep(POLL_SECONDS)
    return time.perf_counter() - began
