"""The contract protos/openapi/depot.proto, compiled with its comments."""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc  # type: ignore[import-untyped] # no stubs exist

from edge.transcoding.options import MethodOptions, default_method_options
from edge.transcoding.routes import Route, collect_routes

PROTOS = Path(__file__).parent / "protos" / "openapi"


@cache
def depot_files() -> bytes:
    """Return the serialised descriptor set of the contract and all that it imports, with source information."""
    return compile_folder(PROTOS, "depot.proto")


def compile_folder(folder: Path, *names: str) -> bytes:
    """Return the serialised descriptor set of the files of a folder, with source information."""
    with TemporaryDirectory() as target:
        output = Path(target) / "set.binpb"
        # google/api lies beside the installed packages' code.
        site = Path(str(resources.files("grpc_tools"))).parent
        included = [f"-I{path}" for path in (folder, site, resources.files("grpc_tools") / "_proto")]
        flags = ["--include_imports", "--include_source_info", f"--descriptor_set_out={output}"]
        if protoc.main(["protoc", *included, *flags, *names]) != 0:
            raise ValueError("the contracts do not compile")
        return output.read_bytes()


@cache
def depot_service() -> ServiceDescriptor:
    """Return the service, in a pool of its own."""
    pool = descriptor_pool.DescriptorPool()
    for file in FileDescriptorSet.FromString(depot_files()).file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool.FindServiceByName("depot.v1.Depot")


def depot_routes(options: Mapping[str, MethodOptions] | None = None) -> list[Route]:
    """Return the compiled routes; options are given by the methods' names."""

    def of(method: MethodDescriptor) -> MethodOptions:
        return (options or {}).get(method.name, default_method_options(method))

    routes, faults = collect_routes([depot_service()], of)
    assert not faults
    return routes
