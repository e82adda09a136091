"""What runs, written down for `gaia status`, `gaia down` and the next start."""

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import psutil

from deploy.local.home import Home, write_secret
from deploy.local.supervisor import Running

LEFTOVER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ProcessState:
    """A process as last seen; `pid` is None between a crash and the restart."""

    name: str
    pid: int | None
    address: str
    health: str
    stop_signal: int
    restarts: int


@dataclass(frozen=True, slots=True)
class StackState:
    """A supervisor and its processes."""

    pid: int
    started_at: float
    """When the supervisor was started, as the kernel says it: with the pid, it names the process for good."""
    processes: Sequence[ProcessState]

    def supervisor(self) -> psutil.Process | None:
        """Returns the supervisor, None when it has ended."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            if process.create_time() == self.started_at and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


def write_state(home: Home, running: Sequence[Running]) -> None:
    """Writes down what this process supervises."""
    processes = [
        ProcessState(
            name=one.spec.name,
            pid=one.pid,
            address=one.spec.address,
            health=one.spec.health,
            stop_signal=int(one.spec.stop_signal),
            restarts=one.restarts,
        )
        for one in running
    ]
    state = StackState(os.getpid(), psutil.Process().create_time(), processes)
    write_secret(home.state, json.dumps(asdict(state), indent=1))


def read_state(home: Home) -> StackState | None:
    """Returns what was last written down, None when nothing was or it cannot be read."""
    try:
        raw = json.loads(home.state.read_text())
        processes = [ProcessState(**process) for process in raw.pop("processes")]
        return StackState(**raw, processes=processes)
    except (OSError, ValueError, TypeError, KeyError):
        return None  # as good as none: it only tells about processes that the ports and Postgres's own lock tell of too


def forget_state(home: Home) -> None:
    """Removes the note; nothing runs any more."""
    home.state.unlink(missing_ok=True)


def clear_leftovers(home: Home, note: Callable[[str], None]) -> None:
    """Ends what a supervisor left running that was itself killed. Called with the home's lock held."""
    state = read_state(home)
    if state is None:
        return
    for recorded in state.processes:
        if recorded.pid is None:
            continue
        found = _session(recorded.pid, home)
        if not found:
            continue
        note(f"{recorded.name} (pid {recorded.pid}) was left running by a supervisor that was killed; stopping it")
        _end(found, signal.Signals(recorded.stop_signal))
    forget_state(home)


def _session(leader: int, home: Home) -> list[psutil.Process]:
    """Returns the processes of a session that belong to this home; pids are reused, environments are not."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getsid(process.pid) == leader and process.environ().get("GAIA_HOME") == str(home.path):
                found.append(process)
    return found


def _end(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
    _, alive = psutil.wait_procs(processes, timeout=LEFTOVER_SECONDS)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=LEFTOVER_SECONDS)


def uptime_seconds(process: psutil.Process) -> float:
    """How long a process has been running."""
    return max(0.0, time.time() - process.create_time())
