"""The ways from the transcoder to a gRPC server, as tests choose between them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc

from edge.transcoding.transport.channel import Channel
from edge.transcoding.transport.grpc_aio import GrpcAioChannel
from edge.transcoding.transport.http2.channel import ChannelOptions, Http2Channel
from edge.transcoding.transport.http2.target import parse_target

TRANSPORTS = ("http2", "grpc")


@asynccontextmanager
async def channel_to(address: str, transport: str = "http2", **options: Any) -> AsyncIterator[Channel]:
    """Give a channel to a server without TLS; options are those of HTTP/2's."""
    if transport == "grpc":
        async with grpc.aio.insecure_channel(address) as channel:
            yield GrpcAioChannel(channel)
        return
    target = parse_target(address)
    assert target is not None
    async with Http2Channel(target, ChannelOptions(**options)) as own:
        yield own
