"""The server of a long run: the echo methods over Gaia's own HTTP/2, and what it holds, told on demand."""

import asyncio
import ctypes
import gc
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import uvloop

from deploy.local.certificates import DevelopmentAuthority
from shared.http2.server.call import ServerCall
from shared.http2.server.connection import ServerConnection
from shared.rpc.tls import Certificates
from shared.settings import TlsFiles
from tests.support.http2_server import OwnEchoServer


def held(server: OwnEchoServer) -> dict[str, int]:
    """Return what must be the same again when nobody asks for anything."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    found = [type(one) for one in gc.get_objects() if isinstance(one, (ServerCall, ServerConnection))]
    own: Any = server.server
    return {
        "rss": psutil.Process().memory_info().rss,
        "fds": len(list(Path("/proc/self/fd").iterdir())),
        "tasks": len(asyncio.all_tasks()),
        "calls": found.count(ServerCall),
        "connections": found.count(ServerConnection),
        "open": len(own._door.open),
        "running": len(own._running),
        "held_bytes": own.holding.held,
    }


async def serve() -> None:
    """Tell the addresses, then what is held for each line that comes, until there is none."""
    with tempfile.TemporaryDirectory() as folder:
        authority = DevelopmentAuthority(Path(folder))
        issued, shown = authority.issue("server"), authority.issue("client")
        files = TlsFiles(issued.certificate, issued.key, authority.certificate_file)
        server = OwnEchoServer({}, (), max_connections=200, max_held_bytes=64 << 20, max_message_bytes=16 << 20)
        await server.start()
        plain = server.address
        await server.start(credentials=Certificates(files).server_context())
        pems = {"ca": authority.certificate_file, "certificate": shown.certificate, "key": shown.key}
        told = {"plain": plain, "tls": server.address, **{name: path.read_text() for name, path in pems.items()}}
        print(json.dumps(told), flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(held(server)), flush=True)
        await server.stop(1)


if __name__ == "__main__":
    uvloop.run(serve())
