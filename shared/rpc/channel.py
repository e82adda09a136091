"""Channels to Gaia's services."""

import json

import grpc

from shared.rpc.renewing import RenewingChannel
from shared.rpc.tls import Certificates
from shared.rpc.transports import MAX_MESSAGE_BYTES

_SERVICE_CONFIG = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        # No retries here: a call that may have spent money is tried again only by who knows what it did.
    }
)

_OPTIONS = [
    ("grpc.service_config", _SERVICE_CONFIG),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_metadata_size", 32 * 1024),
    # What a call may send ahead of a slow reader; left to itself gRPC lets a fast sender send tens of megabytes.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1 << 20),
    # A service that is back must be found at once: its absence costs refused calls.
    ("grpc.initial_reconnect_backoff_ms", 100),
    # In spite of its name, the time that an attempt to connect may take. A server that is busy has to get round to it.
    ("grpc.min_reconnect_backoff_ms", 2_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # A proxy from the environment is for the outside, never for the mesh.
    ("grpc.enable_http_proxy", 0),
]


def connect(target: str, certificates: Certificates | None = None) -> grpc.aio.Channel:
    """Returns a channel to any gRPC target (`dns:///host:port`, `unix:…`, `host:port`); nothing is dialled yet.

    With certificates it speaks TLS, shows its own, and follows their renewal.
    """
    if certificates is None:
        return grpc.aio.insecure_channel(target, options=_OPTIONS)
    return RenewingChannel(
        certificates, lambda credentials: grpc.aio.secure_channel(target, credentials, options=_OPTIONS)
    )
