"""Contracts read at run time: descriptor sets become services in a pool of their own.

Nothing here touches the default pool, so that contracts that contradict one another, or the program's own, can be
served side by side.
"""

import contextlib
import hashlib
import importlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from google.protobuf import descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError

from edge.transcoding.routes import http_rule

MAX_BYTES = 64 << 20
"""Largest descriptor set; all of googleapis is about a third of it."""
MAX_FILES = 20_000

_HOW_TO_WRITE = "write one with `protoc --include_imports --descriptor_set_out=FILE …` or `buf build -o FILE`"
# What contracts import without shipping it; the packages protobuf and googleapis-common-protos have all of it.
_BUNDLED = re.compile(r"google/(?:api|longrunning|protobuf|rpc|type)/[a-z0-9_/]+\.proto\Z")

# Types that replies carry in google.protobuf.Any, and errors in their details, without any contract importing them.
_OFTEN_IN_ANY = (
    *(f"google/protobuf/{name}.proto" for name in ("duration", "empty", "field_mask", "struct", "timestamp")),
    "google/protobuf/wrappers.proto",
    "google/rpc/error_details.proto",
)


class DescriptorError(ValueError):
    """Contracts that cannot be used; the message is one line that says what is wrong and what would be right."""


class ServerAwayError(Exception):
    """The server that describes its contracts cannot be asked at the moment; the message is one line."""


@dataclass(frozen=True, slots=True, eq=False)
class Contracts:
    """A set of services, in the order in which they were read.

    `fingerprint` is equal for equal files, whatever their order. `files` are what the services were made of, with the
    comments where their source had them (`--include_source_info`); the descriptors keep none.
    """

    services: tuple[ServiceDescriptor, ...]
    fingerprint: bytes
    files: tuple[FileDescriptorProto, ...]

    @property
    def has_rules(self) -> bool:
        """Whether any method has a `google.api.http` rule."""
        return any(http_rule(method) is not None for service in self.services for method in service.methods)

    def require_rules(self) -> "Contracts":
        """Return the contracts; raises `DescriptorError` where no method could be reached over HTTP."""
        if not self.services:
            raise DescriptorError("the contracts declare no service")
        if not self.has_rules:
            names = ", ".join(service.full_name for service in self.services[:5])
            more = f" and {len(self.services) - 5} more" if len(self.services) > 5 else ""
            raise DescriptorError(
                f"no method of {names}{more} has a google.api.http rule; annotate methods with "
                '`option (google.api.http) = {get: "/v1/…"}` (google/api/annotations.proto)'
            )
        return self


def read_descriptor_file(path: Path) -> Contracts:
    """Return the contracts of a file that holds a serialised FileDescriptorSet; raises `DescriptorError`."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DescriptorError(f"{path}: a descriptor set of more than {MAX_BYTES} bytes is not read")
        data = path.read_bytes()
    except OSError as error:
        raise DescriptorError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        return parse_descriptor_set(data)
    except DescriptorError as error:
        raise DescriptorError(f"{path}: {error}") from error


def parse_descriptor_set(data: bytes) -> Contracts:
    """Return the contracts of a serialised FileDescriptorSet; raises `DescriptorError`."""
    try:
        files = FileDescriptorSet.FromString(data).file
    except DecodeError as error:
        raise DescriptorError(f"it holds no FileDescriptorSet; {_HOW_TO_WRITE}") from error
    if not files:
        raise DescriptorError(f"it holds no file descriptors; {_HOW_TO_WRITE}")
    return contracts_of_files(files)


def contracts_of_files(files: Iterable[FileDescriptorProto]) -> Contracts:
    """Return the contracts of file descriptors, which may come in any order; raises `DescriptorError`.

    Files of protobuf itself and of google/api, google/rpc, google/type and google/longrunning may be missing.
    """
    by_name: dict[str, FileDescriptorProto] = {}
    for file in files:
        if not file.name:
            raise DescriptorError(f"it holds a file descriptor without a name; {_HOW_TO_WRITE}")
        if by_name.setdefault(file.name, file) != file:
            raise DescriptorError(f"it holds {file.name} twice, with different contents")
        if len(by_name) > MAX_FILES:
            raise DescriptorError(f"it holds more than {MAX_FILES} files")
    own = list(by_name)
    pool = _pool(by_name)
    services = tuple(
        service
        for name in own
        for service in pool.FindFileByName(name).services_by_name.values()  # declared order
    )
    given = tuple(by_name[name] for name in own)
    return Contracts(services, _fingerprint(given), given)


def contracts_of_modules(*modules: ModuleType) -> Contracts:
    """Return the contracts of generated `…_pb2` modules, in their own pool."""
    descriptors = [module.DESCRIPTOR for module in modules]
    services = tuple(service for file in descriptors for service in file.services_by_name.values())
    files = tuple(FileDescriptorProto.FromString(file.serialized_pb) for file in descriptors)
    return Contracts(services, _fingerprint(files), files)


def bundled_file(name: str) -> FileDescriptorProto | None:
    """Return a file that protobuf or googleapis-common-protos brings along, None for any other."""
    if not _BUNDLED.match(name):
        return None
    try:
        module = importlib.import_module(name.removesuffix(".proto").replace("/", ".") + "_pb2")
    except ModuleNotFoundError:
        return None
    return FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb)


def _pool(by_name: dict[str, FileDescriptorProto]) -> DescriptorPool:
    """Return a pool with all files; what is bundled and missing is added to `by_name`."""
    pool = descriptor_pool.DescriptorPool()
    for name in _in_order(by_name):
        try:
            pool.AddSerializedFile(by_name[name].SerializeToString())
        except (TypeError, ValueError) as error:
            reason = str(error).rpartition("descriptor pool: ")[2].strip()
            raise DescriptorError(f"{name} is no valid contract: {reason}") from error
    for name in _OFTEN_IN_ANY:
        file = bundled_file(name)
        if name not in by_name and file is not None:
            # Contracts that define such a type in a file of another name have their own.
            with contextlib.suppress(TypeError):
                pool.AddSerializedFile(file.SerializeToString())
    return pool


def _in_order(by_name: dict[str, FileDescriptorProto]) -> list[str]:
    """Return the names, each behind all that it imports."""
    missing: dict[str, str] = {}
    done: dict[str, None] = {}
    under_way: set[str] = set()
    # A stack instead of recursion: imports may be nested deeper than Python's frames.
    stack = [(name, False) for name in reversed(by_name)]
    while stack:
        name, ready = stack.pop()
        if name in done:
            continue
        if ready:
            under_way.discard(name)
            done[name] = None
            continue
        if name in under_way:
            raise DescriptorError(f"{name} imports itself, directly or through others")
        under_way.add(name)
        stack.append((name, True))
        for imported in by_name[name].dependency:
            if imported not in by_name and not _add_bundled(imported, by_name):
                missing.setdefault(imported, name)
            elif imported not in done:
                stack.append((imported, False))
    if missing:
        listed = "; ".join(f"{importer} imports {name}" for name, importer in list(missing.items())[:5])
        raise DescriptorError(f"it lacks files: {listed}; {_HOW_TO_WRITE}")
    return list(done)


def _add_bundled(name: str, by_name: dict[str, FileDescriptorProto]) -> bool:
    file = bundled_file(name)
    if file is None:
        return False
    by_name[name] = file
    return True


def _fingerprint(files: Iterable[FileDescriptorProto]) -> bytes:
    digests: Mapping[str, bytes] = {
        file.name: hashlib.sha256(file.SerializeToString(deterministic=True)).digest() for file in files
    }
    return hashlib.sha256(b"".join(digest for _, digest in sorted(digests.items()))).digest()
