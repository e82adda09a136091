"""What edge/transcoding/README.md shows must work."""

import asyncio
import dataclasses
import re
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from edge.transcoding.options import CrossOrigin, HeaderRules, Limits, MethodOptions
from edge.transcoding.profile import Profile
from tests.support.asgi_server import running_asgi
from tests.support.reflected import FIRST, running_echo

README = Path(__file__).parents[4] / "edge" / "transcoding" / "README.md"


def shown(port: int) -> dict[str, Any]:
    """Run all Python of the README, its server's port replaced, and return what it defines."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL))
    found: dict[str, Any] = {}
    exec(compile(code.replace("localhost:50051", f"127.0.0.1:{port}"), str(README), "exec"), found)
    return found


async def test_the_application_serves_by_reflection() -> None:
    async with running_echo(FIRST) as (_, port):
        app = await shown(port)["application"]()
        async with running_asgi(app) as url, httpx.AsyncClient(base_url=url) as http:
            assert (await http.get("/api/v1/items/a?count=2")).json() == {"name": "a", "count": 2}


async def test_options_authorizer_and_live_contracts_work_together() -> None:
    async with running_echo(FIRST) as (_, port), grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        module = shown(port)
        live = module["LiveTranscoder"](
            module["partial"](module["reflect"], channel), lambda contracts: module["serve"](contracts, channel)
        )
        await live.load()
        async with running_asgi(live) as url, httpx.AsyncClient(base_url=url) as http:
            assert (await http.get("/v1/items/a")).status_code == 401
            http.headers["x-api-key"] = "open sesame"
            assert (await http.get("/v1/items/a/")).json() == {"name": "a"}
            events = (await http.get("/v1/items/a:watch")).text
            assert events.endswith('data: {"name":"a"}\n\ndata: [DONE]\n\n')
        following = asyncio.create_task(module["follow"](channel))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(following, 0.05)


@pytest.mark.parametrize("options", [Profile, MethodOptions, HeaderRules, Limits, CrossOrigin])
def test_options_that_are_named_exist(options: type[Any]) -> None:
    names = {field.name for field in dataclasses.fields(options)}
    if options is Profile:
        table = README.read_text().partition("## What it does")[2].partition("Every row")[0]
        assert names <= set(re.findall(r"`(\w+)`", table)), "the table lacks options of Profile"
    for name in re.findall(rf"`{options.__name__}\.(\w+)`", README.read_text()):
        assert name in names
