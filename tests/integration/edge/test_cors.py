"""Pages of other origins: those that are named may call, no others."""

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from edge.settings import EdgeSettings
from shared.settings import SettingsError, load
from tests.support.auth import Auth
from tests.support.edge import running_edge

ME = "/api/v1/auth/me"
GAME = "https://game.example"


def preflight(origin: str) -> dict[str, str]:
    return {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-api-key,content-type",
    }


async def test_a_named_origin_may_call_with_a_key_and_read_what_the_edge_tells(auth: Auth, admin_key: str):
    async with running_edge(auth.address, cors_origins=f"{GAME},https://xr.example") as edge:
        asked = await edge.options("/api/v0.2/chat", headers=preflight(GAME))
        assert asked.status_code == 204
        assert asked.headers["access-control-allow-origin"] == GAME
        assert asked.headers["access-control-allow-methods"] == "POST"
        assert asked.headers["access-control-allow-headers"] == "x-api-key, content-type"
        reply = await edge.get(ME, headers={"origin": GAME, "x-api-key": admin_key})
        assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (200, GAME)
        assert "x-request-id" in reply.headers["access-control-expose-headers"]
        refused = await edge.get(ME, headers={"origin": GAME})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, GAME)


async def test_another_origin_may_not(auth: Auth, admin_key: str):
    async with running_edge(auth.address, cors_origins=GAME) as edge:
        asked = await edge.options("/api/v0.2/chat", headers=preflight("https://evil.example"))
        assert (asked.status_code, "access-control-allow-origin" in asked.headers) == (403, False)
        reply = await edge.get(ME, headers={"origin": "https://evil.example", "x-api-key": admin_key})
        assert "access-control-allow-origin" not in reply.headers


async def test_what_the_official_sdks_send_from_a_page_is_let_through(auth: Auth):
    sent = "anthropic-dangerous-direct-browser-access,anthropic-version,authorization,x-stainless-lang"
    asked = {"origin": GAME, "access-control-request-method": "POST", "access-control-request-headers": sent}
    async with running_edge(auth.address, cors_origins=GAME) as edge:
        told = await edge.options("/v1/chat/completions", headers=asked)
        assert told.headers["access-control-allow-headers"].split(", ") == sent.split(",")


async def test_a_page_opens_a_websocket_with_its_key_as_a_subprotocol(auth: Auth, admin_key: str):
    async with running_edge(auth.address, cors_origins=GAME) as edge:
        url = str(edge.base_url.join("/api/v0.2/chat/stream")).replace("http", "ws")
        async with connect(url, origin=Origin(GAME), subprotocols=offered(admin_key)) as client:
            assert client.subprotocol == "gaia"
            await client.send('{"message":"hello"}')
            # It got as far as the service behind, which is away.
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
        assert closed.value.rcvd
        assert closed.value.rcvd.code == 4014
        with pytest.raises(InvalidStatus) as refused:
            await connect(url, origin=Origin(GAME), subprotocols=offered("gaia_test_nobody"))
        assert refused.value.response.status_code == 401


def offered(key: str) -> list[Subprotocol]:
    return [Subprotocol("gaia"), Subprotocol(f"gaia.key.{key}")]


@pytest.mark.parametrize("path", ["/health", "/api/v0.2/", "/"])
async def test_the_edges_own_pages_are_no_exception(auth: Auth, path: str):
    async with running_edge(auth.address, cors_origins=GAME) as edge:
        reply = await edge.get(path, headers={"origin": GAME})
        assert (reply.status_code, reply.headers["access-control-allow-origin"]) == (200, GAME)
        asked = await edge.options(path, headers=preflight(GAME))
        assert asked.headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS"
        refused = await edge.options(path, headers=preflight("https://evil.example"))
        assert (refused.status_code, refused.json()["code"]) == (403, 7)
        assert "access-control-allow-origin" not in refused.headers


async def test_anybody_may_read_the_document(auth: Auth):
    async with running_edge(auth.address, cors_origins=GAME) as edge:
        reply = await edge.get("/openapi.json", headers={"origin": "https://editor.example"})
        assert reply.headers.get_list("access-control-allow-origin") == ["*"]


async def test_unless_told_no_origin_may(auth: Auth, admin_key: str):
    async with running_edge(auth.address) as edge:
        reply = await edge.get(ME, headers={"origin": GAME, "x-api-key": admin_key})
        assert reply.status_code == 200
        assert "access-control-allow-origin" not in reply.headers


@pytest.mark.parametrize("origins", ["game.example", "https://a.example/path", "https://a.example, https://b.example"])
def test_what_is_no_origin_is_named(monkeypatch: pytest.MonkeyPatch, origins: str):
    monkeypatch.setenv("GAIA_CORS_ORIGINS", origins)
    with pytest.raises(SettingsError, match="GAIA_CORS_ORIGINS"):
        load(EdgeSettings)
