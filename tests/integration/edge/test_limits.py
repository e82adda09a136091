"""Rate limits at the edge: by key and by address, alone and shared by two edges."""

import pytest

from tests.support.auth import Auth
from tests.support.edge import running_edge
from tests.support.redis import running_redis

ME = "/api/v1/auth/me"


def with_key(key: str, address: str = "") -> dict[str, str]:
    return {"x-api-key": key, **({"x-forwarded-for": address} if address else {})}


async def test_without_limits_nothing_is_said_of_any(auth: Auth, admin_key: str):
    async with running_edge(auth.address) as edge:
        reply = await edge.get(ME, headers=with_key(admin_key))
    assert reply.status_code == 200
    assert not [name for name in reply.headers if name.startswith("x-ratelimit")]


async def test_a_keys_own_limit_holds_for_it_and_no_other(auth: Auth, admin_key: str):
    async with running_edge(auth.address) as edge:
        body = {"name": "limited", "scopes": ["chat:read"], "limits": {"requests_per_minute": 3}}
        limited = (await edge.post("/api/v1/api-keys", json=body, headers=with_key(admin_key))).json()["key"]
        replies = [await edge.get(ME, headers=with_key(limited)) for _ in range(5)]
        assert [reply.status_code for reply in replies] == [200, 200, 200, 429, 429]
        assert [reply.headers["x-ratelimit-remaining"] for reply in replies] == ["2", "1", "0", "0", "0"]
        assert {reply.headers["x-ratelimit-limit"] for reply in replies} == {"3"}
        assert 1 <= int(replies[-1].headers["retry-after"]) <= 60
        assert len(replies[-1].headers.get_list("x-ratelimit-limit")) == 1
        assert "3 requests a minute with this key" in replies[-1].json()["message"]
        assert (await edge.get(ME, headers=with_key(admin_key))).status_code == 200


async def test_both_secrets_of_a_rotating_key_share_its_limit(auth: Auth, admin_key: str):
    async with running_edge(auth.address) as edge:
        body = {"name": "rotating", "scopes": ["chat:read"], "limits": {"requests_per_minute": 2}}
        old = (await edge.post("/api/v1/api-keys", json=body, headers=with_key(admin_key))).json()
        path = f"/api/v1/api-keys/{old['id']}:rotate"
        rotated = await edge.post(path, json={"grace_seconds": 60}, headers=with_key(admin_key))
        assert rotated.status_code == 200
        replies = [await edge.get(ME, headers=with_key(key)) for key in (old["key"], rotated.json()["key"]) * 2]
        assert [reply.status_code for reply in replies] == [200, 200, 429, 429]


async def test_an_address_is_limited_whatever_keys_it_has(auth: Auth, admin_key: str):
    async with running_edge(auth.address, requests_per_minute_per_address=3, trusted_proxies=1) as edge:
        keys = [admin_key, "nonsense", await auth.new_key(), admin_key]
        statuses = [(await edge.get(ME, headers=with_key(key, "203.0.113.1"))).status_code for key in keys]
        assert statuses == [200, 401, 200, 429]
        assert (await edge.get(ME, headers=with_key(admin_key, "203.0.113.2"))).status_code == 200


async def test_the_tighter_of_two_limits_is_told(auth: Auth, admin_key: str):
    settings = {"requests_per_minute_per_address": 100, "requests_per_minute_per_key": 5}
    async with running_edge(auth.address, **settings) as edge:
        reply = await edge.get(ME, headers=with_key(admin_key))
    assert reply.status_code == 200, reply.text
    assert (reply.headers["x-ratelimit-limit"], reply.headers["x-ratelimit-remaining"]) == ("5", "4")
    assert len(reply.headers.get_list("x-ratelimit-limit")) == 1


async def test_validation_is_limited_hard_by_address(auth: Auth):
    async with running_edge(auth.address, trusted_proxies=1) as edge:
        statuses = [
            (
                await edge.post(
                    "/api/v1/auth/validate", json={"api_key": "x"}, headers={"x-forwarded-for": "203.0.113.3"}
                )
            ).status_code
            for _ in range(21)
        ]
    assert statuses == [200] * 20 + [429]


async def test_two_edges_with_one_store_limit_together_and_apart_when_it_is_away(
    auth: Auth, admin_key: str, tmp_path_factory: pytest.TempPathFactory
):
    folder = tmp_path_factory.mktemp("redis")
    async with running_redis(folder) as redis:
        settings = {"rate_limit_url": redis.url, "requests_per_minute_per_key": 4}
        async with running_edge(auth.address, **settings) as one, running_edge(auth.address, **settings) as two:
            replies = [await edge.get(ME, headers=with_key(admin_key)) for edge in (one, two) * 3]
            assert [reply.status_code for reply in replies] == [200] * 4 + [429] * 2
            assert replies[3].headers["x-ratelimit-remaining"] == "0"
            await redis.process.end()
            replies = [await edge.get(ME, headers=with_key(admin_key)) for edge in (one, two)]
            assert [reply.status_code for reply in replies] == [200, 200]
