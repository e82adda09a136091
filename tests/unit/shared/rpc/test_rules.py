"""Who may call a method, as the contracts say it: deny by default."""

import pytest
from gaia.rest.v1 import options_pb2
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import ServiceDescriptor

from shared.rpc.rules import Access, UndeclaredAccess, access_table


def service(**methods: dict) -> ServiceDescriptor:
    """A service whose methods have these rules."""
    file = descriptor_pb2.FileDescriptorProto(name="test.proto", package="test", syntax="proto3")
    file.message_type.add(name="Empty")
    declared = file.service.add(name="Service")
    for name, rules in methods.items():
        method = declared.method.add(name=name, input_type=".test.Empty", output_type=".test.Empty")
        method.options.Extensions[options_pb2.rules].CopyFrom(options_pb2.MethodRules(**rules))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool.FindServiceByName("test.Service")


def test_each_method_says_who_may_call_it():
    table = access_table(
        [service(Read={"scopes": ["chat:read", "chat:write"]}, Me={"authenticated": True}, Hello={"public": True})]
    )
    assert table == {
        "/test.Service/Read": Access(public=False, scopes=frozenset({"chat:read", "chat:write"})),
        "/test.Service/Me": Access(public=False, scopes=frozenset()),
        "/test.Service/Hello": Access(public=True, scopes=frozenset()),
    }


def test_methods_that_say_nothing_or_two_things_or_name_no_scope_are_all_named_at_once():
    with pytest.raises(UndeclaredAccess) as caught:
        access_table(
            [
                service(
                    Nothing={},
                    Both={"scopes": ["chat:read"], "public": True},
                    Unknown={"scopes": ["fly"]},
                    Good={"public": True},
                )
            ]
        )
    message = str(caught.value)
    for name in ("Nothing", "Both", "Unknown"):
        assert f"test.Service.{name}" in message
    assert "Good" not in message
