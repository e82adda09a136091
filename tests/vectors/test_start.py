"""Contracts that a transcoder starts with, or refuses with every fault; start/contracts.yaml says which."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from ruamel.yaml import YAML

from edge.transcoding.app import Transcoder
from edge.transcoding.routes import RouteTableError
from tests.support.contracts import compile_contracts
from tests.support.vectors import PROFILES

CONTRACTS = YAML(typ="safe", pure=True).load((Path(__file__).parent / "start" / "contracts.yaml").read_text())
SOURCE = """
syntax = "proto3";
package start.v1;
import "google/api/annotations.proto";
message Item {
  string name = 1;
  string text = 2;
  Item inner = 3;
  repeated string tags = 4;
  map<string, string> labels = 5;
}
service Start {
%s
}
"""


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        yield channel


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("entry", CONTRACTS, ids=[entry["name"] for entry in CONTRACTS])
async def test_contract(entry: dict[str, Any], profile: str, channel: grpc.aio.Channel) -> None:
    service = compile_contracts({"start.proto": SOURCE % entry["rules"]}).FindServiceByName("start.v1.Start")
    expected = entry.get(profile, entry["faults"])
    try:
        Transcoder([service], channel, profile=PROFILES[profile])
        found = []
    except RouteTableError as error:
        found = [str(fault) for fault in error.faults]
    assert len(found) == len(expected), found
    for part in expected:
        assert any(part in fault and fault.startswith("start.proto: ") for fault in found), part
