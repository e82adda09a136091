"""Free ports of the loopback interface."""

import os
import random
import socket
from collections.abc import Iterator

# Below the range from which systems take ports for outgoing connections, so that one stays free until it is used.
FIRST, END = 15_000, 32_000


def free_port() -> int:
    """Returns a port that nobody listens on, and that was not returned before to this process or a worker beside it."""
    for port in _ports:
        with socket.socket() as candidate:
            try:
                candidate.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port is left between {FIRST} and {END}")


def _shuffled() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ports = range(FIRST + worker, END, workers)
    return iter(random.sample(ports, len(ports)))


_ports = _shuffled()
