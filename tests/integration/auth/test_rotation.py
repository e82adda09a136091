"""Rotation of keys, and what keys are limited to, through auth's gRPC door on a real database."""

import datetime as dt

import grpc
import pytest
from gaia.auth.v1 import api_key_pb2, api_key_service_pb2, auth_service_pb2
from gaia.auth.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from gaia.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from services.auth.store_postgres import PostgresStore
from services.auth.usage import UseRecorder
from shared.db.pool import Database
from shared.identity import api_key
from tests.support.auth import Auth


def with_key(key: str) -> tuple[tuple[str, str], ...]:
    return (("x-api-key", key),)


async def authenticate(auth: Auth, key: str) -> auth_service_pb2.AuthenticateResponse:
    return await AuthServiceStub(auth.channel).Authenticate(auth_service_pb2.AuthenticateRequest(api_key=key))


async def refusal(call) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


async def create(auth: Auth, caller: str, **fields) -> api_key_pb2.ApiKey:
    request = api_key_service_pb2.CreateApiKeyRequest(**{"name": "test", **fields})
    return (await ApiKeyServiceStub(auth.channel).CreateApiKey(request, metadata=with_key(caller))).api_key


async def rotate(auth: Auth, caller: str, key_id: str, **fields) -> api_key_pb2.ApiKey:
    request = api_key_service_pb2.RotateApiKeyRequest(id=key_id, **fields)
    return (await ApiKeyServiceStub(auth.channel).RotateApiKey(request, metadata=with_key(caller))).api_key


async def update(auth: Auth, caller: str, key: api_key_pb2.ApiKey, *fields: str) -> api_key_pb2.ApiKey:
    request = api_key_service_pb2.UpdateApiKeyRequest(api_key=key, update_mask=FieldMask(paths=fields))
    return (await ApiKeyServiceStub(auth.channel).UpdateApiKey(request, metadata=with_key(caller))).api_key


async def check(auth: Auth, token: str) -> auth_service_pb2.CheckIdentityResponse:
    request = auth_service_pb2.CheckIdentityRequest(identity_token=token)
    return await AuthServiceStub(auth.channel).CheckIdentity(request)


class TestRotation:
    async def test_during_the_grace_two_secrets_stand_for_one_key(self, auth, admin_key):
        created = await create(auth, admin_key)
        rotated = await rotate(auth, admin_key, created.id, grace_seconds=600)
        assert rotated.id == created.id
        assert rotated.key != created.key
        assert rotated.last_four == rotated.key[-4:]
        ids = [(await authenticate(auth, key)).principal.api_key_id for key in (created.key, rotated.key)]
        assert ids == [created.id, created.id]

    async def test_the_grace_is_a_day_unless_told_otherwise(self, auth, admin_key):
        rotated = await rotate(auth, admin_key, (await create(auth, admin_key)).id)
        end = rotated.previous_secret_expires_at.ToDatetime(tzinfo=dt.UTC)
        assert abs(end - dt.datetime.now(dt.UTC) - dt.timedelta(days=1)) < dt.timedelta(minutes=1)

    async def test_without_grace_the_old_secret_ends_at_once(self, auth, admin_key):
        created = await create(auth, admin_key)
        rotated = await rotate(auth, admin_key, created.id, grace_seconds=0)
        assert await refusal(authenticate(auth, created.key)) is grpc.StatusCode.UNAUTHENTICATED
        assert (await authenticate(auth, rotated.key)).principal.api_key_id == created.id

    async def test_tokens_made_from_a_secret_end_with_it(self, auth, admin_key):
        created = await create(auth, admin_key)
        old = (await authenticate(auth, created.key)).identity_token
        assert (await check(auth, old)).principal.api_key_id == created.id
        rotated = await rotate(auth, admin_key, created.id, grace_seconds=0)
        assert await refusal(check(auth, old)) is grpc.StatusCode.UNAUTHENTICATED
        new = (await authenticate(auth, rotated.key)).identity_token
        assert (await check(auth, new)).principal.api_key_id == created.id

    async def test_the_old_secret_ends_with_its_grace(self, auth, admin_key, owner):
        created = await create(auth, admin_key)
        await rotate(auth, admin_key, created.id, grace_seconds=600)
        await owner.execute(
            "UPDATE api_keys SET previous_expires_at = now() - interval '1 second' WHERE id = $1", created.id
        )
        assert await refusal(authenticate(auth, created.key)) is grpc.StatusCode.UNAUTHENTICATED

    async def test_a_second_rotation_ends_the_secret_before_the_last(self, auth, admin_key):
        first = await create(auth, admin_key)
        second = await rotate(auth, admin_key, first.id, grace_seconds=600)
        third = await rotate(auth, admin_key, first.id, grace_seconds=600)
        assert await refusal(authenticate(auth, first.key)) is grpc.StatusCode.UNAUTHENTICATED
        for key in (second.key, third.key):
            assert (await authenticate(auth, key)).principal.api_key_id == first.id

    async def test_revoking_ends_both_secrets(self, auth, admin_key):
        created = await create(auth, admin_key)
        rotated = await rotate(auth, admin_key, created.id, grace_seconds=600)
        await ApiKeyServiceStub(auth.channel).RevokeApiKey(
            api_key_service_pb2.RevokeApiKeyRequest(id=created.id), metadata=with_key(admin_key)
        )
        for key in (created.key, rotated.key):
            assert await refusal(authenticate(auth, key)) is grpc.StatusCode.UNAUTHENTICATED

    async def test_a_revoked_key_cannot_be_rotated_back_to_life(self, auth, admin_key):
        created = await create(auth, admin_key)
        await ApiKeyServiceStub(auth.channel).RevokeApiKey(
            api_key_service_pb2.RevokeApiKeyRequest(id=created.id), metadata=with_key(admin_key)
        )
        assert await refusal(rotate(auth, admin_key, created.id)) is grpc.StatusCode.FAILED_PRECONDITION

    @pytest.mark.parametrize("grace", [-1, 30 * 86_400 + 1])
    async def test_a_grace_has_bounds(self, auth, admin_key, grace):
        created = await create(auth, admin_key)
        refused = await refusal(rotate(auth, admin_key, created.id, grace_seconds=grace))
        assert refused is grpc.StatusCode.INVALID_ARGUMENT

    async def test_nobody_gets_hold_of_a_greater_key_by_rotating_it(self, auth):
        greater = await auth.new_key("both@gaia.test", scopes=["admin"])
        lesser = await auth.new_key("both@gaia.test", scopes=["keys:manage"])
        greater_id = (await authenticate(auth, greater)).principal.api_key_id
        assert await refusal(rotate(auth, lesser, greater_id)) is grpc.StatusCode.PERMISSION_DENIED

    async def test_a_foreign_key_is_not_there(self, auth, admin_key):
        created = await create(auth, admin_key)
        stranger = await auth.new_key(scopes=["keys:manage"])
        assert await refusal(rotate(auth, stranger, created.id)) is grpc.StatusCode.NOT_FOUND


class TestExpiry:
    async def test_a_token_does_not_outlive_its_key(self, auth, admin_key):
        end = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=20)
        created = await create(auth, admin_key, expires_at=Timestamp(seconds=int(end.timestamp())))
        response = await authenticate(auth, created.key)
        assert response.identity_expires_at.seconds <= int(end.timestamp())
        assert 0 < response.identity_lifetime_ms <= 20_000

    async def test_an_end_in_the_past_is_refused_on_update(self, auth, admin_key):
        key = await create(auth, admin_key)
        past = api_key_pb2.ApiKey(id=key.id, expires_at=Timestamp(seconds=1))
        assert await refusal(update(auth, admin_key, past, "expires_at")) is grpc.StatusCode.INVALID_ARGUMENT

    async def test_an_end_can_be_taken_away(self, auth, admin_key):
        key = await create(auth, admin_key, expires_at=Timestamp(seconds=4_000_000_000))
        changed = await update(auth, admin_key, api_key_pb2.ApiKey(id=key.id), "expires_at")
        assert not changed.HasField("expires_at")


class TestLimits:
    LIMITS = api_key_pb2.ApiKeyLimits(requests_per_minute=5, tokens_per_minute=900, monthly_budget_usd=12.34)

    async def test_models_and_limits_are_kept_and_reach_the_principal(self, auth, admin_key):
        key = await create(auth, admin_key, allowed_models=["b", "a", "a"], limits=self.LIMITS)
        assert list(key.allowed_models) == ["a", "b"]
        assert key.limits == self.LIMITS
        response = await authenticate(auth, key.key)
        assert list(response.principal.allowed_models) == ["a", "b"]
        assert response.principal.limits == self.LIMITS
        checked = await check(auth, response.identity_token)
        assert checked.principal == response.principal

    async def test_one_limit_changes_alone_and_scopes_stay(self, auth, admin_key):
        key = await create(auth, admin_key, scopes=["chat:read"], limits=self.LIMITS)
        wanted = api_key_pb2.ApiKey(id=key.id, limits=api_key_pb2.ApiKeyLimits(requests_per_minute=7))
        changed = await update(auth, admin_key, wanted, "limits.requests_per_minute")
        assert changed.limits.requests_per_minute == 7
        assert changed.limits.tokens_per_minute == 900
        assert list(changed.scopes) == ["chat:read"]

    async def test_limits_can_be_taken_away(self, auth, admin_key):
        key = await create(auth, admin_key, allowed_models=["a"], limits=self.LIMITS)
        changed = await update(auth, admin_key, api_key_pb2.ApiKey(id=key.id), "limits", "allowed_models")
        assert changed.limits == api_key_pb2.ApiKeyLimits()
        assert not changed.allowed_models

    async def test_a_limited_key_makes_keys_with_its_own_limits(self, auth, admin_key):
        scopes = ["keys:manage", "chat:read"]
        limited = await create(auth, admin_key, scopes=scopes, allowed_models=["a"], limits=self.LIMITS)
        child = await create(auth, limited.key, scopes=["chat:read"])
        assert list(child.allowed_models) == ["a"]
        assert child.limits == self.LIMITS

    async def test_nobody_lifts_the_limits_of_their_own_key(self, auth, admin_key):
        scopes = ["keys:manage", "chat:read"]
        limited = await create(auth, admin_key, scopes=scopes, allowed_models=["a"], limits=self.LIMITS)
        for field in ("limits", "allowed_models", "limits.monthly_budget_usd"):
            call = update(auth, limited.key, api_key_pb2.ApiKey(id=limited.id), field)
            assert await refusal(call) is grpc.StatusCode.PERMISSION_DENIED, field

    @pytest.mark.parametrize(
        "limits",
        [
            {"requests_per_minute": 0},
            {"tokens_per_minute": -5},
            {"monthly_budget_usd": -0.01},
            {"monthly_budget_usd": float("nan")},
            {"monthly_budget_usd": float("inf")},
            {"monthly_budget_usd": 1e300},
        ],
    )
    async def test_limits_that_cannot_be_are_refused(self, auth, admin_key, limits):
        call = create(auth, admin_key, limits=api_key_pb2.ApiKeyLimits(**limits))
        assert await refusal(call) is grpc.StatusCode.INVALID_ARGUMENT

    async def test_a_key_with_as_many_models_as_can_be_still_works(self, auth, admin_key):
        models = [f"{number:02}".rjust(64, "m") for number in range(64)]
        key = await create(auth, admin_key, scopes=["keys:manage"], allowed_models=models, limits=self.LIMITS)
        token = (await authenticate(auth, key.key)).identity_token
        me = await AuthServiceStub(auth.channel).GetMe(
            auth_service_pb2.GetMeRequest(), metadata=(("x-gaia-identity", token),)
        )
        assert me.api_key_id == key.id


class TestLastUse:
    async def test_uses_are_written_in_one_batch_and_never_backwards(self, auth, admin_key, owner):
        ids = [(await create(auth, admin_key)).id for _ in range(3)]
        later = dt.datetime.now(dt.UTC)
        await owner.execute("UPDATE api_keys SET last_used_at = $2 WHERE id = $1", ids[2], later)
        database = Database(auth.owner_url)
        await database.open()
        uses = UseRecorder(PostgresStore(database))
        used_at = later - dt.timedelta(minutes=5)
        for row in await owner.fetch("SELECT id FROM api_keys WHERE id = ANY($1::uuid[])", ids):
            for _ in range(100):
                uses.record(row["id"], used_at)
        await uses.flush()
        await database.close()
        rows = await owner.fetch("SELECT id, last_used_at FROM api_keys WHERE id = ANY($1::uuid[])", ids)
        found = {str(row["id"]): row["last_used_at"] for row in rows}
        assert [found[key_id] for key_id in ids] == [used_at, used_at, later]

    async def test_noting_a_use_revokes_nothing(self, auth, admin_key, owner):
        key = await create(auth, admin_key)
        before = await owner.fetchval("SELECT coalesce(max(sequence), 0) FROM revocations")
        await owner.execute("UPDATE api_keys SET last_used_at = now() WHERE id = $1", key.id)
        assert await owner.fetchval("SELECT coalesce(max(sequence), 0) FROM revocations") == before


class TestForeignKeys:
    async def test_a_key_moved_here_by_its_sha256_works(self, auth, admin_key, owner):
        key = await create(auth, admin_key)
        await owner.execute(
            "UPDATE api_keys SET key_hash = $2 WHERE id = $1", key.id, api_key.digest("sk-older-platform-0001")
        )
        assert (await authenticate(auth, "sk-older-platform-0001")).principal.api_key_id == key.id
