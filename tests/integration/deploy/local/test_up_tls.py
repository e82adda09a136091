"""`gaia up` with TLS between its processes and HTTPS before them, and with metrics: the real processes again."""

import asyncio
import contextlib
import json
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import httpx
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.certificates import DevelopmentAuthority
from deploy.local.settings import PROCESSES
from tests.integration.deploy.conftest import folder
from tests.support.gaia_up import Gaia, lines_until
from tests.support.ports import free_port
from tests.support.waiting import eventually


class SecureGaia(Gaia):
    """A platform whose processes have the certificates of `gaia certs dev`."""

    def __init__(self, path: Path, metrics_port: int) -> None:
        super().__init__(path / "home")
        self.certificates = path / "certs"
        self.metrics_port = metrics_port
        self.said = ""
        self.secure = {
            "GAIA_TLS_FOLDER": str(self.certificates),
            "GAIA_EDGE_TLS_CERT": str(self.certificates / "edge.pem"),
            "GAIA_EDGE_TLS_KEY": str(self.certificates / "edge.key"),
            "GAIA_METRICS_LISTEN": f"127.0.0.1:{metrics_port}",
        }

    async def make_certificates(self) -> None:
        code, said = await self.run("certs", "dev", "--folder", str(self.certificates))
        assert code == 0, said

    async def serials(self) -> dict[str, int]:
        """The number of the certificate that each server shows a new connection."""
        files = [str(self.certificates / name) for name in ("edge.pem", "edge.key")]

        def serial(port: int) -> int:
            context = ssl.create_default_context(cafile=str(self.certificates / "ca.pem"))
            context.load_cert_chain(*files)
            context.set_alpn_protocols(["h2", "http/1.1"])
            with (
                socket.create_connection(("127.0.0.1", port), 5) as plain,
                context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
            ):
                shown = secure.getpeercert(binary_form=True)
            assert shown is not None
            return x509.load_der_x509_certificate(shown).serial_number

        return {name: await asyncio.to_thread(serial, port) for name, port in self.ports.items()}

    async def chat(self) -> str:
        """What the local provider answers through the edge, auth and chat."""
        context = ssl.create_default_context(cafile=str(self.certificates / "ca.pem"))
        url = self.environment["GAIA_URL"].replace("http:", "https:")
        headers = {"x-api-key": self.home.dev_api_key.read_text().strip()}
        async with httpx.AsyncClient(base_url=url, verify=context, trust_env=False, timeout=20) as client:
            body = {"message": "hello", "provider": "local"}
            reply = await client.post("/api/v0.2/chat", json=body, headers=headers)
        assert reply.status_code == 200, reply.text
        return str(reply.json()["response"])


def metrics_port() -> int:
    """A port with three free ones after it."""
    for _ in range(100):
        first = free_port()
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            for number in range(len(PROCESSES)):
                listener = stack.enter_context(socket.socket())
                listener.bind(("127.0.0.1", first + number))
            return first
    raise RuntimeError("no four free ports in a row")


@pytest.fixture(scope="module")
async def up() -> AsyncIterator[SecureGaia]:
    with folder() as path:
        gaia = SecureGaia(path, metrics_port())
        await gaia.make_certificates()
        process = await gaia.start("up", **gaia.secure)
        try:
            gaia.said = await lines_until(process, "Ctrl-C")
            yield gaia
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            async with asyncio.timeout(60):
                await process.communicate()


async def test_requests_pass_through_all_processes_and_status_needs_no_settings(up: SecureGaia):
    assert await up.chat()
    code, said = await up.run("status", "--json")
    rows = {row["name"]: row["health"] for row in json.loads(said)}
    assert (code, set(rows.values())) == (0, {"SERVING"}), rows


async def test_the_curl_line_works_as_it_is(up: SecureGaia):
    [line] = [line for line in up.said.splitlines() if line.startswith("curl ")]
    assert "https://" in line
    curl = await asyncio.create_subprocess_shell(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    reply, said = await curl.communicate()
    assert reply, said.decode()
    assert json.loads(reply)["total_providers"] > 0


async def test_without_a_certificate_of_the_authority_nobody_speaks_to_a_service(up: SecureGaia, tmp_path: Path):
    other = DevelopmentAuthority(tmp_path).issue("edge")
    authority = (up.certificates / "ca.pem").read_bytes()
    stranger = grpc.ssl_channel_credentials(authority, other.key.read_bytes(), other.certificate.read_bytes())
    for name in ("AUTH", "ASSET", "CHAT"):
        address = f"127.0.0.1:{up.ports[name]}"
        options = [("grpc.enable_http_proxy", 0)]
        for channel in (
            grpc.aio.insecure_channel(address, options=options),
            grpc.aio.secure_channel(address, stranger, options=options),
        ):
            async with channel:
                stub = health_pb2_grpc.HealthStub(channel)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)  # type: ignore[attr-defined] # the type stubs leave the methods out
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_each_process_serves_metrics_of_its_own(up: SecureGaia):
    await up.chat()
    families = {}
    async with httpx.AsyncClient(trust_env=False) as client:
        for number, name in enumerate(PROCESSES):
            text = (await client.get(f"http://127.0.0.1:{up.metrics_port + number}/metrics")).text
            families[name] = {family.name: family.samples for family in text_string_to_metric_families(text)}
    calls = {
        name: {sample.labels["method"] for sample in found["gaia_rpc_seconds"] if sample.labels["code"] == "OK"}
        for name, found in families.items()
        if name != "edge"
    }
    assert "/gaia.auth.v1.AuthService/Authenticate" in calls["auth"]
    assert "/gaia.chat.v1.ChatService/Chat" in calls["chat"]
    assert "/grpc.health.v1.Health/Check" in calls["asset"]
    assert "gaia_identity_lookups" in families["edge"]


async def test_renewed_certificates_are_shown_without_a_restart_and_no_call_fails(up: SecureGaia):
    before, pids = await up.serials(), up.pids()
    await up.make_certificates()

    async def renewed() -> bool:
        assert await up.chat()
        after = await up.serials()
        return all(after[name] != before[name] for name in before)

    await eventually(renewed, 15)
    assert await up.chat()
    assert up.pids() == pids


async def test_a_folder_without_certificates_names_what_is_missing(up: SecureGaia, tmp_path: Path):
    code, said = await up.run("up", GAIA_TLS_FOLDER=str(tmp_path))
    assert code == 2
    assert said.startswith(f"gaia: GAIA_TLS_FOLDER: there is no {tmp_path}/edge.pem; `gaia certs dev")


async def test_one_certificate_for_all_processes_and_one_for_each_exclude_each_other(up: SecureGaia):
    edge = {f"GAIA_TLS_{name}": "x" for name in ("CERT", "KEY", "CA")}
    code, said = await up.run("up", GAIA_TLS_FOLDER=str(up.certificates), **edge)
    assert (code, "GAIA_TLS_FOLDER" in said) == (2, True)
