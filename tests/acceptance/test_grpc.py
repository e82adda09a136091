"""The services as internal callers meet them: generic clients, keys and identity tokens, straight over gRPC."""

from typing import Any

import grpc
import pytest
from gaia.auth.v1 import api_key_service_pb2, auth_service_pb2, user_service_pb2
from gaia.auth.v1.api_key_service_pb2_grpc import ApiKeyServiceStub
from gaia.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from gaia.auth.v1.user_service_pb2_grpc import UserServiceStub
from gaia.chat.v1 import provider_service_pb2
from gaia.chat.v1.provider_service_pb2_grpc import ProviderServiceStub
from google.protobuf import json_format
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.support.mesh import SERVICES, Caller, Mesh
from tests.support.process import until

CONTRACTS = {
    "auth": {"gaia.auth.v1.AuthService", "gaia.auth.v1.UserService", "gaia.auth.v1.ApiKeyService"},
    "asset": {"gaia.asset.v1.AssetService"},
    "chat": {
        "gaia.chat.v1.ChatService",
        "gaia.chat.v1.CompletionService",
        "gaia.chat.v1.ModelService",
        "gaia.chat.v1.ProviderService",
    },
}


async def refusal(call) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


class TestGenericClient:
    """A client that knows no contract, only gRPC: what grpcurl does."""

    @pytest.mark.parametrize("name", SERVICES)
    async def test_health_is_told_for_the_process_each_contract_and_the_database(self, mesh: Mesh, name: str):
        async with mesh.channel(name) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)  # its stubs know no methods
            for service in ("", "database", *CONTRACTS[name]):
                reply = await stub.Check(health_pb2.HealthCheckRequest(service=service))
                assert reply.status == health_pb2.HealthCheckResponse.SERVING, service
            unknown = await refusal(stub.Check(health_pb2.HealthCheckRequest(service="gaia.nothing.v1.Nothing")))
            assert unknown.code() is grpc.StatusCode.NOT_FOUND

    @pytest.mark.parametrize("name", SERVICES)
    def test_reflection_names_every_contract_and_describes_every_method(self, mesh: Mesh, name: str):
        with grpc.insecure_channel(mesh.addresses[name]) as channel:
            database = ProtoReflectionDescriptorDatabase(channel)
            listed = set(database.get_services())
            assert listed >= {*CONTRACTS[name], "grpc.health.v1.Health"}
            pool = DescriptorPool(database)
            for service in CONTRACTS[name]:
                methods = pool.FindServiceByName(service).methods
                assert methods
                for method in methods:
                    assert GetMessageClass(method.input_type) is not None
                    assert GetMessageClass(method.output_type) is not None

    def test_a_method_can_be_called_with_nothing_but_what_reflection_says(self, mesh: Mesh, caller: Caller):
        with grpc.insecure_channel(mesh.addresses["chat"]) as channel:
            pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
            method = pool.FindServiceByName("gaia.chat.v1.ProviderService").methods_by_name["ListProviders"]
            request, reply = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
            call = channel.unary_unary(
                f"/{method.containing_service.full_name}/{method.name}",
                request_serializer=request.SerializeToString,
                response_deserializer=reply.FromString,
            )
            found = json_format.MessageToDict(call(request(), metadata=(("x-api-key", caller.key),), timeout=5))
        assert {"claude", "openai", "local"} <= {provider["id"] for provider in found["providers"]}


class TestCallers:
    async def test_a_key_in_the_metadata_is_enough_in_every_service(self, mesh: Mesh, caller: Caller):
        metadata = (("x-api-key", caller.key),)
        async with mesh.channel("auth") as auth, mesh.channel("chat") as chat:
            me = await AuthServiceStub(auth).GetMe(auth_service_pb2.GetMeRequest(), metadata=metadata)
            assert me.user.id == caller.user_id
            request = provider_service_pb2.ListProvidersRequest()
            providers = await ProviderServiceStub(chat).ListProviders(request, metadata=metadata)
            assert providers.total_providers == len(providers.providers) > 0

    @pytest.mark.parametrize("header", ["x-gaia-identity", "authorization"])
    async def test_an_identity_token_is_enough_as_well(self, mesh: Mesh, caller: Caller, header: str):
        async with mesh.channel("auth") as auth, mesh.channel("chat") as chat:
            request = auth_service_pb2.AuthenticateRequest(api_key=caller.key)
            token = (await AuthServiceStub(auth).Authenticate(request)).identity_token
            value = f"Bearer {token}" if header == "authorization" else token
            metadata = ((header, value),)
            me = await AuthServiceStub(auth).GetMe(auth_service_pb2.GetMeRequest(), metadata=metadata)
            assert me.user.id == caller.user_id
            listed = provider_service_pb2.ListProvidersRequest()
            assert (await ProviderServiceStub(chat).ListProviders(listed, metadata=metadata)).providers
            forged = (("x-gaia-identity", token[:-6] + token[-6:][::-1]),)
            error = await refusal(ProviderServiceStub(chat).ListProviders(listed, metadata=forged))
            assert error.code() is grpc.StatusCode.UNAUTHENTICATED

    @pytest.mark.parametrize("name", ["auth", "chat"])
    async def test_nobody_is_let_in_without_a_credential(self, mesh: Mesh, name: str):
        async with mesh.channel(name) as channel:
            call: Any
            if name == "auth":
                call = AuthServiceStub(channel).GetMe(auth_service_pb2.GetMeRequest())
            else:
                call = ProviderServiceStub(channel).ListProviders(provider_service_pb2.ListProvidersRequest())
            error = await refusal(call)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        # What the edge passes on: a service may learn of a revocation before the edge does.
        assert dict(error.trailing_metadata() or ())["www-authenticate"].startswith("Bearer")

    async def test_a_missing_scope_is_refused_by_the_service_itself(self, mesh: Mesh, caller: Caller):
        async with mesh.channel("auth") as auth:
            call = UserServiceStub(auth).ListUsers(
                user_service_pb2.ListUsersRequest(), metadata=(("x-api-key", caller.key),)
            )
            error = await refusal(call)
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED
        assert "users:manage" in (error.details() or "")

    async def test_a_revocation_over_grpc_ends_the_key_over_rest(self, mesh: Mesh):
        victim = await mesh.new_caller()
        assert (await victim.get("/api/v1/auth/me")).status_code == 200
        async with mesh.channel("auth") as auth:
            await ApiKeyServiceStub(auth).RevokeApiKey(
                api_key_service_pb2.RevokeApiKeyRequest(id=victim.key_id), metadata=(("x-api-key", mesh.admin.key),)
            )

        async def refused() -> bool:
            return (await victim.get("/api/v1/auth/me")).status_code == 401

        assert await until(refused, "the key is refused", 2) < 1.0
