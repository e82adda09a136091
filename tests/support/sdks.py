"""The official SDKs for Node.js, pinned in sdks/package-lock.json and installed on first use."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

from tests.support.node import install_locked

FOLDER = Path(__file__).parent / "sdks"
SECONDS = 60.0
"""How long a script may take; it takes one or two."""


async def run_sdk(name: str, url: str, key: str) -> dict[str, Any]:
    """Runs a script of the folder against an edge; returns the outcome of each of its scenarios by name.

    An outcome holds `value`, what the call returned, or `error` with the SDK's `class`, `message`, `status` and `type`.
    """
    node = await asyncio.to_thread(install_locked, FOLDER)
    process = await asyncio.create_subprocess_exec(
        node.node,
        f"{name}.mjs",
        cwd=FOLDER,
        env={"PATH": os.environ["PATH"], "GAIA_URL": url, "GAIA_KEY": key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(SECONDS):
            output, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, complaints.decode()
    outcomes: dict[str, Any] = json.loads(output)
    return outcomes
