"""Fixtures that every test may use: a Postgres server, and an empty database in it."""

import gc
import os
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.support.postgres import PostgresServer, running_server
from tests.support.sharing_out import FromBothEnds

# Whoever develops here may have a gaia.toml of their own.
os.environ["GAIA_CONFIG"] = os.devnull

# Before gRPC is first called: children are made to run other programs, where its handlers of forks can only do harm.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

# The same examples in every run, and no clock: what is found by chance, or because a machine is busy, is found by
# whoever looks for it, with --hypothesis-profile=explore.
settings.register_profile("explore", database=None, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("steady", settings.get_profile("explore"), derandomize=True)
settings.load_profile("steady")


def pytest_collection_finish() -> None:
    """Keeps thousands of collected tests out of the garbage collector's rounds, which cost a fifth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FromBothEnds:
    """Shares the tests out where there are several workers."""
    config.option.loadscopereorder = False
    return FromBothEnds(config, log)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A Postgres server with Gaia's roles."""
    yield from running_server()


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> Iterator[str]:
    """The name of a migrated, empty database; `postgres.url(database, role)` is its URL."""
    name = postgres.create_database()
    yield name
    postgres.drop_database(name)
