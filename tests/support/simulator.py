"""The provider simulator: an independent program that answers as OpenAI and Anthropic do, from fixtures of ours.

It is `@copilotkit/aimock`, pinned in simulator/package-lock.json and installed on first use.
"""

import contextlib
import os
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.support.node import install_locked
from tests.support.process import Process, until

FOLDER = Path(__file__).parent / "simulator"
FIXTURES = FOLDER / "fixtures"
ANY = (FOLDER / "any-image.json", FIXTURES / "1-media.json", FOLDER / "any-chat.json")
"""Fixtures by which there is an answer to whatever is asked."""
_PROGRAM = FOLDER / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
_LISTENING = re.compile(r"listening on (http://\S+)")


@dataclass(frozen=True, slots=True)
class Simulator:
    """A running simulator. Answers are chosen by what the last user message contains; see simulator/fixtures."""

    url: str
    http: httpx.AsyncClient

    @property
    def openai_url(self) -> str:
        """What OPENAI_BASE_URL is set to."""
        return f"{self.url}/v1"

    @property
    def anthropic_url(self) -> str:
        """What ANTHROPIC_BASE_URL is set to."""
        return self.url

    async def journal(self, text: str) -> list[dict[str, Any]]:
        """Returns what was recorded of every request whose body contains the text, the oldest first.

        An entry holds `path`, `headers`, `body` (Anthropic's in OpenAI's shape) and `response`.
        """
        entries = (await self.http.get("/__aimock/journal")).raise_for_status().json()
        return [entry for entry in entries if text in str(entry["body"])]


@contextlib.asynccontextmanager
async def running_simulator(folder: Path, fixtures: Sequence[Path] = (FIXTURES,)) -> AsyncIterator[Simulator]:
    """Runs a simulator on a free port; its log goes to the folder."""
    node = install_locked(FOLDER)
    options = ["--host", "127.0.0.1", "--port", "0", "--strict", "--validate-on-load"]
    for path in fixtures:
        options += ["--fixtures", str(path)]
    process = Process(
        "simulator",
        [node.node, str(_PROGRAM), *options],
        {"PATH": os.environ["PATH"], "HOME": str(folder)},
        folder / "simulator.log",
    )
    process.start()
    try:

        async def listening() -> bool:
            process.check()
            return _LISTENING.search(process.text()) is not None

        await until(listening, "the simulator listens")
        found = _LISTENING.search(process.text())
        assert found is not None
        async with httpx.AsyncClient(base_url=found[1], verify=False) as http:
            yield Simulator(found[1], http)
    finally:
        await process.end()
