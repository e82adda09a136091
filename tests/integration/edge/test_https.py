"""HTTPS at the edge, as a process of its own: its certificate, and the renewal of it."""

import os
import ssl
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from cryptography import x509

from deploy.local.certificates import DevelopmentAuthority, Issued
from tests.support.ports import free_port
from tests.support.process import Process
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[3]


@pytest.fixture
def authority(tmp_path: Path) -> DevelopmentAuthority:
    return DevelopmentAuthority(tmp_path)


class Edge:
    def __init__(self, folder: Path, authority: DevelopmentAuthority, issued: Issued) -> None:
        self.port = free_port()
        self.context = ssl.create_default_context(cafile=str(authority.certificate_file))
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos' / 'stubs'}",
            "GAIA_EDGE_PORT": str(self.port),
            "GAIA_EDGE_TLS_CERT": str(issued.certificate),
            "GAIA_EDGE_TLS_KEY": str(issued.key),
            "GAIA_DRAIN_SECONDS": "0",
        }
        self.process = Process("edge", [sys.executable, "-m", "edge"], environment, folder / "edge.log")

    async def serial(self) -> int | None:
        """The number of the certificate that a new connection sees; None while nobody answers."""
        self.process.check()
        try:
            async with (
                httpx.AsyncClient(verify=self.context, trust_env=False) as client,
                client.stream("GET", f"https://localhost:{self.port}/livez") as response,
            ):
                assert response.status_code == 200
                tls = response.extensions["network_stream"].get_extra_info("ssl_object")
                return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True)).serial_number
        except httpx.ConnectError:
            return None


@pytest.fixture
async def edge(tmp_path: Path, authority: DevelopmentAuthority) -> AsyncIterator[Edge]:
    edge = Edge(tmp_path, authority, authority.issue("edge"))
    edge.process.start()
    yield edge
    await edge.process.end()


async def test_clients_speak_https_and_see_a_renewed_certificate_without_a_restart(
    edge: Edge, authority: DevelopmentAuthority
):
    first = await eventually(edge.serial, 30)
    authority.issue("edge")

    async def renewed() -> bool:
        return await edge.serial() not in (None, first)

    await eventually(renewed)
