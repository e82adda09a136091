"""Metrics of the edge, as Prometheus reads them."""

from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.support.auth import Auth
from tests.support.edge import running_edge
from tests.support.ports import free_port
from tests.support.redis import running_redis
from tests.support.waiting import eventually

ME = "/api/v1/auth/me"


async def read(address: str) -> dict[tuple[str, str], float]:
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"http://{address}/metrics")).text
    return {
        (sample.name, sample.labels.get("result", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_the_hit_ratio_of_the_identity_cache_is_told_and_no_key(auth: Auth, admin_key: str):
    address = f"127.0.0.1:{free_port()}"
    async with running_edge(auth.address, metrics_listen=address) as edge:
        for _ in range(10):
            await edge.get(ME, headers={"x-api-key": admin_key})
        await edge.get(ME, headers={"x-api-key": "gaia_test_nonsense"})
        metrics = await read(address)
    assert metrics["gaia_identity_lookups_total", "miss"] == 1
    assert metrics["gaia_identity_lookups_total", "hit"] == 9
    assert metrics["gaia_identity_lookups_total", "refused"] == 1
    assert metrics["gaia_identity_cached", ""] == 1
    assert metrics["gaia_rate_limit_degraded", ""] == 0


async def test_a_limiter_whose_store_is_away_says_so_until_it_is_back(auth: Auth, admin_key: str, tmp_path: Path):
    address = f"127.0.0.1:{free_port()}"
    async with running_redis(tmp_path) as redis:
        settings = {"rate_limit_url": redis.url, "requests_per_minute_per_key": 1000}
        async with running_edge(auth.address, metrics_listen=address, **settings) as edge:

            async def call() -> dict[tuple[str, str], float]:
                assert (await edge.get(ME, headers={"x-api-key": admin_key})).status_code == 200
                return await read(address)

            shared = await call()
            await redis.process.end()
            away = [await call() for _ in range(3)][-1]
            await redis.start()

            async def is_back() -> bool:
                return (await call())["gaia_rate_limit_degraded", ""] == 0

            await eventually(is_back)
            back = await call()
    assert (shared["gaia_rate_limit_degraded", ""], shared["gaia_rate_limit_fallbacks_total", ""]) == (0, 0)
    assert away["gaia_rate_limit_degraded", ""] == 1
    assert away["gaia_rate_limit_fallbacks_total", ""] == 3
    assert away["gaia_rate_limit_degraded_seconds", ""] > 0
    assert back["gaia_rate_limit_degraded_seconds", ""] == 0
