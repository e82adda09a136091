"""Behaviour of edge/transcoding/transport/grpc_aio.py that only it has; test_conformance.py has the rest."""

import asyncio
import sys
from pathlib import Path

ROOT = Path(__file__).parents[5]


async def test_a_refusal_that_overtakes_a_message_keeps_its_status() -> None:
    """On uvloop the server's refusal often arrives while a message is on its way."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.refused_calls"), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out.decode().split() == ["UNIMPLEMENTED", "200"]
