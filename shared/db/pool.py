"""A pool of connections to Postgres that says in Gaia's terms when the database is away."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from shared.errors import InvalidArgument, Unavailable

ACQUIRE_SECONDS = 2.0
"""How long a call waits for a free connection, or for a new one, before it fails as unavailable."""
COMMAND_SECONDS = 10.0
CONNECT_SECONDS = 2.0
CLOSE_SECONDS = 5.0

# asyncpg's classes take type arguments in their stubs only.
Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"
Row: TypeAlias = asyncpg.Record

# How asyncpg says that the server is away, going away, coming up, full, a standby that takes no writes, or not yet
# prepared, and that of two who waited for each other this one had to give way; TimeoutError: silent.
# InternalClientError: the server said its farewell while nobody asked it anything, and asyncpg takes that message for a
# call that is still under way (until the connection ends, a moment later).
OUTAGE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.TransactionRollbackError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

# How Postgres says of a text, and of one inside of JSON, that it holds U+0000.
UNSTORABLE = (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError)


def unavailable() -> Unavailable:
    """The error of a database that does not answer."""
    return Unavailable("the database does not answer; try again", reason="DATABASE_UNAVAILABLE")


async def _keep_session(_connection: object) -> None:
    # asyncpg rolls back what is open by itself. Its further reset is a round trip after each use, for session state
    # (SET, LISTEN, advisory locks) that nothing here leaves behind.
    return


@dataclass(frozen=True, slots=True)
class PoolUse:
    """Connections of a pool: lent, open but idle, and the most there may be."""

    busy: int
    idle: int
    limit: int


class Database:
    """The pool. It opens without a database and finds one whenever it comes; every method raises Unavailable meanwhile.

    Errors that say something about the data (asyncpg.UniqueViolationError, …) pass unchanged.
    """

    def __init__(self, url: str, *, size: int = 10) -> None:
        self._url = url
        self._size = size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def open(self) -> None:
        """Makes the pool. Connects to nothing yet."""
        self._pool = await asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=self._size,
            timeout=CONNECT_SECONDS,
            command_timeout=COMMAND_SECONDS,
            reset=_keep_session,
            # Statements prepared before a migration must not outlive it for long.
            max_cached_statement_lifetime=600,
            server_settings={"application_name": "gaia", "statement_timeout": "15000"},
        )

    async def close(self) -> None:
        """Closes all connections, at once where they do not end by themselves."""
        if self._pool is None:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    def use(self) -> PoolUse:
        """Returns how much of the pool is in use."""
        if self._pool is None:
            return PoolUse(0, 0, self._size)
        idle = self._pool.get_idle_size()
        return PoolUse(self._pool.get_size() - idle, idle, self._size)

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lends a connection."""
        if self._pool is None:
            raise RuntimeError("the database pool is not open")
        try:
            async with self._pool.acquire(timeout=ACQUIRE_SECONDS) as connection:
                yield connection
        except OUTAGE as error:
            raise unavailable() from error
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError) as error:
            raise Unavailable(
                "the database is older than this service; run `gaia db migrate`", reason="DATABASE_OUTDATED"
            ) from error
        except UNSTORABLE as error:
            # Whoever knows the field says so before it comes to this.
            raise InvalidArgument("a text holds the character U+0000, which no text of the database can") from error

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Lends a connection inside a transaction, committed when the block ends well."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def rows(self, query: str, *arguments: Any) -> Sequence[Row]:
        """Returns all rows of a query."""
        async with self.connection() as connection:
            return await connection.fetch(query, *arguments)

    async def row(self, query: str, *arguments: Any) -> Row | None:
        """Returns the first row of a query, or None."""
        async with self.connection() as connection:
            return await connection.fetchrow(query, *arguments)

    async def execute(self, query: str, *arguments: Any) -> int:
        """Runs a statement and returns how many rows it touched."""
        async with self.connection() as connection:
            tag = await connection.execute(query, *arguments)
        count = tag.rpartition(" ")[2]
        return int(count) if count.isdecimal() else 0

    async def ping(self) -> None:
        """Returns when the database answers."""
        await self.row("SELECT 1")
