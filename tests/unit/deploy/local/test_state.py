import json
import os
import subprocess
import sys

import psutil
import pytest

from deploy.local.home import open_home
from deploy.local.state import clear_leftovers, read_state, write_state
from deploy.local.status import running_state, stop_running
from deploy.local.supervisor import ProcessSpec, Running


@pytest.fixture
def home(tmp_path):
    return open_home(tmp_path / "home")


@pytest.fixture
def sleeper(home):
    """Starts a process as the supervisor does: in a session of its own, marked with its home."""
    started = []

    def start(mark=home.path, program="import time; time.sleep(600)"):
        process = subprocess.Popen(
            [sys.executable, "-c", program], env={"GAIA_HOME": str(mark)}, start_new_session=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def record(home, *pids):
    specs = [ProcessSpec(f"process{number}", [], {}, "address", "grpc://health") for number, _ in enumerate(pids)]
    write_state(home, [Running(spec, pid, 2) for spec, pid in zip(specs, pids, strict=True)])


def test_what_is_written_down_is_read_again(home):
    record(home, 4711, None)
    state = read_state(home)
    assert state.pid == os.getpid()
    assert [(one.name, one.pid, one.restarts) for one in state.processes] == [
        ("process0", 4711, 2),
        ("process1", None, 2),
    ]


def test_secrets_of_the_processes_are_not_written_down(home):
    spec = ProcessSpec(
        "auth", ["python"], {"DATABASE_URL": "postgresql://auth:hunter2@/gaia"}, "address", "grpc://health"
    )
    write_state(home, [Running(spec, 1, 0)])
    assert "hunter2" not in home.state.read_text()
    assert home.state.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pid": 1, "started_at": 0, "processes": [{}]}'])
def test_a_note_that_cannot_be_read_counts_as_none(home, text):
    home.state.write_text(text)
    assert read_state(home) is None


def test_what_a_killed_supervisor_left_running_is_stopped_and_that_is_said(home, sleeper):
    left = sleeper()
    record(home, left.pid)
    notes = []
    clear_leftovers(home, notes.append)
    assert not psutil.pid_exists(left.pid)
    assert notes == [f"process0 (pid {left.pid}) was left running by a supervisor that was killed; stopping it"]
    assert not home.state.exists()


def test_what_a_leftover_started_is_stopped_with_it(home, sleeper, tmp_path):
    program = (
        "import subprocess, sys, os\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'child')!r}, 'w').write(str(child.pid))\n"
        "os.kill(os.getpid(), 9)\n"
    )
    left = sleeper(program=program)
    left.wait(10)
    child = psutil.Process(int((tmp_path / "child").read_text()))
    record(home, left.pid)
    clear_leftovers(home, lambda _: None)
    _, alive = psutil.wait_procs([child], 5)
    assert not [one for one in alive if one.status() != psutil.STATUS_ZOMBIE]


def test_a_process_that_only_has_the_number_of_a_leftover_is_left_alone(home, sleeper, tmp_path):
    other = sleeper(mark=tmp_path / "another home")
    record(home, other.pid)
    clear_leftovers(home, pytest.fail)
    assert other.poll() is None


def test_a_supervisor_whose_number_was_given_to_somebody_else_does_not_run(home):
    record(home)
    assert running_state(home) is not None
    state = json.loads(home.state.read_text())
    home.state.write_text(json.dumps({**state, "started_at": state["started_at"] - 1}))
    assert running_state(home) is None
    assert stop_running(home, 1) is False
