"""Metrics of a service, as Prometheus reads them."""

import contextlib
from typing import Any

import grpc
import httpx
import pytest
from gaia.auth.v1 import auth_service_pb2, user_service_pb2
from gaia.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from gaia.auth.v1.user_service_pb2_grpc import UserServiceStub
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from shared.identity import api_key
from tests.support.auth import running_auth
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer

ME = "/gaia.auth.v1.AuthService/GetMe"
USERS = "/gaia.auth.v1.UserService/ListUsers"


async def read(address: str) -> dict[str, Metric]:
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"http://{address}/metrics")).text
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(metric: Metric, suffix: str = "") -> dict[tuple[str, ...], float]:
    """The samples of a metric, by the values of their labels: method, code, bound."""
    order = ("method", "code", "le", "result", "state")
    return {
        tuple(sample.labels[name] for name in order if name in sample.labels): sample.value
        for sample in metric.samples
        if sample.name == f"{metric.name}{suffix}"
    }


async def end(call: Any) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError):
        await call


async def test_calls_are_counted_and_timed_by_method_and_code_and_by_nothing_a_caller_makes_up(
    postgres: PostgresServer, database: str
):
    address = f"127.0.0.1:{free_port()}"
    async with running_auth(postgres, database, metrics_listen=address) as auth:
        key = await auth.new_key("metered@gaia.test", scopes=["chat:read"])
        stub, users = AuthServiceStub(auth.channel), UserServiceStub(auth.channel)
        with_key = (("x-api-key", key),)
        identity = await stub.Authenticate(auth_service_pb2.AuthenticateRequest(api_key=key))
        with_token = (("x-gaia-identity", identity.identity_token),)
        for metadata in (with_key, with_key, with_token, with_token):
            await stub.GetMe(auth_service_pb2.GetMeRequest(), metadata=metadata)
        await end(users.ListUsers(user_service_pb2.ListUsersRequest(), metadata=with_key))
        await end(stub.GetMe(auth_service_pb2.GetMeRequest(), metadata=(("x-api-key", api_key.generate("test")),)))
        await end(stub.GetMe(auth_service_pb2.GetMeRequest(), metadata=(("x-gaia-identity", "a.b.c"),)))
        await end(users.GetUser(user_service_pb2.GetUserRequest(id="made-up"), metadata=with_key))
        await end(auth.channel.unary_unary("/made.up.Service/Method")(b"", metadata=with_key))  # type: ignore[arg-type] # what is sent here has no type
        metrics = await read(address)
        text = str(metrics)
    calls = values(metrics["gaia_rpc_seconds"], "_count")
    assert calls[ME, "OK"] == 4
    assert calls[ME, "UNAUTHENTICATED"] == 2
    assert calls[USERS, "PERMISSION_DENIED"] == 1
    assert 0 < values(metrics["gaia_rpc_seconds"], "_sum")[ME, "OK"] < 60
    assert values(metrics["gaia_rpc_seconds"], "_bucket")[ME, "OK", "+Inf"] == 4
    assert values(metrics["gaia_identity_lookups"], "_total")[("hit",)] == 3
    assert values(metrics["gaia_token_lookups"], "_total") == {("hit",): 1, ("miss",): 1, ("refused",): 1}
    connections = values(metrics["gaia_database_connections"])
    assert connections["busy",] + connections["idle",] >= 1
    assert values(metrics["gaia_database_connections_limit"]) == {(): 10}
    assert "made" not in text
    assert identity.principal.user_id not in text
    assert key not in text


async def test_an_address_that_is_taken_stops_the_start_and_is_named(postgres: PostgresServer, database: str):
    address = f"127.0.0.1:{free_port()}"
    async with running_auth(postgres, database, metrics_listen=address):
        with pytest.raises(OSError, match=f"GAIA_METRICS_LISTEN: cannot listen on {address}"):
            async with running_auth(postgres, database, metrics_listen=address):
                pass
