"""Images are generated, kept and handed out, each to its owner."""

import asyncio
import hashlib
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.support.mesh import Caller, Mesh
from tests.support.simulator import Simulator

ASSETS = "/api/v1/assets"
GENERATE = f"{ASSETS}/generate"
PNG = b"\x89PNG\r\n\x1a\n"


def stored_files(mesh: Mesh) -> set[Path]:
    return {path for path in (mesh.folder / "assets").rglob("*") if path.is_file()}


async def generate(caller: Caller, description: str = "a red square", **fields: Any) -> dict[str, Any]:
    reply = await caller.post(GENERATE, {"category": "image", "description": description, **fields})
    assert reply.status_code == 200, reply.text
    return reply.json()


class TestGeneration:
    async def test_an_image_lives_from_generation_to_deletion(self, mesh: Mesh, simulator: Simulator, caller: Caller):
        description = f"a square of many colours, number {uuid.uuid4()}"
        made = await generate(caller, description, style="mosaic", requirements={"quality": "low"})
        assert made["source"] == "generated"
        assert made["response_time_ms"] >= 0
        assert made["asset_data"]["file_format"] == "png"
        assert made["asset_data"]["license_type"]
        assert made["storage_info"]["storage_type"] == "local"
        assert made["metadata"]["provider"] == "openai"
        assert made["metadata"]["revised_prompt"] == "A square of many colours."
        assert made["cost_breakdown"]["currency"] == "USD"
        [asked] = await simulator.journal(description)
        assert "mosaic" in str(asked["body"])

        path = f"{ASSETS}/{made['asset_id']}"
        found = (await caller.get(path)).json()
        assert (found["category"], found["description"], found["style"]) == ("image", description, "mosaic")
        assert (found["source"], found["provider"], found["content_type"]) == ("generated", "openai", "image/png")

        assert made["asset_data"]["download_url"] == found["download_url"] == f"{path}/download"
        download = await caller.get(found["download_url"])
        assert download.status_code == 200
        assert download.headers["content-type"] == "image/png"
        assert download.content.startswith(PNG)
        assert len(download.content) == found["size_bytes"]
        assert hashlib.sha256(download.content).hexdigest() == found["sha256"]
        assert found["sha256"] in download.headers["etag"]

        assert (await caller.delete(path)).status_code == 204
        for gone in (await caller.get(path), await caller.get(f"{path}/download"), await caller.delete(path)):
            assert gone.status_code == 404
        assert not any(made["asset_id"] in path.name for path in stored_files(mesh))

    async def test_all_that_is_wrong_with_a_request_is_named_at_once(self, caller: Caller):
        body = {
            "category": "painting",
            "description": " ",
            "style": "x" * 201,
            "requirements": {"quality": "best", "format": "bmp"},
            "preferences": {"max_cost": -1},
        }
        reply = await caller.post(GENERATE, body)
        assert reply.status_code == 400
        [detail] = reply.json()["details"]
        assert {violation["field"] for violation in detail["field_violations"]} == {
            "category",
            "description",
            "style",
            "requirements.quality",
            "requirements.format",
            "preferences.max_cost",
        }

    async def test_a_category_that_nobody_makes_is_refused_with_those_that_are_made(self, caller: Caller):
        reply = await caller.post(GENERATE, {"category": "audio", "description": "rain"})
        assert (reply.status_code, reply.json()["code"]) == (400, 9)
        assert "image" in reply.json()["message"]

    @pytest.mark.parametrize(
        ("wish", "status", "code", "retry_after"),
        [
            ("fail with 500", 503, 14, True),
            ("limit the rate", 429, 8, "7"),
            ("answer nonsense", 502, 13, False),
        ],
    )
    async def test_a_failure_of_the_provider_keeps_its_class_and_leaves_nothing_behind(
        self, mesh: Mesh, caller: Caller, wish: str, status: int, code: int, retry_after: str | bool
    ):
        before = stored_files(mesh)
        reply = await caller.post(GENERATE, {"category": "image", "description": f"please {wish}"})
        assert (reply.status_code, reply.json()["code"]) == (status, code), reply.text
        sent = reply.headers.get("retry-after")
        assert sent == retry_after if isinstance(retry_after, str) else (sent is not None) == retry_after
        assert "sk-simulated" not in reply.text
        assert not any("openai" in name or "ratelimit" in name for name in reply.headers)
        assert stored_files(mesh) == before
        assert (await caller.get(ASSETS)).json() == {"assets": [], "total": 0, "next_page_token": ""}


class TestLibrary:
    async def test_lists_are_paged_filtered_and_searched(self, caller: Caller):
        wishes = [("image", "a blue door"), ("texture", "Blue bricks"), ("image", "a 100% green_house")]
        made = [(await generate(caller, text, category=category))["asset_id"] for category, text in wishes]

        async def listed(**params: str | int) -> tuple[list[str], dict[str, Any]]:
            reply = await caller.get(ASSETS, params=params)
            assert reply.status_code == 200, reply.text
            return [asset["id"] for asset in reply.json()["assets"]], reply.json()

        assert (await listed())[0] == made[::-1]
        assert (await listed(category="texture"))[0] == [made[1]]
        assert (await listed(search="blue"))[0] == [made[1], made[0]]
        assert (await listed(search="100% green_"))[0] == [made[2]]
        assert (await listed(search="100_"))[0] == []
        first, page = await listed(page_size=2)
        rest, last = await listed(page_size=2, page_token=page["next_page_token"])
        assert first + rest == made[::-1]
        assert (page["total"], last["total"], last["next_page_token"]) == (3, 3, "")

    async def test_assets_of_others_are_not_there(self, mesh: Mesh, caller: Caller):
        asset_id = (await generate(caller))["asset_id"]
        other = await mesh.new_caller()
        path = f"{ASSETS}/{asset_id}"
        replies = await asyncio.gather(other.get(path), other.get(f"{path}/download"), other.delete(path))
        assert [reply.status_code for reply in replies] == [404, 404, 404]
        assert (await other.get(ASSETS)).json()["total"] == 0
        assert (await caller.get(path)).status_code == 200
        assert (await mesh.admin.get(path)).status_code == 200

    @pytest.mark.parametrize("asset_id", [pytest.param(str(uuid.uuid4()), id="unknown"), "nothing", "etc%2fpasswd"])
    async def test_an_asset_that_never_was_is_404(self, caller: Caller, asset_id: str):
        for reply in (await caller.get(f"{ASSETS}/{asset_id}"), await caller.get(f"{ASSETS}/{asset_id}/download")):
            assert reply.status_code == 404
            assert reply.json()["code"] == 5

    async def test_scopes_are_asked_for(self, mesh: Mesh):
        reader = await mesh.new_caller(["assets:read"])
        denied = await reader.post(GENERATE, {"category": "image", "description": "a door"})
        assert denied.status_code == 403
        assert "assets:write" in denied.json()["message"]
        assert (await reader.get(ASSETS)).status_code == 200

    async def test_the_service_says_that_it_answers(self, caller: Caller):
        reply = await caller.get(f"{ASSETS}/test")
        assert reply.json() == {"status": "ok", "service": "asset-service"}


class TestDownload:
    async def test_a_part_can_be_asked_for_and_what_is_known_need_not_be_sent_again(self, caller: Caller):
        made = await generate(caller)
        url = made["asset_data"]["download_url"]
        whole = await caller.get(url)
        assert int(whole.headers["content-length"]) == len(whole.content)
        part = await caller.get(url, headers={"Range": "bytes=4-9"})
        assert (part.status_code, part.content) == (206, whole.content[4:10])
        assert part.headers["content-range"] == f"bytes 4-9/{len(whole.content)}"
        known = await caller.get(url, headers={"If-None-Match": whole.headers["etag"]})
        assert (known.status_code, known.content) == (304, b"")
