"""LiteLLM and Portkey, as the comparison in the shared folder beside the project runs them, and its fixed upstream.

`peers.py setup` there has put both into $BENCH_HOME; each is left out where it is not installed.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.peers import BENCH, load_peers
from tests.benchmarks.stack import wait_for
from tests.support.ports import free_port

MODEL = "gpt-6-luna"
COMPLETIONS = "/v1/chat/completions"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something that answers chat completions: where, what it wants as headers, and the pids that cost CPU.

    Where it does not `stream` what the fixed upstream sends, its streams are left out.
    """

    name: str
    url: str
    headers: Mapping[str, str]
    pids: Sequence[int]
    streams: bool = True


class ChatPeers:
    """What the comparison runs, as context managers; a peer that is not installed is None."""

    def __init__(self) -> None:
        self._module = load_peers()
        self._home = Path(self._module.HOME)

    @contextlib.contextmanager
    def upstream(self) -> Iterator[str]:
        """Runs the fixed upstream, which answers at once; yields its base URL."""
        port = free_port()
        with _running([sys.executable, str(BENCH / "mock_openai.py"), str(port)], port, {}):
            yield f"http://127.0.0.1:{port}/v1"

    @contextlib.contextmanager
    def litellm(self, base_url: str) -> Iterator[Candidate | None]:
        """Runs LiteLLM's proxy with a master key, in one worker."""
        program = self._home / "lv" / "bin" / "litellm"
        if not program.exists():
            yield None
            return
        port, key = free_port(), str(self._module.LITELLM_KEY)
        parameters = {"model": f"openai/{MODEL}", "api_base": base_url, "api_key": "none"}
        config = self._home / "chat-litellm.yaml"
        config.write_text(
            json.dumps(
                {
                    "model_list": [{"model_name": MODEL, "litellm_params": parameters}],
                    "general_settings": {"master_key": key},
                    "litellm_settings": {"telemetry": False},
                }
            )
        )
        command = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
        environment = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        with _running([*command, "--num_workers", "1"], port, environment) as pid:
            yield Candidate(
                "LiteLLM", f"http://127.0.0.1:{port}{COMPLETIONS}", {"Authorization": f"Bearer {key}"}, [pid]
            )

    @contextlib.contextmanager
    def portkey(self, base_url: str) -> Iterator[Candidate | None]:
        """Runs Portkey's gateway, which has neither authentication nor a ledger."""
        program = self._home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        if not program.exists():
            yield None
            return
        port = free_port()
        headers = {
            "Authorization": "Bearer none",
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": base_url,
        }
        command = ["node", str(program), "--headless", f"--port={port}"]
        with _running(command, port, {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1"}) as pid:
            yield Candidate("Portkey", f"http://127.0.0.1:{port}{COMPLETIONS}", headers, [pid], streams=False)


@contextlib.contextmanager
def _running(command: Sequence[str], port: int, environment: Mapping[str, str]) -> Iterator[int]:
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(port, process)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
