"""Whether a server that says nothing is still there."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Ask a server that was silent for `time` seconds while calls are under way; it has `timeout` seconds to answer."""

    time: float
    timeout: float


class SilenceWatch:
    """Watches one connection; whoever hears from the server sets `heard`.

    `busy` tells whether calls are under way, `ask` sends a ping, and `give_up` is called when nothing comes of it.
    """

    def __init__(
        self,
        keepalive: Keepalive,
        *,
        busy: Callable[[], bool],
        ask: Callable[[], None],
        give_up: Callable[[], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._keepalive = keepalive
        self._busy = busy
        self._ask = ask
        self._give_up = give_up
        self.heard = False
        self._timer = self._loop.call_later(keepalive.time, self._check)

    def stop(self) -> None:
        """End the watching."""
        self._timer.cancel()

    def _check(self) -> None:
        if self.heard or not self._busy():
            self.heard = False
            self._timer = self._loop.call_later(self._keepalive.time, self._check)
            return
        self._ask()
        self._timer = self._loop.call_later(self._keepalive.timeout, self._check_answer)

    def _check_answer(self) -> None:
        if self.heard:
            self._check()
        else:
            self._give_up()
