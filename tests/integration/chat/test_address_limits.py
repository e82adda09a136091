"""Tokens a minute of a client's address, which the edge tells and nobody else chooses."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest

from shared.rpc.channel import connect
from tests.integration.chat.conftest import Client, Running, refusal
from tests.support.auth import Auth
from tests.support.edge import running_edge
from tests.support.redis import running_redis

LIMIT = 200
COMPLETIONS = "/v1/chat/completions"
# About 105 tokens: one fits into the limit, two do not.
ASK = {"model": "local-echo", "messages": [{"role": "user", "content": "word " * 60}], "max_tokens": 1}
SPELLINGS = (
    "x-gaia-client-address",
    "X_Gaia_Client_Address",
    "grpc-metadata-x-gaia-client-address",
    "Grpc-Metadata-X_Gaia.Client-Address",
    "grpcgateway-x-gaia-client-address",
    "grpc-metadata-grpcgateway-x-gaia-client-address",
    "grpc-metadata-x-gaia-client-address-bin",
)


@pytest.fixture(scope="module")
async def limited(running_chat: Running) -> AsyncIterator[str]:
    async with running_chat(tokens_per_minute_per_address=LIMIT) as running:
        yield running


@pytest.fixture(scope="module")
async def edge(auth: Auth, limited: str) -> AsyncIterator[httpx.AsyncClient]:
    async with running_edge(auth.address, chat_target=f"dns:///{limited}", trusted_proxies=1) as running:
        yield running


async def ask(edge: httpx.AsyncClient, key: str, address: str, **headers: str) -> httpx.Response:
    told = {"x-api-key": key, "x-forwarded-for": address, **headers}
    return await edge.post(COMPLETIONS, json=ASK, headers=told)


async def test_an_address_is_held_whatever_keys_it_has_and_told_when_to_come_back(auth: Auth, edge: httpx.AsyncClient):
    keys = [await auth.new_key() for _ in range(2)]
    first = await ask(edge, keys[0], "203.0.113.1")
    assert first.status_code == 200, first.text
    refused = await ask(edge, keys[1], "203.0.113.1")
    assert refused.status_code == 429
    error = refused.json()["error"]
    assert f"this address may use {LIMIT} tokens a minute" in error["message"]
    assert error["type"] == "rate_limit_error" or error["code"]
    told = {name: int(refused.headers[f"x-ratelimit-{name}-tokens"]) for name in ("limit", "remaining", "reset")}
    assert told["limit"] == LIMIT
    assert 0 < told["remaining"] < LIMIT
    assert int(refused.headers["retry-after"]) == told["reset"] >= 1
    assert (await ask(edge, keys[1], "203.0.113.2")).status_code == 200


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_no_header_makes_a_client_come_from_elsewhere(auth: Auth, edge: httpx.AsyncClient, spelling: str):
    key, number = await auth.new_key(), SPELLINGS.index(spelling)
    address = f"203.0.113.{10 + number}"
    assert (await ask(edge, key, address, **{spelling: "6.6.6.6"})).status_code == 200
    assert (await ask(edge, key, address, **{spelling: "7.7.7.7"})).status_code == 429


async def test_an_internal_caller_with_a_key_is_held_by_its_own_address_whatever_it_says(auth: Auth, limited: str):
    async with connect(limited) as channel:
        for number, code in ((1, None), (2, grpc.StatusCode.RESOURCE_EXHAUSTED)):
            metadata = (("x-api-key", await auth.new_key()), ("x-gaia-client-address", f"6.6.6.{number}"))
            client = Client(channel, metadata, auth.owner_url)
            if code is None:
                await client.complete(ASK)
            else:
                assert (await refusal(client.completion_call(ASK))).code is code


async def test_addresses_of_one_ipv6_subscriber_count_as_one(auth: Auth, edge: httpx.AsyncClient):
    key = await auth.new_key()
    replies = [await ask(edge, key, f"2001:db8:0:1::{number}") for number in range(1, 3)]
    assert [reply.status_code for reply in replies] == [200, 429]


async def test_two_services_with_one_store_count_an_address_together(
    auth: Auth, running_chat: Running, tmp_path_factory: pytest.TempPathFactory
):
    async with running_redis(tmp_path_factory.mktemp("redis")) as redis:
        settings: dict[str, Any] = {"tokens_per_minute_per_address": LIMIT, "rate_limit_url": redis.url}
        async with running_chat(**settings) as one, running_chat(**settings) as two:
            codes = []
            for address in (one, two):
                target = f"dns:///{address}"
                async with running_edge(auth.address, chat_target=target, trusted_proxies=1) as edge:
                    codes.append((await ask(edge, await auth.new_key(), "203.0.113.1")).status_code)
            assert codes == [200, 429]


async def test_without_a_limit_nothing_is_counted(auth: Auth, running_chat: Running):
    key = await auth.new_key()
    async with (
        running_chat() as address,
        running_edge(auth.address, chat_target=f"dns:///{address}") as edge,
    ):
        assert {(await ask(edge, key, "")).status_code for _ in range(4)} == {200}
