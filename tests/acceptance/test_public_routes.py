"""What anybody may call, with nothing but a URL."""

import datetime as dt

import pytest

from tests.support.mesh import Mesh


async def test_health_describes_every_service_and_the_database(mesh: Mesh):
    reply = await mesh.http.get("/health")
    body = reply.json()
    assert reply.status_code == 200
    assert body["status"] == "healthy", body
    assert set(body) == {"status", "timestamp", "version", "services", "database"}
    assert dt.datetime.fromisoformat(body["timestamp"]).utcoffset() == dt.timedelta(0)
    assert set(body["services"]) == {"auth", "chat", "asset"}
    for service in body["services"].values():
        assert service["status"] == "healthy"
        assert 0 < service["response_time_ms"] < 1000
    assert body["database"] == {"status": "healthy", "database": "postgresql", "responsive": True}


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_orchestrators_learn_that_the_edge_lives_and_is_ready(mesh: Mesh, path: str):
    assert (await mesh.http.get(path)).status_code == 200


async def test_the_root_says_where_everything_is(mesh: Mesh):
    body = (await mesh.http.get("/")).json()
    assert set(body) == {"message", "version", "versions", "docs", "health"}
    assert (await mesh.http.get(body["health"])).status_code == 200


async def test_the_native_api_describes_itself(mesh: Mesh):
    body = (await mesh.http.get("/api/v0.2/")).json()
    assert set(body) == {"version", "status", "description", "features", "endpoints"}
    assert (body["version"], body["status"]) == ("0.2", "stable")
    health = await mesh.http.get("/api/v0.2/health")
    assert health.json() == {"status": "healthy", "version": "0.2"}


@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz", "/api/v0.2", "/api/v0.2/health"])
async def test_a_trailing_slash_changes_nothing_and_redirects_nobody(mesh: Mesh, path: str):
    plain, slashed = await mesh.http.get(path), await mesh.http.get(path + "/")
    assert (plain.status_code, slashed.status_code) == (200, 200)
    assert plain.json().keys() == slashed.json().keys()
