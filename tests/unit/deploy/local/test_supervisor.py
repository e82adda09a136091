import asyncio
import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest

from deploy.local.errors import StackError
from deploy.local.probe import ProbeError, probe
from deploy.local.supervisor import Crash, ProcessSpec, Supervisor, Timing
from tests.support.ports import free_port

FAKE = Path(__file__).with_name("fake_process.py")
QUICK = Timing(ready=10, first_backoff=0.05, longest_backoff=0.2, healthy=60, stop=5)


class Recorder:
    def __init__(self):
        self.events = asyncio.Queue()
        self.notes = []

    def ready(self, name, seconds):
        self.events.put_nowait(("ready", name))

    def crashed(self, crash: Crash):
        self.events.put_nowait(("crashed", crash))

    def note(self, text):
        self.notes.append(text)

    async def next(self, kind: str):
        async with asyncio.timeout(10):
            while True:
                found, value = await self.events.get()
                if found == kind:
                    return value


@pytest.fixture
def recorder():
    return Recorder()


@pytest.fixture
async def supervisors(tmp_path, recorder) -> AsyncIterator[Callable[..., Supervisor]]:
    made = []

    def make(timing=QUICK, **options):
        made.append(Supervisor(tmp_path, recorder, timing=timing, **options))
        return made[-1]

    yield make
    for supervisor in made:
        await supervisor.stop()


def fake(name: str, *arguments: str, tier=1, environment=None) -> ProcessSpec:
    port = free_port()
    return ProcessSpec(
        name=name,
        command=[sys.executable, "-I", "-S", str(FAKE), str(port), *arguments],
        environment=environment or {},
        address=f"127.0.0.1:{port}",
        health=f"http://127.0.0.1:{port}/readyz",
        tier=tier,
    )


def pids(supervisor: Supervisor) -> list[int]:
    return [one.pid for one in supervisor.running() if one.pid is not None]


async def gone(pid: int) -> None:
    """Returns when the process has ended, whether or not its parent has asked how."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            ready, _, _ = await asyncio.to_thread(select.select, [descriptor], [], [], 10)
        finally:
            os.close(descriptor)
        assert ready, f"process {pid} still runs"


async def test_start_returns_when_every_process_serves(supervisors):
    supervisor = supervisors()
    one, two = fake("one"), fake("two")
    await supervisor.start(one, two)
    await probe(one.health)
    await probe(two.health)
    assert len(pids(supervisor)) == 2


async def test_stop_ends_every_process_and_frees_its_address(supervisors):
    supervisor = supervisors()
    spec = fake("one")
    await supervisor.start(spec)
    [pid] = pids(supervisor)
    await supervisor.stop()
    assert not psutil.pid_exists(pid)
    assert pids(supervisor) == []
    with pytest.raises(ProbeError):
        await probe(spec.health)


async def test_higher_tiers_have_ended_before_lower_ones_are_told_to(supervisors, recorder):
    supervisor = supervisors(Timing(ready=10, stop=0.3))
    await supervisor.start(fake("database", tier=0), fake("edge", "--deaf", tier=2))
    database, edge = supervisor.running()
    stopping = asyncio.create_task(supervisor.stop())
    await gone(edge.pid)
    await stopping
    assert not psutil.pid_exists(database.pid)
    # The deaf one was waited for; had the database been told at the same time, it would have been gone long before.
    assert recorder.notes == ["edge did not stop within 0.3 s and was killed"]


async def test_a_crash_is_reported_by_name_with_the_tail_of_its_log_and_the_process_comes_back(supervisors, recorder):
    supervisor = supervisors()
    spec = fake("chat")
    await supervisor.start(spec)
    assert await recorder.next("ready") == "chat"
    [pid] = pids(supervisor)
    os.kill(pid, signal.SIGSEGV)
    crash = await recorder.next("crashed")
    assert (crash.name, crash.how, crash.restart_in) == ("chat", "was killed by SIGSEGV", 0.05)
    assert list(crash.tail) == [f"serving {pid}"]
    assert await recorder.next("ready") == "chat"
    await probe(spec.health)
    assert pids(supervisor) != [pid]
    assert supervisor.running()[0].restarts == 1


async def test_the_wait_before_a_restart_doubles_up_to_its_cap(supervisors, recorder):
    supervisor = supervisors()
    await supervisor.start(fake("chat"))
    waits = []
    for _ in range(4):
        await recorder.next("ready")
        os.kill(pids(supervisor)[0], signal.SIGKILL)
        waits.append((await recorder.next("crashed")).restart_in)
    assert waits == [0.05, 0.1, 0.2, 0.2]


async def test_the_wait_begins_anew_after_a_healthy_time(supervisors, recorder):
    supervisor = supervisors(Timing(ready=10, first_backoff=0.05, longest_backoff=1, healthy=0, stop=5))
    await supervisor.start(fake("chat"))
    for _ in range(3):
        await recorder.next("ready")
        os.kill(pids(supervisor)[0], signal.SIGKILL)
        assert (await recorder.next("crashed")).restart_in == 0.05


async def test_what_a_crashed_process_left_behind_is_killed_before_it_is_restarted(supervisors, recorder, tmp_path):
    supervisor = supervisors()
    await supervisor.start(fake("edge", "--child"))
    child = int(re.search(r"child (\d+)", (tmp_path / "edge.log").read_text())[1])
    os.kill(pids(supervisor)[0], signal.SIGKILL)
    await recorder.next("crashed")
    await gone(child)


async def test_a_process_that_ends_while_starting_fails_the_start_with_its_own_words(supervisors):
    supervisor = supervisors()
    with pytest.raises(StackError, match=r"(?s)^auth exited with code 2; .*auth\.log ends with:\nGAIA_LISTEN: wrong$"):
        await supervisor.start(fake("auth", "--fail", "GAIA_LISTEN: wrong"), fake("edge"))
    await supervisor.stop()
    assert pids(supervisor) == []


async def test_a_process_that_never_serves_fails_the_start(supervisors):
    supervisor = supervisors(Timing(ready=0.5, stop=5))
    with pytest.raises(StackError, match=r"^chat was not ready within 0\.5 s; its log is empty$"):
        await supervisor.start(fake("chat", "--silent"))
    assert pids(supervisor) == []


async def test_a_program_that_does_not_exist_fails_the_start(supervisors):
    supervisor = supervisors()
    spec = ProcessSpec("chat", ["/nowhere/program"], {}, "", "http://127.0.0.1:1/")
    with pytest.raises(StackError, match=r"(?s)chat exited with code 1.*No such file"):
        await supervisor.start(spec)


async def test_stop_during_the_wait_before_a_restart_returns_at_once(supervisors, recorder):
    supervisor = supervisors(Timing(ready=10, first_backoff=600, stop=5))
    await supervisor.start(fake("chat"))
    os.kill(pids(supervisor)[0], signal.SIGKILL)
    await recorder.next("crashed")
    async with asyncio.timeout(5):
        await supervisor.stop()


async def test_who_is_in_a_hurry_need_not_wait_for_a_process_that_does_not_stop(supervisors, recorder):
    supervisor = supervisors(Timing(ready=10, stop=600))
    await supervisor.start(fake("chat", "--deaf"))
    [pid] = pids(supervisor)
    stopping = asyncio.create_task(supervisor.stop())
    await asyncio.sleep(0)  # let it tell the process
    supervisor.hurry()
    async with asyncio.timeout(5):
        await stopping
    assert not psutil.pid_exists(pid)


async def test_a_process_gets_the_given_environment_and_nothing_else(supervisors, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    supervisor = supervisors()
    await supervisor.start(fake("edge", environment={"GAIA_ENV": "dev"}))
    environment = psutil.Process(pids(supervisor)[0]).environ()
    # The interpreter adds what its own locale coercion sets.
    assert {name for name in environment if name != "LC_CTYPE"} == {"GAIA_ENV"}


async def test_each_change_of_pids_is_announced(supervisors, recorder):
    seen = []
    supervisor = supervisors(changed=lambda running: seen.append([one.pid for one in running]))
    await supervisor.start(fake("chat"))
    [first] = pids(supervisor)
    os.kill(first, signal.SIGKILL)
    await recorder.next("crashed")
    await recorder.next("ready")
    assert seen == [[first], [None], pids(supervisor)]


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
async def test_processes_die_with_a_supervisor_that_is_killed(tmp_path):
    spec = fake("chat", "--deaf")
    program = textwrap.dedent(f"""
        import asyncio
        from pathlib import Path
        from deploy.local.supervisor import ProcessSpec, Supervisor

        class Quiet:
            def ready(self, name, seconds): pass
            def crashed(self, crash): pass
            def note(self, text): pass

        async def main():
            supervisor = Supervisor(Path({str(tmp_path)!r}), Quiet())
            await supervisor.start(ProcessSpec("chat", {list(spec.command)!r}, {{}}, "", {spec.health!r}))
            print(supervisor.running()[0].pid, flush=True)
            await asyncio.Event().wait()

        asyncio.run(main())
    """)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        pid = int(await process.stdout.readline())
        assert psutil.pid_exists(pid)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    await gone(pid)
