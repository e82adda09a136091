"""A home of the local stack, and its Postgres as the supervisor runs it."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from deploy.local import postgres as embedded
from deploy.local.environment import base_environment
from deploy.local.home import Home, open_home
from deploy.local.supervisor import Supervisor, Timing


class Recorder:
    """A reporter that remembers."""

    def __init__(self):
        self.notes = []
        self.crashes = asyncio.Queue()
        self.readies = asyncio.Queue()

    def ready(self, name, seconds):
        self.readies.put_nowait(name)

    def crashed(self, crash):
        self.crashes.put_nowait(crash)

    def note(self, text):
        self.notes.append(text)


class RunningCluster:
    """A cluster and its supervisor."""

    def __init__(self, home: Home):
        self.home = home
        self.reporter = Recorder()

    async def start(self):
        self.cluster = await asyncio.to_thread(embedded.prepare, self.home, self.reporter.note)
        self.supervisor = Supervisor(self.home.logs, self.reporter, timing=Timing(first_backoff=0.05))
        await self.supervisor.start(self.cluster.spec(base_environment(self.home)))
        await self.reporter.readies.get()
        return self

    async def stop(self):
        await self.supervisor.stop()
        self.cluster.remove_temporary_sockets()

    @property
    def pid(self) -> int:
        return self.supervisor.running()[0].pid


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    # Not below pytest's folders: under root another user must get through, which is not for a test to allow there.
    path = Path(tempfile.mkdtemp(prefix="gaia-test-home-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def tmp_home_path() -> Iterator[Path]:
    """Where a home may be made, for one test."""
    with folder() as path:
        yield path / "home"


@pytest.fixture
def tmp_home(tmp_home_path) -> Home:
    """A home for one test."""
    return open_home(tmp_home_path)


@pytest.fixture(scope="module")
async def running() -> AsyncIterator[RunningCluster]:
    """A running Postgres for the tests of a module."""
    with folder() as path:
        cluster = await RunningCluster(open_home(path / "home")).start()
        yield cluster
        await cluster.stop()
