"""Addresses to listen on, as gRPC writes them, and the sockets for them."""

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path

BACKLOG = 1024
_ANYWHERE = ("0.0.0.0", "::")  # noqa: S104 - told apart here, and no default


class Listening:
    """Sockets that listen; `port` is that of all of them, 0 for a Unix socket."""

    def __init__(self, sockets: list[socket.socket], path: str = "") -> None:
        self.sockets = sockets
        self.port = 0 if path else int(sockets[0].getsockname()[1])
        self._path = Path(path) if path else None
        self._inode = self._path.stat().st_ino if self._path else 0

    def remove_path(self) -> None:
        """Remove the file of a Unix socket, unless another process has put its own there."""
        with suppress(OSError):
            if self._path and self._path.stat().st_ino == self._inode:
                self._path.unlink()


def listen(address: str) -> Listening:
    """Listen on `HOST:PORT`, where port 0 is a free one, or `unix:PATH`. Raises OSError where that cannot be."""
    if address.startswith("unix:"):
        path = address.removeprefix("unix:")
        return _listen_unix(path.removeprefix("//") if path.startswith("///") else path)
    host, _, number = address.rpartition(":")
    host, port = host.strip("[]"), int(number)
    if host in _ANYWHERE and socket.has_dualstack_ipv6():
        # As gRPC's servers do: anywhere is by either protocol, whichever it was written in.
        try:
            return Listening([_socket(socket.AF_INET6, ("::", port), dualstack=True)])
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise
    sockets: list[socket.socket] = []
    try:
        # A name may stand for several addresses; a port that is free for one is asked for with the others.
        for family, place in dict.fromkeys(_resolve(host, port)):
            sockets.append(_socket(family, (place, port)))
            port = port or sockets[0].getsockname()[1]
    except OSError:
        for one in sockets:
            one.close()
        raise
    return Listening(sockets)


def _resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return [(family, str(address[0])) for family, _, _, _, address in found]


def _socket(family: socket.AddressFamily, address: tuple[str, int], *, dualstack: bool = False) -> socket.socket:
    made = socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=dualstack)
    made.setblocking(False)
    return made


def _listen_unix(path: str) -> Listening:
    if Path(path).is_socket():
        if _answers(path):
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), path)
        # Left by a process that was killed.
        Path(path).unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX)
    try:
        made.setblocking(False)
        made.bind(path)
        made.listen(BACKLOG)
        return Listening([made], path)
    except OSError:
        made.close()
        raise


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(1.0)
        try:
            caller.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
    return True
