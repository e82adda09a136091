"""Behaviour of edge/channels.py and of the proxy's choice between transports."""

import grpc
import pytest

from edge.channels import calling
from edge.proxy import ProxyError, ProxySettings
from edge.transcoding.transport.grpc_aio import GrpcAioChannel
from edge.transcoding.transport.http2.channel import ChannelOptions, Http2Channel


@pytest.mark.parametrize(
    ("target", "transport", "kind"),
    [
        ("127.0.0.1:1", "auto", Http2Channel),
        ("dns:///localhost:1", "auto", Http2Channel),
        ("127.0.0.1:1", "grpc", GrpcAioChannel),
        ("xds:///chat", "auto", GrpcAioChannel),
    ],
)
async def test_http2_is_taken_for_what_it_understands_unless_told_otherwise(
    target: str, transport: str, kind: type
) -> None:
    async with (
        grpc.aio.insecure_channel("127.0.0.1:1") as channel,
        calling(target, channel, ChannelOptions(), transport=transport) as chosen,
    ):
        assert isinstance(chosen, kind)


def test_a_transport_that_there_is_not_is_named_with_those_that_there_are() -> None:
    with pytest.raises(ProxyError, match="--transport quic: there is no such transport; it is auto or grpc"):
        ProxySettings(upstream="127.0.0.1:1", transport="quic").check()
