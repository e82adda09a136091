"""Behaviour of edge/workers.py, with programs that end in other ways than the edge does."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from edge.settings import EdgeSettings
from edge.workers import Backoff, environment_of, run_workers, supervisor_gone
from tests.support.waiting import eventually

QUICK = Backoff(first=0.01, longest=0.05)
HOLD = "import sys; sys.stdin.read()"


def settings(**changes: Any) -> EdgeSettings:
    return EdgeSettings(edge_port=0, edge_workers=2, drain_seconds=0, **changes)


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def command(script: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", script]


async def test_workers_are_told_who_they_are_and_end_when_told(tmp_path: Path) -> None:
    script = f"""
import os, pathlib, signal
told = " ".join(os.environ[name] for name in ("GAIA_EDGE_WORKERS", "GAIA_EDGE_WORKER", "GAIA_EDGE_PORT"))
pathlib.Path({str(tmp_path)!r}, os.environ["GAIA_EDGE_WORKER"]).write_text(told)
{HOLD}
"""
    stop = asyncio.Event()
    running = asyncio.create_task(run_workers(settings(), stop, command=command(script)))

    async def told() -> list[str]:
        found = [path.read_text() for path in files(tmp_path)]
        return found if len(found) == 2 and all(found) else []

    first, second = await eventually(told)
    port = first.rsplit(" ", 1)[1]
    assert int(port) > 0
    assert (first, second) == (f"1 1 {port}", f"1 2 {port}")
    stop.set()
    await asyncio.wait_for(running, 10)


async def test_a_worker_that_ends_is_started_again_and_again(tmp_path: Path) -> None:
    script = f"import os, pathlib; pathlib.Path({str(tmp_path)!r}, str(os.getpid())).touch()"
    stop = asyncio.Event()
    running = asyncio.create_task(run_workers(settings(), stop, command=command(script), backoff=QUICK))

    async def lives() -> bool:
        return len(files(tmp_path)) >= 6

    await eventually(lives)
    stop.set()
    await asyncio.wait_for(running, 10)


async def test_a_setting_that_a_worker_finds_wrong_stops_them_all() -> None:
    script = f"import os; os.environ['GAIA_EDGE_WORKER'] == '2' and os._exit(2); {HOLD}"
    with pytest.raises(OSError, match="what they said stands above"):
        await asyncio.wait_for(run_workers(settings(), asyncio.Event(), command=command(script)), 10)


async def test_one_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("edge.workers._STOP_SECONDS", 0.2)
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    script = f"import os, pathlib; {deaf}; pathlib.Path({str(tmp_path)!r}, str(os.getpid())).touch(); {HOLD}"
    stop = asyncio.Event()
    running = asyncio.create_task(run_workers(settings(), stop, command=command(script)))

    async def pids() -> list[int]:
        found = [int(path.name) for path in files(tmp_path)]
        return found if len(found) == 2 else []

    started = await eventually(pids)
    stop.set()
    await asyncio.wait_for(running, 10)
    for pid in started:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_each_worker_has_its_own_port_for_metrics() -> None:
    told = [environment_of(settings(metrics_listen="[::1]:9100"), number, 8666) for number in (1, 2)]
    assert [one["GAIA_METRICS_LISTEN"] for one in told] == ["[::1]:9100", "[::1]:9101"]
    assert "GAIA_METRICS_LISTEN" not in environment_of(settings(), 1, 8666)


def test_waits_grow_up_to_a_bound() -> None:
    backoff = Backoff()
    assert [backoff.after(ends) for ends in (1, 2, 3, 100)] == [0.5, 1.0, 2.0, 30.0]


async def test_a_worker_ends_when_its_supervisor_does(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    stop = asyncio.Event()
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        waiting = asyncio.create_task(supervisor_gone(stop))
        await asyncio.sleep(0)
        assert not stop.is_set()
        os.close(writing)
        await asyncio.wait_for(waiting, 5)
    assert stop.is_set()
