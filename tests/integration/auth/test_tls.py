"""TLS between the processes: who is let in, and renewal of certificates without a restart."""

import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from gaia.auth.v1 import auth_service_pb2, user_service_pb2
from gaia.auth.v1.auth_service_pb2_grpc import AuthServiceStub
from gaia.auth.v1.user_service_pb2_grpc import UserServiceStub
from grpc_health.v1 import health_pb2, health_pb2_grpc
from pydantic import SecretStr

from deploy.local.certificates import DevelopmentAuthority
from deploy.local.probe import ProbeError, probe
from services.asset.server import serving as serving_asset
from services.asset.settings import AssetSettings
from services.chat.server import serving as serving_chat
from services.chat.settings import ChatSettings
from shared.rpc.channel import connect
from shared.rpc.tls import Certificates
from shared.settings import TlsFiles
from tests.support.auth import Auth, running_auth
from tests.support.edge import running_edge
from tests.support.postgres import PostgresServer
from tests.support.waiting import eventually

SERVERS = ("http2", "grpc")
KEYS = auth_service_pb2.ListSigningKeysRequest()


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> DevelopmentAuthority:
    return DevelopmentAuthority(tmp_path_factory.mktemp("certs"))


def files_of(authority: DevelopmentAuthority, name: str) -> TlsFiles:
    issued = authority.issue(name)
    return TlsFiles(issued.certificate, issued.key, authority.certificate_file)


def settings_of(files: TlsFiles) -> dict[str, Path]:
    return {"tls_cert": files.certificate, "tls_key": files.key, "tls_ca": files.authority}


@pytest.fixture(scope="module", params=SERVERS)
async def auth(
    postgres: PostgresServer, database: str, authority: DevelopmentAuthority, request: pytest.FixtureRequest
) -> AsyncIterator[Auth]:
    settings = {**settings_of(files_of(authority, "auth")), "allowed_callers": "edge, auth"}
    async with running_auth(postgres, database, **settings, rpc_server=request.param) as running:
        yield running


def call(channel: Any, method: str) -> Any:
    """Calls a method with an empty message."""
    return channel.unary_unary(method)(b"")


async def status_of(calling: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await calling
    return caught.value.code()


async def ending(channel: grpc.aio.Channel) -> grpc.StatusCode:
    """How a call ends on this channel."""
    try:
        await AuthServiceStub(channel).ListSigningKeys(KEYS, timeout=5)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_a_caller_with_an_allowed_name_is_let_in(auth: Auth, authority: DevelopmentAuthority):
    async with connect(auth.address, Certificates(files_of(authority, "edge"))) as channel:
        assert await ending(channel) is grpc.StatusCode.OK


async def test_a_caller_with_another_name_is_refused_whatever_its_key(auth: Auth, authority: DevelopmentAuthority):
    key = await auth.new_key()
    async with connect(auth.address, Certificates(files_of(authority, "stranger"))) as channel:
        assert await ending(channel) is grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await AuthServiceStub(channel).GetMe(auth_service_pb2.GetMeRequest(), metadata=(("x-api-key", key),))
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await AuthServiceStub(channel).WatchRevocations(auth_service_pb2.WatchRevocationsRequest()).read()
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED


async def test_only_callers_with_a_name_for_it_are_believed_about_their_clients_address(
    postgres: PostgresServer, database: str, authority: DevelopmentAuthority
):
    settings: dict[str, Any] = settings_of(files_of(authority, "auth"))
    settings |= {"allowed_callers": "edge auth jobs", "address_callers": "edge"}
    async with running_auth(postgres, database, **settings) as running:
        request = auth_service_pb2.AuthenticateRequest(api_key=await running.new_key())
        identity = await AuthServiceStub(running.channel).Authenticate(request)
        kept = {}
        for number, name in enumerate(("edge", "jobs")):
            call = (
                ("x-gaia-identity", identity.identity_token),
                ("x-gaia-client-address", f"203.0.113.{number}"),
            )
            async with connect(running.address, Certificates(files_of(authority, name))) as channel:
                create = user_service_pb2.CreateUserRequest(email=f"{name}-told@gaia.test")
                user = (await UserServiceStub(channel).CreateUser(create, metadata=call)).user
                wrong = auth_service_pb2.AuthenticateRequest(api_key="nonsense", client_address=f"198.51.100.{number}")
                await status_of(AuthServiceStub(channel).Authenticate(wrong))
            kept[name] = await running.audited(target_id=user.id)
        assert kept == {"edge": ["203.0.113.0"], "jobs": ["127.0.0.1"]}

        async def written() -> bool:
            counts = [await running.refused_from(address) for address in ("198.51.100.0", "127.0.0.1")]
            return min(counts) > 0

        await eventually(written)
        assert await running.refused_from("198.51.100.1") == 0


async def test_any_certificate_of_the_authority_may_ask_for_health(auth: Auth, authority: DevelopmentAuthority):
    async with connect(auth.address, Certificates(files_of(authority, "stranger"))) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its stubs know no methods
        answer = await stub.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_certificate_of_another_authority_is_no_certificate(
    auth: Auth, authority: DevelopmentAuthority, tmp_path: Path
):
    other = DevelopmentAuthority(tmp_path).issue("edge")
    files = TlsFiles(other.certificate, other.key, authority.certificate_file)
    async with connect(auth.address, Certificates(files)) as channel:
        assert await ending(channel) is grpc.StatusCode.UNAVAILABLE


async def test_without_a_certificate_or_without_tls_nobody_gets_in(auth: Auth, authority: DevelopmentAuthority):
    roots = authority.certificate_file.read_bytes()
    options = [("grpc.enable_http_proxy", 0)]
    async with grpc.aio.secure_channel(auth.address, grpc.ssl_channel_credentials(roots), options) as channel:
        assert await ending(channel) is grpc.StatusCode.UNAVAILABLE
    async with connect(auth.address) as channel:
        assert await ending(channel) is grpc.StatusCode.UNAVAILABLE


async def test_a_server_that_is_not_who_it_should_be_gets_no_call(
    postgres: PostgresServer, database: str, authority: DevelopmentAuthority, tmp_path: Path
):
    settings = settings_of(files_of(DevelopmentAuthority(tmp_path), "auth"))
    async with (
        running_auth(postgres, database, **settings) as running,
        connect(running.address, Certificates(files_of(authority, "edge"))) as channel,
    ):
        assert await ending(channel) is grpc.StatusCode.UNAVAILABLE


async def test_the_health_check_of_a_container_shows_the_containers_certificate(
    auth: Auth, authority: DevelopmentAuthority, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(ProbeError):
        await probe(f"grpc://{auth.address}")
    for name, path in settings_of(files_of(authority, "auth")).items():
        monkeypatch.setenv(f"GAIA_{name.upper()}", str(path))
    await probe(f"grpc://{auth.address}")


async def test_the_edge_reaches_its_services_over_tls(auth: Auth, authority: DevelopmentAuthority):
    key = await auth.new_key("tls@gaia.test")
    async with running_edge(auth.address, **settings_of(files_of(authority, "edge"))) as edge:
        reply = await edge.get("/api/v1/auth/me", headers={"x-api-key": key})
    assert (reply.status_code, reply.json()["user"]["email"]) == (200, "tls@gaia.test")


async def test_all_services_speak_tls_to_each_other_and_let_in_the_edge_only(
    postgres: PostgresServer, database: str, authority: DevelopmentAuthority, tmp_path: Path
):
    async with contextlib.AsyncExitStack() as stack:
        auth = await stack.enter_async_context(
            running_auth(
                postgres,
                database,
                **settings_of(files_of(authority, "auth")),
                allowed_callers="edge,chat,asset,auth",
            )
        )

        def common(name: str) -> dict[str, Any]:
            return {
                "env": "test",
                "listen": "127.0.0.1:0",
                "auth_target": f"dns:///{auth.address}",
                "database_url": SecretStr(postgres.url(database, f"gaia_{name}")),
                "drain_seconds": 0.5,
                **settings_of(files_of(authority, name)),
            }

        chat = await stack.enter_async_context(serving_chat(ChatSettings(**common("chat"))))
        asset = await stack.enter_async_context(
            serving_asset(AssetSettings(**common("asset"), asset_store=tmp_path.as_uri()))
        )
        edge = await stack.enter_async_context(
            running_edge(
                auth.address,
                chat_target=f"dns:///{chat.address}",
                asset_target=f"dns:///{asset.address}",
                **settings_of(files_of(authority, "edge")),
            )
        )
        headers = {"x-api-key": await auth.new_key()}
        replies = [await edge.get(path, headers=headers) for path in ("/api/v0.2/providers", "/api/v1/assets")]
        assert [reply.status_code for reply in replies] == [200, 200]
        for server, method in (
            (chat, "/gaia.chat.v1.ProviderService/ListProviders"),
            (asset, "/gaia.asset.v1.AssetService/ListAssets"),
        ):
            async with connect(server.address, Certificates(files_of(authority, "stranger"))) as channel:
                assert await status_of(call(channel, method)) is grpc.StatusCode.PERMISSION_DENIED
            async with connect(server.address) as channel:
                assert await status_of(call(channel, method)) is grpc.StatusCode.UNAVAILABLE


def test_what_connects_over_http2_is_another_one_when_the_files_have_changed(tmp_path: Path):
    authority, clock = DevelopmentAuthority(tmp_path), Clock()
    files = files_of(authority, "edge")
    certificates = Certificates(files, clock)
    first = certificates.client_context()
    clock.now += 10
    assert certificates.client_context() is first
    files.certificate.write_bytes(b"torn")
    clock.now += 10
    assert certificates.client_context() is first
    authority.issue("edge")
    clock.now += 10
    renewed = certificates.client_context()
    assert renewed is not first
    assert renewed.verify_mode is ssl.CERT_REQUIRED
    assert renewed.check_hostname


@pytest.mark.parametrize("server", SERVERS)
async def test_renewed_certificates_serve_new_connections_and_calls_in_flight_go_on(
    postgres: PostgresServer, database: str, tmp_path: Path, server: str
):
    """The old authority ends with the old certificates, so that only renewed ones can meet."""
    old, new = DevelopmentAuthority(tmp_path / "old"), DevelopmentAuthority(tmp_path / "new")
    live = {name: files_of(old, name) for name in ("auth", "edge")}
    clock = Clock()
    async with contextlib.AsyncExitStack() as stack:
        settings = {**settings_of(live["auth"]), "allowed_callers": "edge, auth", "rpc_server": server}
        running = await stack.enter_async_context(running_auth(postgres, database, **settings))
        certificates = Certificates(live["edge"], clock)
        channel = await stack.enter_async_context(connect(running.address, certificates))
        stub = AuthServiceStub(channel)
        assert await ending(channel) is grpc.StatusCode.OK
        watch = stub.WatchRevocations(auth_service_pb2.WatchRevocationsRequest())
        await watch.read()

        (tmp_path / "old" / "ca.pem").write_bytes((tmp_path / "new" / "ca.pem").read_bytes())
        for name, files in live.items():
            renewed = new.issue(name)
            files.key.write_bytes(renewed.key.read_bytes())
            assert await ending(channel) is grpc.StatusCode.OK  # half renewed: the last good pair stays
            files.certificate.write_bytes(renewed.certificate.read_bytes())
        serial = x509.load_pem_x509_certificate(live["edge"].certificate.read_bytes()).serial_number
        clock.now += 10

        async def meets() -> bool:
            return await ending(channel) is grpc.StatusCode.OK

        await eventually(meets)
        assert certificates.generation == 1
        assert x509.load_pem_x509_certificate(certificates.pems.certificate).serial_number == serial
        assert await watch.read() is not grpc.aio.EOF  # still on the connection of before
        # Those of the authority of before are let in no more, though they trust the new one.
        left = old.issue("edge")
        stale = TlsFiles(left.certificate, left.key, tmp_path / "new" / "ca.pem")
        async with connect(running.address, Certificates(stale)) as stranger:
            assert await ending(stranger) is grpc.StatusCode.UNAVAILABLE
        watch.cancel()
