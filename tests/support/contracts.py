"""Compiles .proto files at test time, into a descriptor pool of their own."""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from tempfile import TemporaryDirectory

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from grpc_tools import protoc  # type: ignore[import-untyped] # no stubs exist

PROTOS = Path(__file__).parent / "protos"


def compile_contracts(sources: Mapping[str, str]) -> DescriptorPool:
    """Return a pool with the files given as text by name, and everything that they import."""
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_files(sources):
        pool.Add(file)
    return pool


def descriptor_files(sources: Mapping[str, str]) -> list[FileDescriptorProto]:
    """Return the descriptors of files given as text by name, behind those of everything that they import."""
    with TemporaryDirectory() as folder:
        for name, text in sources.items():
            (Path(folder) / name).write_text(text)
        output = Path(folder) / "set.pb"
        well_known = resources.files("grpc_tools") / "_proto"
        # google/api lies beside the installed packages' code.
        site = Path(str(resources.files("grpc_tools"))).parent
        arguments = [
            "protoc",
            f"-I{folder}",
            f"-I{site}",
            f"-I{well_known}",
            "--include_imports",
            f"--descriptor_set_out={output}",
            *sources,
        ]
        if protoc.main(arguments) != 0:
            raise ValueError("the contracts do not compile")
        return list(FileDescriptorSet.FromString(output.read_bytes()).file)


@cache
def library_pool() -> DescriptorPool:
    """Return the pool of protos/library.proto."""
    return compile_contracts({"library.proto": (PROTOS / "library.proto").read_text()})


def message_class(pool: DescriptorPool, name: str) -> type[Message]:
    """Return the class of a message type by its full name."""
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
