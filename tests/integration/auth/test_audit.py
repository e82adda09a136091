"""The audit trail: what is in it, who may read it, and that nobody can change it."""

import datetime as dt
from typing import Any

import asyncpg
import grpc
import pytest
from gaia.auth.v1 import (
    api_key_pb2,
    api_key_service_pb2,
    audit_pb2,
    audit_service_pb2,
    auth_service_pb2,
    user_pb2,
    user_service_pb2,
)
from gaia.auth.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from gaia.auth.v1.audit_service_pb2_grpc import AuditServiceStub
from gaia.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from gaia.auth.v1.user_service_pb2_grpc import UserServiceStub
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict
from google.protobuf.timestamp_pb2 import Timestamp

from services.auth.audit import Act, AuditFilter, AuditTrail
from services.auth.keys import KeyRequest, create_key
from services.auth.permissions import Permissions
from services.auth.store_postgres import PostgresStore, audit_query
from shared.db.paging import START
from shared.db.pool import Database
from shared.errors import PermissionDenied
from shared.identity import api_key
from shared.identity.principal import Principal
from shared.identity.refusals import MAX_REFUSALS, RefusalCounter
from tests.support.auth import Auth
from tests.support.waiting import eventually


def metadata(key: str, request_id: str = "", address: str = "") -> tuple[tuple[str, str], ...]:
    pairs = (("x-api-key", key), ("x-request-id", request_id), ("x-gaia-client-address", address))
    return tuple(pair for pair in pairs if pair[1])


async def speaking_for(auth: Auth, key: str, request_id: str, address: str) -> tuple[tuple[str, str], ...]:
    """Metadata as the edge sends it for a client at an address."""
    request = auth_service_pb2.AuthenticateRequest(api_key=key)
    token = (await AuthServiceStub(auth.channel).Authenticate(request)).identity_token
    return (("x-gaia-identity", token), ("x-request-id", request_id), ("x-gaia-client-address", address))


async def events(auth: Auth, key: str, **wanted) -> list[audit_pb2.AuditEvent]:
    request = audit_service_pb2.ListAuditEventsRequest(**wanted)
    return list((await AuditServiceStub(auth.channel).ListAuditEvents(request, metadata=metadata(key))).events)


async def refusal(call) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


@pytest.fixture
async def pool(auth: Auth):
    pool = Database(auth.owner_url)
    await pool.open()
    yield pool
    await pool.close()


async def test_every_act_stands_in_the_trail_with_who_what_and_where(auth: Auth, admin_key: str):
    admin = await AuthServiceStub(auth.channel).GetMe(auth_service_pb2.GetMeRequest(), metadata=metadata(admin_key))
    users, keys = UserServiceStub(auth.channel), ApiKeyServiceStub(auth.channel)
    call = await speaking_for(auth, admin_key, "request-1", "203.0.113.9")
    user = (await users.CreateUser(user_service_pb2.CreateUserRequest(email="x@gaia.test"), metadata=call)).user
    rename = user_service_pb2.UpdateUserRequest(
        user=user_pb2.User(id=user.id, name="X"), update_mask=FieldMask(paths=["name"])
    )
    await users.UpdateUser(rename, metadata=call)
    create = api_key_service_pb2.CreateApiKeyRequest(user_id=user.id, name="n", scopes=["chat:read"])
    key = (await keys.CreateApiKey(create, metadata=call)).api_key
    change = api_key_service_pb2.UpdateApiKeyRequest(
        api_key=api_key_pb2.ApiKey(id=key.id, scopes=["chat:write"]), update_mask=FieldMask(paths=["scopes"])
    )
    await keys.UpdateApiKey(change, metadata=call)
    rotated = (await keys.RotateApiKey(api_key_service_pb2.RotateApiKeyRequest(id=key.id), metadata=call)).api_key
    await keys.RevokeApiKey(api_key_service_pb2.RevokeApiKeyRequest(id=key.id), metadata=call)
    await users.DeleteUser(user_service_pb2.DeleteUserRequest(id=user.id), metadata=call)

    by_key = await events(auth, admin_key, target_id=key.id)
    by_user = await events(auth, admin_key, target_id=user.id)
    assert [event.action for event in by_key] == [
        "api_key.revoke", "api_key.rotate", "api_key.update", "api_key.create"
    ]  # fmt: skip
    assert [event.action for event in by_user] == ["user.delete", "user.update", "user.create"]
    for event in (*by_key, *by_user):
        assert event.result == "success"
        assert (event.actor_user_id, event.actor_api_key_id) == (admin.user.id, admin.api_key_id)
        assert (event.request_id, event.address) == ("request-1", "203.0.113.9")
    assert MessageToDict(by_key[2].details)["permissions"] == {"scopes": ["chat:write"]}
    everything = " ".join(str(event) for event in (*by_key, *by_user))
    for secret in (key.key, rotated.key, api_key.digest(key.key)):
        assert secret not in everything


@pytest.mark.parametrize("told", ["", "203.0.113.10"])
async def test_who_calls_with_a_key_of_its_own_has_its_own_address_kept(auth: Auth, admin_key: str, told: str):
    users = UserServiceStub(auth.channel)
    request = user_service_pb2.CreateUserRequest(email=f"y{len(told)}@gaia.test")
    user = (await users.CreateUser(request, metadata=metadata(admin_key, address=told))).user
    [event] = await events(auth, admin_key, target_id=user.id)
    assert event.address == "127.0.0.1"


async def test_an_act_that_is_not_committed_leaves_no_entry(auth: Auth, admin_key: str):
    before = len(await events(auth, admin_key, action="user.create", page_size=500))
    users = UserServiceStub(auth.channel)
    request = user_service_pb2.CreateUserRequest(email="admin@gaia.test")
    refused = await refusal(users.CreateUser(request, metadata=metadata(admin_key)))
    assert refused is grpc.StatusCode.ALREADY_EXISTS
    successes = await events(auth, admin_key, action="user.create", result="success", page_size=500)
    assert len(successes) == before


async def test_an_entry_that_cannot_be_written_undoes_the_act(auth: Auth, admin_key: str, owner, pool: Database):
    me = await AuthServiceStub(auth.channel).GetMe(auth_service_pb2.GetMeRequest(), metadata=metadata(admin_key))
    caller = Principal(me.user.id, "admin@gaia.test", me.api_key_id, frozenset({"admin"}), "test")
    act = Act(caller, "x" * 500, "")  # longer than the column takes
    now = dt.datetime.now(dt.UTC)
    with pytest.raises(asyncpg.StringDataRightTruncationError):
        await create_key(PostgresStore(pool), act, KeyRequest("", "never", Permissions(()), None), now)
    assert await owner.fetchval("SELECT count(*) FROM api_keys WHERE name = 'never'") == 0


async def test_what_was_refused_for_lack_of_rights_is_written_too(auth: Auth, admin_key: str, pool: Database):
    trail = AuditTrail(PostgresStore(pool), RefusalCounter(), interval=60)
    caller = Principal("a0000000-0000-4000-8000-000000000001", "e@f", "", frozenset({"keys:manage"}), "test")
    act = Act(caller, "request-2", "198.51.100.7")

    async def attempt() -> None:
        with trail.attempt(act.event("api_key.create", "api_key")):
            wanted = KeyRequest("", "n", Permissions(("admin",)), None)
            await create_key(PostgresStore(pool), act, wanted, dt.datetime.now(dt.UTC))

    with pytest.raises(PermissionDenied):
        await attempt()
    await trail.flush()
    [event] = await events(auth, admin_key, result="permission_denied", actor_user_id=caller.user_id)
    assert (event.action, event.request_id, event.address) == ("api_key.create", "request-2", "198.51.100.7")


async def test_refused_credentials_are_summed_up_by_address(auth: Auth, admin_key: str):
    stub = AuthServiceStub(auth.channel)
    for _ in range(5):
        request = auth_service_pb2.AuthenticateRequest(api_key=api_key.generate("test"), client_address="198.51.100.20")
        await refusal(stub.Authenticate(request))
    report = audit_service_pb2.ReportRefusalsRequest()
    report.refusals.add(address="198.51.100.20", count=7, request_id="request-3")
    await AuditServiceStub(auth.channel).ReportRefusals(report)

    async def all_written() -> Any:
        found: Any = await events(auth, admin_key, action="authenticate", address="198.51.100.20")
        return found if sum(event.details["count"] for event in found) == 12 else []

    found = await eventually(all_written)
    assert {event.result for event in found} == {"unauthenticated"}


async def test_refusals_from_everywhere_take_bounded_room_and_lose_no_count():
    counter = RefusalCounter()
    for number in range(10_000):
        counter.record(f"address {number}", "")
    counted = counter.drain()
    assert len(counted) <= MAX_REFUSALS + 1
    assert sum(one.count for one in counted) == 10_000


async def test_a_denied_call_takes_bounded_room_and_loses_no_count():
    counter = RefusalCounter()
    for number in range(10_000):
        caller = Principal(f"user {number}", "e@f", "key", frozenset(), "test")
        counter.deny(caller, "gaia.auth.v1.UserService.ListUsers", "users:manage", "127.0.0.1", "")
        counter.record("127.0.0.1", "")
    counted = counter.drain()
    assert len(counted) <= MAX_REFUSALS + 2
    assert sum(one.count for one in counted if one.what.method) == 10_000
    assert sum(one.count for one in counted if not one.what.method) == 10_000


async def test_whoever_lacks_a_scope_or_has_a_bad_token_at_a_services_own_door_stands_in_the_trail(
    auth: Auth, admin_key: str
):
    weak = await auth.new_key(scopes=["chat:read"])
    identity = await AuthServiceStub(auth.channel).Authenticate(auth_service_pb2.AuthenticateRequest(api_key=weak))
    users = UserServiceStub(auth.channel)
    with_token = (("x-gaia-identity", identity.identity_token), ("x-request-id", "denied-2"))
    for call in (metadata(weak, "denied-2"), with_token):
        refused = await refusal(users.ListUsers(user_service_pb2.ListUsersRequest(), metadata=call))
        assert refused is grpc.StatusCode.PERMISSION_DENIED
    before = await auth.refused_from("127.0.0.1")
    forged = (
        ("x-gaia-identity", identity.identity_token[:-8] + "AAAAAAAA"),
        ("x-gaia-client-address", "198.51.100.30"),
    )
    await refusal(users.ListUsers(user_service_pb2.ListUsersRequest(), metadata=forged))

    async def written() -> Any:
        actor = identity.principal.user_id
        denied = await events(auth, admin_key, action="authorization.denied", actor_user_id=actor)
        counts: list[Any] = [event.details["count"] for event in denied]
        return denied if await auth.refused_from("127.0.0.1") == before + 1 and sum(counts) == 2 else []

    [event, *_] = await eventually(written)
    # A token that is none vouches for nothing that is said beside it.
    assert await auth.refused_from("198.51.100.30") == 0
    assert (event.target_id, event.details["scope"]) == ("gaia.auth.v1.UserService.ListUsers", "users:manage")
    assert (event.actor_api_key_id, event.request_id) == (identity.principal.api_key_id, "denied-2")
    assert event.address == "127.0.0.1"


async def test_what_another_door_reports_is_written_with_who_and_what(auth: Auth, admin_key: str):
    actor = "a0000000-0000-4000-8000-00000000000b"
    report = audit_service_pb2.ReportRefusalsRequest()
    report.refusals.add(
        address="198.51.100.21\0", count=4, request_id="request-4", method="m.S.M", scope="chat:read", user_id=actor
    )
    await AuditServiceStub(auth.channel).ReportRefusals(report)

    async def written() -> Any:
        return await events(auth, admin_key, action="authorization.denied", actor_user_id=actor)

    [event] = await eventually(written)
    assert (event.target_id, event.details["count"], event.request_id) == ("m.S.M", 4, "request-4")
    report.refusals[0].user_id = "nobody"
    answer = await refusal(AuditServiceStub(auth.channel).ReportRefusals(report))
    assert answer is grpc.StatusCode.INVALID_ARGUMENT


async def test_the_trail_needs_its_scope(auth: Auth):
    key = await auth.new_key(scopes=["keys:manage", "users:manage"])
    assert await refusal(events(auth, key)) is grpc.StatusCode.PERMISSION_DENIED
    reader = await auth.new_key(scopes=["audit:read"])
    assert await events(auth, reader)


@pytest.mark.parametrize("statement", ["UPDATE audit_events SET action = 'x'", "DELETE FROM audit_events"])
@pytest.mark.parametrize("role", ["gaia_auth", "gaia_owner"])
async def test_nobody_changes_the_trail(auth: Auth, statement: str, role: str):
    connection = await asyncpg.connect(auth.owner_url.replace("gaia_owner@", f"{role}@"))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_pages_and_export_hold_every_entry_once(auth: Auth, admin_key: str):
    stub, token, paged = AuditServiceStub(auth.channel), "", []
    end = Timestamp()
    end.FromDatetime(dt.datetime.now(dt.UTC))
    while True:
        request = audit_service_pb2.ListAuditEventsRequest(page_size=3, page_token=token, end_time=end)
        page = await stub.ListAuditEvents(request, metadata=metadata(admin_key))
        paged += [event.id for event in page.events]
        token = page.next_page_token
        if not token:
            break
    everything = audit_service_pb2.ExportAuditEventsRequest(end_time=end)
    exported = [one.event.id async for one in stub.ExportAuditEvents(everything, metadata=metadata(admin_key))]
    assert len(paged) == len(set(paged)) > 5
    assert exported == paged


async def test_filters_that_cannot_be_are_refused_by_name(auth: Auth, admin_key: str):
    assert await refusal(events(auth, admin_key, actor_user_id="me")) is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "wanted",
    [
        AuditFilter(),
        AuditFilter(action="api_key.create"),
        AuditFilter(target_id="x", result="success", address="203.0.113.9"),
        AuditFilter(start_time=dt.datetime(2020, 1, 1, tzinfo=dt.UTC), end_time=dt.datetime(2030, 1, 1, tzinfo=dt.UTC)),
    ],
)
async def test_every_filter_is_served_by_an_index(owner, wanted: AuditFilter):
    query, arguments = audit_query(wanted, START, 50)
    async with owner.transaction():
        await owner.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        plan = "\n".join(row[0] for row in await owner.fetch(f"EXPLAIN {query}", *arguments))
    assert "Index Scan" in plan
    assert "Sort" not in plan
