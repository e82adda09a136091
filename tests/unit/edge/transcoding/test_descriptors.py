"""Behaviour of edge/transcoding/descriptors.py."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from google.api import annotations_pb2
from google.protobuf import descriptor_pool
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_health.v1 import health_pb2

from edge.transcoding.descriptors import (
    DescriptorError,
    contracts_of_files,
    contracts_of_modules,
    parse_descriptor_set,
    read_descriptor_file,
)
from tests.support.contracts import descriptor_files
from tests.support.reflected import FIRST, SECOND, WITHOUT_RULES


def files_of(source: str, *, imports: bool) -> list[FileDescriptorProto]:
    """The files of a contract, with or without what it imports, imports first."""
    files = descriptor_files({"items.proto": source})
    return files if imports else files[-1:]


def serialised(files: Sequence[FileDescriptorProto]) -> bytes:
    return FileDescriptorSet(file=files).SerializeToString()


def test_a_set_becomes_services_in_a_pool_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "set.binpb"
    path.write_bytes(serialised(files_of(FIRST, imports=True)))
    contracts = read_descriptor_file(path)
    assert [service.full_name for service in contracts.services] == ["items.v1.Items"]
    assert contracts.services[0].file.pool is not descriptor_pool.Default()
    assert contracts.require_rules() is contracts


def test_files_may_come_in_any_order_and_without_the_annotations() -> None:
    whole = files_of(FIRST, imports=True)
    for files in (whole[::-1], files_of(FIRST, imports=False)):
        assert contracts_of_files(files).has_rules


def test_two_contracts_that_contradict_each_other_can_be_read_side_by_side() -> None:
    first, second = (contracts_of_files(files_of(source, imports=False)) for source in (FIRST, SECOND))
    assert [len(contracts.services[0].methods) for contracts in (first, second)] == [2, 3]


def test_the_fingerprint_tells_contents_and_not_order() -> None:
    whole = files_of(FIRST, imports=True)
    assert contracts_of_files(whole).fingerprint == contracts_of_files(whole[::-1]).fingerprint
    assert contracts_of_files(files_of(SECOND, imports=True)).fingerprint != contracts_of_files(whole).fingerprint


def test_generated_modules_are_contracts_too() -> None:
    contracts = contracts_of_modules(health_pb2, annotations_pb2)
    assert [service.full_name for service in contracts.services] == ["grpc.health.v1.Health"]


def test_imports_that_lie_deeper_than_pythons_stack_are_followed() -> None:
    files = [FileDescriptorProto(name=f"f{n}.proto", dependency=[f"f{n - 1}.proto"] if n else []) for n in range(3000)]
    assert contracts_of_files(files[::-1]).services == ()


def broken(**changes: object) -> list[FileDescriptorProto]:
    file = FileDescriptorProto(name="broken.proto", syntax="proto3")
    for name, value in changes.items():
        getattr(file, name).extend(value)
    return [file]


def a_message_twice() -> list[FileDescriptorProto]:
    file = FileDescriptorProto(name="broken.proto")
    file.message_type.add(name="M")
    file.message_type.add(name="M")
    return [file]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ([], "holds no file descriptors; write one with `protoc --include_imports"),
        (broken(dependency=["other.proto"]), "it lacks files: broken.proto imports other.proto"),
        (broken(dependency=["google/api/nothing.proto"]), "imports google/api/nothing.proto"),
        (broken(dependency=["broken.proto"]), "broken.proto imports itself"),
        (a_message_twice(), "broken.proto is no valid contract: "),
        ([*a_message_twice(), *broken()], "it holds broken.proto twice, with different contents"),
        ([FileDescriptorProto(syntax="proto3")], "a file descriptor without a name"),
    ],
)
def test_a_faulty_set_is_told_what_is_wrong_with_it(files: list[FileDescriptorProto], said: str) -> None:
    with pytest.raises(DescriptorError) as error:
        parse_descriptor_set(serialised(files))
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(DescriptorError, match=r"nothing\.binpb: cannot be read: No such file"):
        read_descriptor_file(tmp_path / "nothing.binpb")
    (tmp_path / "text").write_text("syntax = proto3")
    with pytest.raises(DescriptorError, match="text: it holds no FileDescriptorSet; write one with"):
        read_descriptor_file(tmp_path / "text")


def test_contracts_without_rules_are_told_how_to_write_one() -> None:
    contracts = contracts_of_files(files_of(WITHOUT_RULES, imports=True))
    with pytest.raises(DescriptorError, match=r"no method of items\.v1\.Items has a google\.api\.http rule; annotate"):
        contracts.require_rules()
    with pytest.raises(DescriptorError, match="declare no service"):
        contracts_of_modules(annotations_pb2).require_rules()
