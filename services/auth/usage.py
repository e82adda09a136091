"""When keys were last used: collected in memory, written in batches."""

import asyncio
import datetime as dt
import logging
import uuid

from services.auth.store import Store
from shared.errors import GaiaError

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 60.0
"""How often uses are written; so a key costs at most one write a minute."""
MAX_KEYS = 100_000
"""Most keys that wait to be written; the use of more goes unnoticed until the next writing."""


class UseRecorder:
    """Collects uses of keys and writes them once a minute, and at the end."""

    def __init__(self, store: Store, *, interval: float = FLUSH_SECONDS) -> None:
        self._store = store
        self._interval = interval
        self._used: dict[uuid.UUID, dt.datetime] = {}

    def record(self, api_key_id: uuid.UUID, moment: dt.datetime) -> None:
        """Notes that a key was used."""
        if api_key_id in self._used or len(self._used) < MAX_KEYS:
            self._used[api_key_id] = moment

    async def run(self) -> None:
        """Writes until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            await self.flush()

    async def flush(self) -> None:
        """Writes what was collected; what cannot be written now is kept for the next time."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await self._store.touch_keys(used)
        except GaiaError as error:
            logger.warning("the last use of keys could not be written", extra={"cause": str(error)})
            self._used = {**used, **self._used}
