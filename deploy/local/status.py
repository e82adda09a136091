"""How a home's stack is doing, seen from outside."""

import asyncio
from collections.abc import Sequence

import psutil

from deploy.local.errors import StackError
from deploy.local.home import Home
from deploy.local.probe import ProbeError, probe
from deploy.local.state import ProcessState, StackState, read_state
from deploy.local.view import HEALTHY, Row


async def look(home: Home) -> Sequence[Row]:
    """Asks every process of the running stack at once. Raises StackError when none runs."""
    state = running_state(home)
    if state is None:
        raise StackError(f"GAIA_HOME: Gaia does not run in {home.path}; start it with `gaia up`")
    rows = await asyncio.gather(*map(_look_at, state.processes))
    if any(process.name == "postgres" for process in state.processes):
        return rows
    auth = next(process for process in state.processes if process.name == "auth")
    database = await _health(f"{auth.health}/database")
    return [Row("postgres", "DATABASE_URL", database), *rows]


def running_state(home: Home) -> StackState | None:
    """Returns the state of the supervisor that runs in the home, None when none does."""
    state = read_state(home)
    return state if state is not None and state.supervisor() is not None else None


def stop_running(home: Home, timeout: float) -> bool:
    """Tells the supervisor to stop and waits for its end; False when none runs.

    `timeout` in seconds. Raises StackError when it takes longer.
    """
    state = running_state(home)
    supervisor = None if state is None else state.supervisor()
    if supervisor is None:
        return False
    try:
        supervisor.terminate()
        supervisor.wait(timeout)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired as error:
        raise StackError(
            f"Gaia (pid {supervisor.pid}) has not stopped after {timeout:g} s; see its terminal"
        ) from error
    except psutil.AccessDenied as error:
        raise StackError(f"Gaia (pid {supervisor.pid}) belongs to another user, who has to stop it") from error
    return True


async def _look_at(process: ProcessState) -> Row:
    health = "restarting" if process.pid is None else await _health(process.health)
    return Row(process.name, process.address, health)


async def _health(url: str) -> str:
    try:
        await probe(url)
    except ProbeError as error:
        return str(error)
    return HEALTHY
