"""Brings a database to the newest schema, once at a time."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from shared.settings import normalise_database_url

_LOCK = 0x6761_6961  # "gaia": the advisory lock that keeps two migrations from running at once
CONNECT_SECONDS = 5
_FOLDER = Path(__file__).parent


class MigrationError(Exception):
    """The database cannot be migrated; the message is one line that says why, without the URL."""


@dataclass(frozen=True, slots=True)
class MigrationStatus:
    """Where a database stands: its revision (None: empty), the newest one, and those still to run, oldest first."""

    current: str | None
    head: str
    pending: tuple[str, ...]


def migrate(url: str) -> None:
    """Runs all pending revisions as the owner of the schema. Raises MigrationError."""
    with _connect(url) as connection:
        _upgrade(connection)


def status(url: str) -> MigrationStatus:
    """Tells where the database stands. Raises MigrationError."""
    with _connect(url) as connection:
        return _status(connection)


@contextlib.contextmanager
def _connect(url: str) -> Iterator[Connection]:
    address = normalise_database_url(url).replace("postgresql://", "postgresql+psycopg://", 1)
    engine = create_engine(address, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_SECONDS})
    try:
        with engine.connect() as connection:
            yield connection
    except SQLAlchemyError as error:
        cause = error.__cause__ or error
        raise MigrationError(f"DATABASE_URL: {type(cause).__name__}: {str(cause).splitlines()[0]}") from error
    finally:
        engine.dispose()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _LOCK})
    connection.commit()
    try:
        command.upgrade(_config(connection), "head")
        connection.commit()
    finally:
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": _LOCK})
        connection.commit()


def _status(connection: Connection) -> MigrationStatus:
    scripts = ScriptDirectory.from_config(_config(connection))
    head = scripts.get_current_head()
    if head is None:
        raise MigrationError("there are no migrations")
    current = MigrationContext.configure(connection).get_current_revision()
    pending = tuple(script.revision for script in scripts.iterate_revisions(head, current or "base"))
    return MigrationStatus(current=current, head=head, pending=tuple(reversed(pending)))
