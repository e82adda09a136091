"""Writing once what is written in one turn of the event loop."""

import asyncio
from typing import Any

MAX_GATHERED_BYTES = 16 << 10
"""More than this is handed over at once, so that whoever writes is told when the socket takes no more."""


class GatheringTransport:
    """Stands for a transport, and hands what is written to it over when the turn of the event loop ends.

    Each write to a socket costs a system call and wakes up whoever reads; the parts of an answer are worth one of each.
    Everything else is the transport's own.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """See `asyncio.WriteTransport`."""
        parts = self._parts
        if not parts:
            self._loop.call_soon(self.flush)
        parts.append(data)
        self._size += len(data)
        if self._size > MAX_GATHERED_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand over what was written, unless the connection is gone."""
        parts = self._parts
        if not parts:
            return
        data = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._size = 0
        if not self._transport.is_closing():
            self._transport.write(data)

    def get_write_buffer_size(self) -> int:
        """See `asyncio.WriteTransport`."""
        return self._transport.get_write_buffer_size() + self._size

    def close(self) -> None:
        """See `asyncio.BaseTransport`."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """See `asyncio.WriteTransport`."""
        self._parts.clear()
        self._size = 0
        self._transport.abort()
