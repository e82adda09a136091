"""Targets: the names of servers, as gRPC writes them (naming.md), and the addresses that they stand for."""

import asyncio
import re
import socket
from dataclasses import dataclass

DEFAULT_PORT = 443

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Address:
    """Where to connect: `host` is a numeric address, or the path of a Unix socket with port 0."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return the address as gRPC writes it."""
        if not self.port:
            return f"unix:{self.host}"
        return f"ipv6:[{self.host}]:{self.port}" if ":" in self.host else f"ipv4:{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed target: a name to look up, or addresses that need no looking up.

    `authority` is what requests name as the server.
    """

    authority: str
    host: str
    port: int
    addresses: tuple[Address, ...] = ()

    @property
    def server_name(self) -> str:
        """What the server's certificate must name: the authority without its port."""
        return re.sub(r":[0-9]+\Z", "", self.authority).strip("[]")

    async def resolve(self) -> list[Address]:
        """Return the target's addresses, each once; raises OSError."""
        if self.addresses:
            return list(self.addresses)
        found = await asyncio.get_running_loop().getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(Address(str(sockaddr[0]), int(sockaddr[1])) for *_, sockaddr in found))


def parse_target(target: str) -> Target | None:
    """Return a target that this transport knows how to reach, None for every other.

    Those are `host:port`, `dns:host:port`, `dns:///host:port`, `ipv4:` and `ipv6:` with one address or several,
    `unix:path` and `unix:///path`.
    """
    if ":" not in target or not (match := _SCHEME.match(target)) or match[2].isdigit():
        return _by_name(target)
    scheme, rest = match[1].lower(), match[2]
    if scheme == "dns":
        # dns://SERVER/NAME asks a name server of its own, which is grpc.aio's to do.
        if rest.startswith("//"):
            return _by_name(rest[3:]) if rest.startswith("///") else None
        return _by_name(rest)
    if scheme in ("ipv4", "ipv6"):
        named = [_by_name(part) for part in rest.split(",")]
        targets = [one for one in named if one is not None]
        if len(targets) != len(named):
            return None
        first = targets[0]
        return Target(first.authority, first.host, first.port, tuple(Address(one.host, one.port) for one in targets))
    if scheme == "unix":
        path = rest[2:] if rest.startswith("///") else rest
        return Target("localhost", "localhost", 0, (Address(path, 0),)) if path and not path.startswith("//") else None
    return None


def _by_name(name: str) -> Target | None:
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.%]+\]|[^\[\]:/,\s]+)(?::([0-9]{1,5}))?", name)
    if match is None:
        return None
    port = int(match[2]) if match[2] else DEFAULT_PORT
    if not 0 < port < 65536:
        return None
    host = match[1].strip("[]")
    return Target(name if match[2] else f"{name}:{port}", host, port)
