"""The store in which several processes count together: Redis or Valkey."""

from limits.aio.storage.redis import RedisStorage
from redis.asyncio import BlockingConnectionPool
from redis.exceptions import RedisError

from shared.rates.windows import WINDOW_SECONDS

MAX_CONNECTIONS = 50
_PREFIX = "gaia:rates"


class SharedStore:
    """Counts in sliding windows. Waits `timeout` seconds at most for a connection, and as long for each answer."""

    def __init__(self, url: str, timeout: float) -> None:
        self._storage = _open(url, timeout)

    async def take(self, key: str, limit: int, amount: int) -> tuple[bool, tuple[int, float, int, float]]:
        """Counts an amount unless it would exceed the limit; returns whether it did, and the state of the window after.

        Raises ConnectionError, naming the class of what went wrong, when the store fails.
        """
        try:
            allowed = await self._storage.acquire_sliding_window_entry(key, limit, WINDOW_SECONDS, amount)
            return allowed, await self._storage.get_sliding_window(key, WINDOW_SECONDS)
        except (RedisError, OSError) as error:
            raise ConnectionError(type(error).__name__) from error

    async def close(self) -> None:
        """Closes all connections."""
        connection = self._storage.bridge.get_connection()  # type: ignore[attr-defined] # its base class lacks it
        # A client does not close a pool that was handed to it.
        await connection.connection_pool.disconnect()


def _open(url: str, timeout: float) -> RedisStorage:
    # One client speaks to both; limits would want another one for Valkey's schemes.
    scheme, _, rest = url.partition("://")
    uri = f"{scheme.replace('valkey', 'redis')}://{rest}"
    # The default pool refuses what is too much at once; this one lets it wait, as long as the request may.
    pool = BlockingConnectionPool.from_url(
        uri.replace("redis+unix", "unix"),
        max_connections=MAX_CONNECTIONS,
        timeout=timeout,
        socket_timeout=timeout,
        socket_connect_timeout=timeout,
    )
    return RedisStorage(
        f"async+{uri}",
        implementation="redispy",
        key_prefix=_PREFIX,
        connection_pool=pool,  # type: ignore[arg-type] # passed on to the client as it is
    )
