"""The auth service through its gRPC door, on a real database."""

import asyncio
import datetime as dt
from decimal import Decimal

import asyncpg
import grpc
import pytest
from gaia.auth.v1 import (
    api_key_pb2,
    api_key_service_pb2,
    auth_service_pb2,
    user_pb2,
    user_service_pb2,
)
from gaia.auth.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from gaia.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from gaia.auth.v1.user_service_pb2_grpc import UserServiceStub
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from shared.identity import api_key
from shared.identity.revocations import RevocationFeed, follow
from shared.identity.token import TokenVerifier
from shared.rpc.auth import remote_check, remote_signing_keys
from shared.rpc.mesh import background
from tests.support.auth import Auth
from tests.support.door import running_door
from tests.support.forwarder import forwarding
from tests.support.ports import free_port
from tests.support.waiting import eventually


def with_key(key: str) -> tuple[tuple[str, str], ...]:
    return (("x-api-key", key),)


async def authenticate(auth: Auth, key: str) -> auth_service_pb2.AuthenticateResponse:
    return await AuthServiceStub(auth.channel).Authenticate(auth_service_pb2.AuthenticateRequest(api_key=key))


async def refusal(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def create_key(auth: Auth, caller: str, **fields) -> api_key_pb2.ApiKey:
    request = api_key_service_pb2.CreateApiKeyRequest(**{"name": "test", **fields})
    response = await ApiKeyServiceStub(auth.channel).CreateApiKey(request, metadata=with_key(caller))
    return response.api_key


class TestAuthenticate:
    async def test_a_key_becomes_a_principal_and_a_token_that_auths_public_keys_verify(self, auth, admin_key):
        response = await authenticate(auth, admin_key)
        assert response.principal.email == "admin@gaia.test"
        assert list(response.principal.scopes) == ["admin"]
        stub = AuthServiceStub(auth.channel)
        verifier = TokenVerifier("test", remote_signing_keys(stub), remote_check(stub), RevocationFeed())
        principal = await verifier.verify(response.identity_token)
        assert principal.user_id == response.principal.user_id
        assert principal.api_key_id == response.principal.api_key_id

    async def test_unknown_revoked_expired_and_inactive_keys_get_the_same_answer(self, auth, admin_key):
        unknown = api_key.generate("test")
        revoked = await create_key(auth, admin_key)
        await ApiKeyServiceStub(auth.channel).RevokeApiKey(
            api_key_service_pb2.RevokeApiKeyRequest(id=revoked.id), metadata=with_key(admin_key)
        )
        expired = await create_key(auth, admin_key)
        inactive_user_key = await auth.new_key("inactive@gaia.test")
        connection = await asyncpg.connect(auth.owner_url)
        await connection.execute(
            "UPDATE api_keys SET expires_at = $2 WHERE id = $1", expired.id, dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
        )
        await connection.execute("UPDATE users SET is_active = false WHERE email = 'inactive@gaia.test'")
        await connection.close()
        answers = {
            (error.code(), error.details())
            for key in (unknown, revoked.key, expired.key, inactive_user_key)
            for error in [await refusal(authenticate(auth, key))]
        }
        assert answers == {(grpc.StatusCode.UNAUTHENTICATED, "the API key is not valid; send a valid one as X-API-Key")}

    @pytest.mark.parametrize("key", ["", "'; DROP TABLE users; --", "gaia_test_" + "x" * 300, "\x00" * 40, "ключ"])
    async def test_what_is_no_key_is_refused(self, auth, key):
        assert (await refusal(authenticate(auth, key))).code() is grpc.StatusCode.UNAUTHENTICATED

    async def test_rows_of_older_platforms_that_say_admin_mean_the_scope(self, auth, admin_key):
        key = await create_key(auth, admin_key)
        connection = await asyncpg.connect(auth.owner_url)
        await connection.execute("UPDATE api_keys SET permissions = '{\"admin\": true}' WHERE id = $1", key.id)
        await connection.close()
        assert list((await authenticate(auth, key.key)).principal.scopes) == ["admin"]

    async def test_only_the_sha256_of_a_key_is_stored(self, auth, admin_key):
        key = await create_key(auth, admin_key)
        connection = await asyncpg.connect(auth.owner_url)
        row = await connection.fetchrow("SELECT * FROM api_keys WHERE id = $1", key.id)
        await connection.close()
        assert row["key_hash"] == api_key.digest(key.key)
        secret = key.key.removeprefix("gaia_test_")[:-6]
        assert not any(secret in str(value) for value in row.values())
        assert (row["prefix"], row["last_four"]) == ("gaia_test_", key.key[-4:])


class TestAccess:
    async def test_a_call_without_identity_is_refused(self, auth):
        error = await refusal(AuthServiceStub(auth.channel).GetMe(auth_service_pb2.GetMeRequest()))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED

    async def test_a_call_with_a_key_and_a_token_is_refused(self, auth, admin_key):
        token = (await authenticate(auth, admin_key)).identity_token
        metadata = (("x-api-key", admin_key), ("x-gaia-identity", token))
        error = await refusal(AuthServiceStub(auth.channel).GetMe(auth_service_pb2.GetMeRequest(), metadata=metadata))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "two different credentials" in error.details()

    @pytest.mark.parametrize("metadata_name", ["x-gaia-identity", "authorization"])
    async def test_a_forged_token_is_refused(self, auth, admin_key, metadata_name):
        token = (await authenticate(auth, admin_key)).identity_token
        head, body, signature = token.split(".")
        forged = ".".join((head, body, signature[::-1]))
        value = f"Bearer {forged}" if metadata_name == "authorization" else forged
        call = AuthServiceStub(auth.channel).GetMe(auth_service_pb2.GetMeRequest(), metadata=((metadata_name, value),))
        assert (await refusal(call)).code() is grpc.StatusCode.UNAUTHENTICATED

    async def test_a_missing_scope_is_named(self, auth):
        key = await auth.new_key(scopes=["chat:read"])
        call = UserServiceStub(auth.channel).ListUsers(user_service_pb2.ListUsersRequest(), metadata=with_key(key))
        error = await refusal(call)
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "users:manage" in error.details()

    async def test_the_health_service_needs_no_identity_and_knows_the_database(self, auth):
        stub = health_pb2_grpc.HealthStub(auth.channel)
        for service in ("", "gaia.auth.v1.AuthService", "database"):
            answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING, service


class TestKeys:
    async def test_a_key_is_shown_once(self, auth, admin_key):
        created = await create_key(auth, admin_key, scopes=["chat:read"])
        assert api_key.is_well_formed(created.key)
        stub = ApiKeyServiceStub(auth.channel)
        found = await stub.GetApiKey(api_key_service_pb2.GetApiKeyRequest(id=created.id), metadata=with_key(admin_key))
        assert not found.api_key.HasField("key")
        assert found.api_key.last_four == created.key[-4:]

    async def test_nobody_gives_away_scopes_they_lack(self, auth):
        key = await auth.new_key(scopes=["keys:manage", "chat:read"])
        error = await refusal(create_key(auth, key, scopes=["chat:read", "admin"]))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "admin" in error.details()

    async def test_nobody_promotes_their_own_key(self, auth):
        key = await auth.new_key(scopes=["keys:manage"])
        own_id = (await authenticate(auth, key)).principal.api_key_id
        call = ApiKeyServiceStub(auth.channel).UpdateApiKey(
            api_key_service_pb2.UpdateApiKeyRequest(
                api_key=api_key_pb2.ApiKey(id=own_id, scopes=["admin"]), update_mask=FieldMask(paths=["scopes"])
            ),
            metadata=with_key(key),
        )
        assert (await refusal(call)).code() is grpc.StatusCode.PERMISSION_DENIED

    async def test_a_field_that_may_not_change_is_refused_by_name(self, auth, admin_key):
        key = await create_key(auth, admin_key)
        call = ApiKeyServiceStub(auth.channel).UpdateApiKey(
            api_key_service_pb2.UpdateApiKeyRequest(
                api_key=api_key_pb2.ApiKey(id=key.id, user_id="x"), update_mask=FieldMask(paths=["user_id"])
            ),
            metadata=with_key(admin_key),
        )
        error = await refusal(call)
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "user_id" in error.details()

    async def test_keys_of_others_are_not_there(self, auth, admin_key):
        other = await create_key(auth, admin_key)
        key = await auth.new_key(scopes=["keys:manage"])
        stub = ApiKeyServiceStub(auth.channel)
        get = stub.GetApiKey(api_key_service_pb2.GetApiKeyRequest(id=other.id), metadata=with_key(key))
        assert (await refusal(get)).code() is grpc.StatusCode.NOT_FOUND
        revoke = stub.RevokeApiKey(api_key_service_pb2.RevokeApiKeyRequest(id=other.id), metadata=with_key(key))
        assert (await refusal(revoke)).code() is grpc.StatusCode.NOT_FOUND

    async def test_every_violation_is_named_at_once(self, auth, admin_key):
        error = await refusal(create_key(auth, admin_key, name=" ", scopes=["fly"]))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        details = dict(error.trailing_metadata())["grpc-status-details-bin"]
        [packed] = status_pb2.Status.FromString(details).details
        bad_request = error_details_pb2.BadRequest()
        packed.Unpack(bad_request)
        assert [violation.field for violation in bad_request.field_violations] == ["name", "scopes"]

    async def test_pages_hold_every_key_once(self, auth):
        key = await auth.new_key()
        created = {(await create_key(auth, key, name=f"key {number}")).id for number in range(5)}
        stub, seen, token = ApiKeyServiceStub(auth.channel), [], ""
        while True:
            request = api_key_service_pb2.ListApiKeysRequest(page_size=2, page_token=token)
            page = await stub.ListApiKeys(request, metadata=with_key(key))
            assert len(page.api_keys) <= 2
            seen += [found.id for found in page.api_keys]
            token = page.next_page_token
            if not token:
                break
        assert len(seen) == len(set(seen)) == 6  # five, and the one that calls
        assert created < set(seen)

    async def test_a_foreign_page_token_is_refused(self, auth, admin_key):
        request = api_key_service_pb2.ListApiKeysRequest(page_token="AAAA")
        call = ApiKeyServiceStub(auth.channel).ListApiKeys(request, metadata=with_key(admin_key))
        assert (await refusal(call)).code() is grpc.StatusCode.INVALID_ARGUMENT


class TestUsers:
    async def test_a_user_is_created_changed_and_found(self, auth, admin_key):
        stub = UserServiceStub(auth.channel)
        request = user_service_pb2.CreateUserRequest(email="Ada@Gaia.test", name="Ada")
        created = (await stub.CreateUser(request, metadata=with_key(admin_key))).user
        update = user_service_pb2.UpdateUserRequest(
            user=user_pb2.User(id=created.id, name="Ada L."), update_mask=FieldMask(paths=["name"])
        )
        await stub.UpdateUser(update, metadata=with_key(admin_key))
        found = await stub.GetUser(user_service_pb2.GetUserRequest(id=created.id), metadata=with_key(admin_key))
        assert (found.user.email, found.user.name, found.user.is_active) == ("Ada@Gaia.test", "Ada L.", True)

    async def test_an_email_address_is_taken_without_regard_to_case(self, auth, admin_key):
        stub = UserServiceStub(auth.channel)
        await stub.CreateUser(user_service_pb2.CreateUserRequest(email="bob@gaia.test"), metadata=with_key(admin_key))
        again = user_service_pb2.CreateUserRequest(email="BOB@gaia.test")
        error = await refusal(stub.CreateUser(again, metadata=with_key(admin_key)))
        assert error.code() is grpc.StatusCode.ALREADY_EXISTS

    @pytest.mark.parametrize("email", ["", "nobody", "a@b c", "@", "a" * 321 + "@b"])
    async def test_what_is_no_email_address_is_refused(self, auth, admin_key, email):
        request = user_service_pb2.CreateUserRequest(email=email)
        call = UserServiceStub(auth.channel).CreateUser(request, metadata=with_key(admin_key))
        assert (await refusal(call)).code() is grpc.StatusCode.INVALID_ARGUMENT

    async def test_a_changed_budget_reaches_identities_that_are_cached_already(self, auth, admin_key):
        key = await auth.new_key()
        async with running_door(auth.address) as door:
            await door.hear()
            authenticator, verifier = door.identity.authenticator, door.identity.verifier
            identity = await authenticator.authenticate(key)
            token = dict(identity.metadata)["x-gaia-identity"]
            assert identity.principal.user_monthly_budget_usd is None
            update = user_service_pb2.UpdateUserRequest(
                user=user_pb2.User(id=identity.principal.user_id, monthly_budget_usd=0.1),
                update_mask=FieldMask(paths=["monthly_budget_usd"]),
            )
            await UserServiceStub(auth.channel).UpdateUser(update, metadata=with_key(admin_key))

            async def everywhere() -> bool:
                seen = await authenticator.authenticate(key), await verifier.verify(token)
                return {seen[0].principal.user_monthly_budget_usd, seen[1].user_monthly_budget_usd} == {Decimal("0.1")}

            await eventually(everywhere, 1.5)

    async def test_deleting_a_user_ends_their_keys(self, auth, admin_key):
        key = await auth.new_key("leaver@gaia.test")
        user_id = (await authenticate(auth, key)).principal.user_id
        stub = UserServiceStub(auth.channel)
        await stub.DeleteUser(user_service_pb2.DeleteUserRequest(id=user_id), metadata=with_key(admin_key))
        assert (await refusal(authenticate(auth, key))).code() is grpc.StatusCode.UNAUTHENTICATED


class TestServicesThatAreUpBeforeAuth:
    @pytest.mark.parametrize("credential", ["key", "token"])
    async def test_their_first_caller_waits_for_auth(self, auth, admin_key, credential):
        token = (await authenticate(auth, admin_key)).identity_token
        metadata = ("x-api-key", admin_key) if credential == "key" else ("x-gaia-identity", token)
        async with forwarding(free_port()) as way, running_door(f"127.0.0.1:{way.port}") as door:
            await door.hear()

            async def has_failed_to_reach_auth() -> bool:
                return len(way.forwarded) > 2

            await eventually(has_failed_to_reach_auth, 5)
            way.target = int(auth.address.rpartition(":")[2])
            assert await door.call(metadata) is grpc.StatusCode.OK


class TestValidateCredential:
    async def validate(self, auth: Auth, **fields) -> auth_service_pb2.ValidateCredentialResponse:
        request = auth_service_pb2.ValidateCredentialRequest(**fields)
        return await AuthServiceStub(auth.channel).ValidateCredential(request)

    async def test_a_key_and_a_token_are_valid(self, auth, admin_key):
        identity = await authenticate(auth, admin_key)
        by_key = await self.validate(auth, api_key=admin_key)
        by_token = await self.validate(auth, token=identity.identity_token)
        user_id = identity.principal.user_id
        assert (by_key.valid, by_key.auth_type, by_key.user_id) == (True, "api_key", user_id)
        assert (by_token.valid, by_token.auth_type, by_token.user_id) == (True, "jwt", user_id)

    @pytest.mark.parametrize("fields", [{}, {"api_key": "gaia_test_wrong"}, {"token": "a.b.c"}])
    async def test_anything_else_is_not_and_says_why(self, auth, fields):
        answer = await self.validate(auth, **fields)
        assert (answer.valid, answer.auth_type, answer.HasField("user_id")) == (False, "none", False)
        assert answer.error


class TestRevocations:
    async def test_watchers_hear_of_a_revocation_whatever_caused_it(self, auth, admin_key):
        key = await create_key(auth, admin_key)
        call = AuthServiceStub(auth.channel).WatchRevocations(auth_service_pb2.WatchRevocationsRequest())
        await call.read()
        connection = await asyncpg.connect(auth.owner_url)
        await connection.execute("UPDATE api_keys SET is_active = false WHERE id = $1", key.id)
        await connection.close()
        async with asyncio.timeout(1.0):
            while (await call.read()).api_key_id != key.id:
                pass
        call.cancel()

    async def test_a_watcher_that_was_away_is_told_what_it_missed(self, auth, admin_key):
        key = await create_key(auth, admin_key)
        feed = RevocationFeed()
        heard: list[str] = []
        feed.listen(lambda event: heard.append(event.api_key_id))
        stub = AuthServiceStub(auth.channel)

        async def until(condition) -> None:
            async def probe() -> bool:
                return condition()

            async with background(follow(feed, stub)):
                await eventually(probe, 5.0)

        await until(lambda: feed.sequence > 0)
        await ApiKeyServiceStub(auth.channel).RevokeApiKey(
            api_key_service_pb2.RevokeApiKeyRequest(id=key.id), metadata=with_key(admin_key)
        )
        await until(lambda: key.id in heard)

    async def test_a_watcher_from_another_time_is_told_to_forget_everything(self, auth):
        call = AuthServiceStub(auth.channel).WatchRevocations(
            auth_service_pb2.WatchRevocationsRequest(after_sequence=10**9)
        )
        assert (await call.read()).reset
        call.cancel()
