"""Envoy, as the comparison in the shared folder beside the project runs it.

`peers.py` and `backend.py` there are used as they are; `peers.py setup` has put Envoy and the stubs into $BENCH_HOME.
"""

import contextlib
import importlib.util
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType

BENCH = Path(__file__).parents[3] / "shared" / "bench"


class Peers:
    """The peers' module, with their processes as context managers."""

    def __init__(self) -> None:
        self._module = load_peers()
        self.home = Path(self._module.HOME)
        if not (self.home / "echo.pb").exists():
            raise RuntimeError(f"the peers are not installed; run `python {BENCH / 'peers.py'} setup` once")

    @property
    def key(self) -> str:
        """The API key that Envoy's authorization server knows."""
        return str(self._module.KEY)

    @property
    def descriptors(self) -> Path:
        """Descriptor set of the backend."""
        return self.home / "echo.pb"

    @property
    def backend_port(self) -> int:
        """Port of the backend."""
        return int(self._module.ECHO)

    @property
    def envoy_url(self) -> str:
        """Where Envoy listens."""
        return f"http://127.0.0.1:{self._module.ENVOY}"

    @contextlib.contextmanager
    def backend(self) -> Iterator[int]:
        """Runs the gRPC backend; yields its pid."""
        with self._python("backend.py", "echo", str(self._module.ECHO)) as pid:
            yield pid

    @contextlib.contextmanager
    def envoy(self, *, with_authorization: bool) -> Iterator[list[int]]:
        """Runs Envoy's transcoder, with its external authorization or without; yields the pids that cost CPU."""
        config = self.home / "envoy.yaml"
        config.write_text(self._module.envoy_config(with_authorization))
        with contextlib.ExitStack() as stack:
            command = [str(self.home / "v/bin/envoy"), "-c", str(config), "--concurrency", "1", "-l", "error"]
            pids = [stack.enter_context(_running(command, {}))]
            if with_authorization:
                pids.append(stack.enter_context(self._python("backend.py", "authz", str(self._module.AUTHZ))))
            yield pids

    @contextlib.contextmanager
    def _python(self, *arguments: str) -> Iterator[int]:
        command = [str(self.home / "v/bin/python"), str(BENCH / arguments[0]), *arguments[1:]]
        with _running(command, {"PYTHONPATH": str(self.home)}) as pid:
            yield pid


@contextlib.contextmanager
def _running(command: Sequence[str], environment: Mapping[str, str]) -> Iterator[int]:
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        time.sleep(1.5)  # none of them says when it is ready
        if process.poll() is not None:
            raise RuntimeError(f"{command[0]} ended with code {process.returncode}")
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)


def load_peers() -> ModuleType:
    """Returns the peers' module. Raises RuntimeError where the shared folder is missing."""
    path = BENCH / "peers.py"
    spec = importlib.util.spec_from_file_location("peers", path)
    if spec is None or spec.loader is None or not path.exists():
        raise RuntimeError("the comparison needs the folder shared/bench beside the project's root")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
