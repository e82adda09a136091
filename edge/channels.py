"""The channels that requests go by: HTTP/2 of the transcoder's own, or grpc.aio where that is wished or needed."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import grpc

from edge.transcoding.transport.channel import Channel
from edge.transcoding.transport.grpc_aio import GrpcAioChannel
from edge.transcoding.transport.http2.channel import ChannelOptions, Http2Channel, TlsSource
from edge.transcoding.transport.http2.target import parse_target

TRANSPORTS = ("auto", "grpc")
"""`auto` is HTTP/2 for the targets that it understands and grpc.aio for others, `grpc` is grpc.aio for all."""


@contextlib.asynccontextmanager
async def calling(
    target: str,
    channel: grpc.aio.Channel,
    options: ChannelOptions,
    *,
    transport: str,
    tls: TlsSource | None = None,
    authority: str = "",
) -> AsyncIterator[Channel]:
    """Yields what requests to a target go by; `channel` is the one of grpc.aio to it, which stays its owner's.

    `authority` is what the server is asked for instead of the target's name.
    """
    parsed = parse_target(target) if transport == "auto" else None
    if parsed is None:
        yield GrpcAioChannel(channel)
        return
    if authority:
        parsed = replace(parsed, authority=authority)
    async with Http2Channel(parsed, options, tls=tls) as own:
        yield own
