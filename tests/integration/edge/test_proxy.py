"""`gaia proxy`, as somebody uses it who has a gRPC server and wants REST in front of it."""

import asyncio
import os
import re
import signal
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from deploy.local.certificates import DevelopmentAuthority
from edge.proxy import ProxyError, ProxySettings, UpstreamTls, proxying
from edge.server import HttpsFiles
from tests.support.auth import running_auth
from tests.support.contracts import descriptor_files
from tests.support.operations import running_operations
from tests.support.ports import free_port
from tests.support.postgres import PostgresServer
from tests.support.process import Process, until
from tests.support.reflected import AMBIGUOUS, FIRST, SECOND, WITHOUT_RULES, running_echo

ROOT = Path(__file__).parents[3]
GAIA = [sys.executable, "-m", "deploy.cli.main", "proxy"]


class Proxy:
    """A running `gaia proxy` with an HTTP client for it."""

    def __init__(self, process: Process, http: httpx.AsyncClient) -> None:
        self.process = process
        self.http = http


@asynccontextmanager
async def running_proxy(folder: Path, *arguments: str, **options: Any) -> AsyncIterator[Proxy]:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos' / 'stubs'}",
        "GAIA_ENV": "test",
        "COLUMNS": "200",
    }
    process = Process("proxy", [*GAIA, "--port", "0", *arguments], environment, folder / "proxy.log")
    process.start()
    try:

        async def serves() -> bool:
            process.check()
            return "Serving" in process.text()

        await until(serves, "the proxy serves")
        found = re.search(r"at (https?://\S+)", process.text())
        assert found is not None
        async with httpx.AsyncClient(base_url=found[1], timeout=10, **options) as http:
            yield Proxy(process, http)
    finally:
        if process.is_running:
            assert await process.end() == 0, process.tail()


async def test_a_server_of_somebody_else_is_served_in_one_command(tmp_path: Path) -> None:
    async with (
        running_operations() as (_, address),
        running_proxy(tmp_path, "--upstream", address, "--reflect") as proxy,
    ):
        http = proxy.http
        table = proxy.process.text()
        assert re.search(r"GET\W+/v1/\{name=operations/\*\*\}\W+google\.longrunning\.Operations\.GetOperation", table)
        assert re.search(r"POST\W+/v1/\{name=operations/\*\*\}:cancel", table)
        listed = await http.get("/v1/operations?page_size=1")
        about = {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "about operations/a"}
        assert listed.json() == {"operations": [{"name": "operations/a", "metadata": about}]}
        assert (await http.get("/v1/operations/a/b")).json()["name"] == "operations/a/b"
        assert (await http.post("/v1/operations/a:cancel", json={})).json() == {}
        assert (await http.get("/v1/operations/a")).json()["error"] == {"code": 1, "message": "as you wished"}
        assert (await http.delete("/v1/operations/a")).status_code == 200
        missing = await http.get("/v1/operations/a")
        assert (missing.status_code, missing.json()["message"]) == (404, "there is no operations/a")
        document = (await http.get("/openapi.json")).json()
        assert set(document["paths"]["/v1/operations"]) == {"get"}
        wrong = await http.get("/v1/operations?pagesize=1")
        assert wrong.status_code == 400
        assert 'did you mean "page_size"' in wrong.json()["message"]


async def test_the_other_profile_answers_as_grpc_gateway_does(tmp_path: Path) -> None:
    async with (
        running_operations() as (_, address),
        running_proxy(tmp_path, "--upstream", address, "--reflect", "--profile", "grpc-gateway") as proxy,
    ):
        listed = await proxy.http.get("/v1/operations?pageSize=1&unknown=x")
        body = listed.json()
        assert body["nextPageToken"] == ""
        assert body["operations"][0]["done"] is False
        assert (await proxy.http.put("/v1/operations")).status_code == 501


async def test_a_descriptor_file_is_read_again_on_sighup(tmp_path: Path) -> None:
    path = tmp_path / "items.binpb"
    write(path, FIRST)
    async with running_echo(SECOND, versions=()) as (_, port):
        upstream = f"127.0.0.1:{port}"
        async with running_proxy(tmp_path, "--upstream", upstream, "--descriptors", str(path)) as proxy:
            assert (await proxy.http.get("/v1/items/a?count=2")).json() == {"name": "a", "count": 2}
            assert (await put(proxy)).status_code == 405
            await reload(proxy, path, SECOND, "new contracts are served: 1 routes added, 0 removed")
            assert (await put(proxy)).json() == {"name": "a", "colour": "red"}
            await reload(proxy, path, AMBIGUOUS, "new contracts are refused, the old ones stay")
            assert (await put(proxy)).status_code == 200


async def put(proxy: Proxy) -> httpx.Response:
    return await proxy.http.put("/v1/items/a", json={"colour": "red"})


async def reload(proxy: Proxy, path: Path, source: str, said: str) -> None:
    write(path, source)
    proxy.process.send_signal(signal.SIGHUP)

    async def told() -> bool:
        return said in proxy.process.text()

    await until(told, said)


def write(path: Path, source: str) -> None:
    files = descriptor_files({"items.proto": source})
    new = path.with_suffix(".new")
    new.write_bytes(FileDescriptorSet(file=files).SerializeToString())
    new.replace(path)


async def test_with_auth_every_route_needs_a_key_and_the_backend_is_told_who_calls(
    tmp_path: Path, postgres: PostgresServer, database: str
) -> None:
    async with (
        running_auth(postgres, database) as auth,
        running_operations() as (operations, address),
        running_proxy(
            tmp_path, "--upstream", address, "--reflect", "--auth", auth.address, "--host", "0.0.0.0"
        ) as proxy,
    ):
        url = proxy.http.base_url.copy_with(host="127.0.0.1", raw_path=b"/v1/operations")
        refused = await proxy.http.get(url)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, 'Bearer realm="gaia"')
        wrong = await proxy.http.get(url, headers={"x-api-key": "gaia_test_wrong"})
        assert wrong.status_code == 401
        assert operations.metadata == {}
        key = await auth.new_key(scopes=("chat:read",))
        forged = {"x-api-key": key, "grpc-metadata-x-gaia-identity": "forged", "x-gaia-identity": "forged"}
        for _ in range(2):  # asked from auth, and from memory
            assert (await proxy.http.get(url, headers=forged)).status_code == 200
            assert operations.metadata["x-gaia-identity"] not in ("forged", "")
            assert not {"x-api-key", "authorization"} & operations.metadata.keys()


async def test_tls_to_the_server_and_https_to_clients(tmp_path: Path) -> None:
    authority = DevelopmentAuthority(tmp_path)
    server, caller, front = authority.issue("operations.example"), authority.issue("proxy"), authority.issue("front")
    pair = [(server.key.read_bytes(), server.certificate.read_bytes())]
    credentials = grpc.ssl_server_credentials(pair, authority.certificate_file.read_bytes(), require_client_auth=True)
    options = {
        "--upstream-ca": authority.certificate_file,
        "--upstream-cert": caller.certificate,
        "--upstream-key": caller.key,
        "--upstream-authority": "operations.example",
        "--tls-cert": front.certificate,
        "--tls-key": front.key,
        "--cors-origin": "https://game.example",
    }
    told = [str(word) for option in options.items() for word in option]
    verify = ssl.create_default_context(cafile=str(authority.certificate_file))
    async with (
        running_operations(credentials) as (_, address),
        running_proxy(tmp_path, "--upstream", address, "--reflect", "--upstream-tls", *told, verify=verify) as proxy,
    ):
        assert proxy.http.base_url.scheme == "https"
        listed = await proxy.http.get("/v1/operations", headers={"origin": "https://game.example"})
        assert [operation["name"] for operation in listed.json()["operations"]] == ["operations/a", "operations/a/b"]
        assert listed.headers["access-control-allow-origin"] == "https://game.example"


async def test_a_server_whose_certificate_is_for_another_name_is_refused(tmp_path: Path) -> None:
    authority = DevelopmentAuthority(tmp_path)
    server = authority.issue("operations")
    credentials = grpc.ssl_server_credentials([(server.key.read_bytes(), server.certificate.read_bytes())])
    tls = UpstreamTls(authorities=authority.certificate_file)
    async with running_operations(credentials) as (_, address):
        async with proxying(ProxySettings(upstream=address, tls=tls)) as app:
            assert app.routes
        for changed, said in (
            ({"tls": tls, "authority": "other.example"}, "is for another name; give that one as --upstream-authority"),
            ({"tls": UpstreamTls()}, "nobody who is trusted; give its authority as --upstream-ca"),
            ({}, "does it speak TLS"),
        ):
            with pytest.raises(ProxyError, match=said):
                async with proxying(ProxySettings(upstream=address, **changed)):
                    pass


async def test_without_auth_identity_cannot_be_forged_either(tmp_path: Path) -> None:
    async with (
        running_operations() as (operations, address),
        running_proxy(tmp_path, "--upstream", address, "--reflect") as proxy,
    ):
        headers = {"grpc-metadata-x-gaia-identity": "forged", "grpc-metadata-x-other": "passes"}
        assert (await proxy.http.get("/v1/operations", headers=headers)).status_code == 200
        assert "x-gaia-identity" not in operations.metadata
        assert operations.metadata["x-other"] == "passes"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"upstream": "here"}, r"--upstream here: must be HOST:PORT, such as 127\.0\.0\.1:8001"),
        ({"auth": "there"}, r"--auth there: must be HOST:PORT"),
        ({"host": "0.0.0.0"}, r"--host 0\.0\.0\.0: without --auth anybody who reaches this address could call"),
        ({"profile": "loose"}, r"--profile loose: there is no such profile; it is strict or grpc-gateway"),
        ({"cors_origins": ("game.example",)}, r'--cors-origin: "game\.example" is no origin; write a scheme, a host'),
        ({"tls": UpstreamTls(authorities=Path("nowhere"))}, r"--upstream-ca nowhere: .* cannot be read: No such file"),
        ({"tls": UpstreamTls(authorities=Path(__file__))}, r"--upstream-ca .*test_proxy\.py: PEM is expected"),
        ({"tls": UpstreamTls(certificate=Path("a"))}, r"--upstream-cert, --upstream-key: need each other"),
        ({"https": HttpsFiles(Path("nowhere"), Path("nowhere"))}, r"--tls-cert, --tls-key: .* cannot be read: No such"),
        ({"descriptors": Path("nowhere")}, r"--descriptors: nowhere: cannot be read: No such file"),
        ({"descriptors": Path(__file__)}, r"--descriptors: .*test_proxy\.py: it holds no FileDescriptorSet; write one"),
    ],
)
async def test_what_cannot_work_is_told_in_one_line(settings: dict[str, Any], said: str) -> None:
    async with running_echo(FIRST) as (_, port):
        with pytest.raises(ProxyError, match=said) as error:
            async with proxying(ProxySettings(**{"upstream": f"127.0.0.1:{port}", **settings})):
                pass
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("source", "versions", "said"),
    [
        (FIRST, (), "--reflect: the server offers no gRPC server reflection .* give a descriptor file"),
        (WITHOUT_RULES, ("v1",), r"--reflect: no method of items\.v1\.Items has a google\.api\.http rule; annotate"),
        (AMBIGUOUS, ("v1",), r"(?s)--reflect: the routes cannot be compiled, 1 fault\(s\):\n  items\.proto: items\.v1"),
    ],
)
async def test_a_server_that_cannot_be_served_is_told_why(source: str, versions: tuple[str, ...], said: str) -> None:
    async with running_echo(source, versions=versions) as (_, port):
        with pytest.raises(ProxyError, match=said):
            async with proxying(ProxySettings(upstream=f"127.0.0.1:{port}")):
                pass


async def test_a_server_that_is_not_there_is_told_with_exit_code_1() -> None:
    port = free_port()
    arguments = ["--upstream", f"127.0.0.1:{port}", "--reflect", "--port", "0"]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'protos' / 'stubs'}"}
    process = await asyncio.create_subprocess_exec(
        *GAIA, *arguments, env=environment, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    line = f"gaia: --upstream 127.0.0.1:{port}: cannot be reached: connection refused; is a gRPC server running there?"
    assert (process.returncode, out.decode(), err.decode().strip()) == (1, "", line)
