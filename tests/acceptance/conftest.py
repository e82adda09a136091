"""The mesh that most tests share, and what it said when a test fails."""

from collections.abc import AsyncIterator, Generator
from pathlib import Path

import pytest

from tests.support.mesh import Caller, Mesh, running_mesh
from tests.support.postgres import PostgresServer
from tests.support.simulator import Simulator, running_simulator

LOG_LINES = 40


@pytest.fixture(scope="session")
async def simulator(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Simulator]:
    """The provider simulator."""
    async with running_simulator(tmp_path_factory.mktemp("simulator")) as running:
        yield running


@pytest.fixture(scope="session")
async def mesh(
    postgres: PostgresServer, simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Mesh]:
    """A mesh whose providers are the simulator; shared, so each test makes a user of its own."""
    openai = {"OPENAI_API_KEY": "sk-simulated-openai", "OPENAI_BASE_URL": simulator.openai_url}
    claude = {"ANTHROPIC_API_KEY": "sk-simulated-anthropic", "ANTHROPIC_BASE_URL": simulator.anthropic_url}
    environment = {"chat": {**openai, **claude}, "asset": openai}
    database = postgres.create_database()
    async with running_mesh(tmp_path_factory.mktemp("mesh"), postgres, database, environment) as running:
        yield running
    postgres.drop_database(database)


@pytest.fixture
async def caller(mesh: Mesh) -> Caller:
    """A new user with a key that may do all that is no administrator's."""
    return await mesh.new_caller()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the end of every process's log to the report of a test that failed."""
    report = yield
    if report.failed:
        for running in getattr(item, "funcargs", {}).values():
            if isinstance(running, Mesh):
                for name, process in running.processes.items():
                    if Path(process.log).exists():
                        report.sections.append((f"log of {name}", process.tail(LOG_LINES)))
    return report
