"""Clients that leave while nobody reads from them.

Who waits for a slow backend stops reading from its client, and would learn that the client has left only by reading.
"""

import asyncio
import contextlib
import select
import sys
from types import TracebackType
from typing import Self

_LOOK_AGAIN_SECONDS = 0.02


class Departures:
    """Ends the connections of clients that have closed theirs and from whom nobody reads; one serves an event loop.

    The kernel tells of a client's FIN or reset by an epoll of its own, which, unlike the event loop's, does not ask for
    what there is to read. A client that only says that it will send no more counts as gone, as it does while it is
    read from; what it sent before and nobody has read is lost with it.

    Elsewhere than on Linux nothing is watched: a client's leaving is noticed when somebody reads from it again.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._watched: dict[int, asyncio.Transport] = {}
        if sys.platform == "linux":
            self._epoll = select.epoll()
            self._loop.add_reader(self._epoll.fileno(), self._look)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Watch nobody any more."""
        self._watched.clear()
        if sys.platform == "linux" and not self._epoll.closed:
            self._loop.remove_reader(self._epoll.fileno())
            self._epoll.close()

    def watch(self, transport: asyncio.Transport) -> int:
        """Watch the client at the other end until `forget`, which takes what this returns."""
        number: int = transport.get_extra_info("socket").fileno()
        if sys.platform == "linux" and number >= 0 and not self._epoll.closed:
            self._watched[number] = transport
            # Once is enough, and a socket that has nothing more to tell would be told of in every round.
            interest = select.EPOLLRDHUP | select.EPOLLONESHOT
            try:
                self._epoll.register(number, interest)
            except FileExistsError:
                self._epoll.modify(number, interest)
        return number

    def forget(self, number: int, transport: asyncio.Transport) -> None:
        """End the watching of one client."""
        # The number may be another connection's already.
        if self._watched.get(number) is not transport:
            return
        del self._watched[number]
        if sys.platform == "linux" and not self._epoll.closed:
            # A closed socket is not there any more.
            with contextlib.suppress(OSError):
                self._epoll.unregister(number)

    def _look(self) -> None:
        if sys.platform == "linux":
            for number, _ in self._epoll.poll(0):
                if (transport := self._watched.get(number)) is not None:
                    self._end(transport)

    def _end(self, transport: asyncio.Transport) -> None:
        if transport.is_closing():
            return
        if transport.is_reading():
            # Whoever reads comes upon the end, unless it stops before.
            self._loop.call_later(_LOOK_AGAIN_SECONDS, self._end, transport)
        else:
            transport.abort()
