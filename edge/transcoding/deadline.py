"""How long a call may take: the timeout headers of a request."""

import re

from edge.transcoding.errors import Code, failure

_GRPC_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])\Z")
_SECONDS = re.compile(rb"([0-9]{1,8}(?:\.[0-9]{1,9})?)s?\Z")
_UNITS = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}


def requested_timeout(grpc_timeout: bytes | None, request_timeout: bytes | None) -> float | None:
    """Return the timeout that a request's headers ask for, in seconds; the shorter one where both are given.

    `Grpc-Timeout` is up to 8 digits and a unit of H, M, S, m, u, n (gRPC over HTTP/2); `X-Request-Timeout` is
    seconds, fractions allowed. A malformed one, or zero, raises INVALID_ARGUMENT.
    """
    asked: list[float] = []
    if grpc_timeout is not None:
        match = _GRPC_TIMEOUT.match(grpc_timeout)
        if match is None or int(match.group(1)) == 0:
            raise failure(
                Code.INVALID_ARGUMENT,
                "header Grpc-Timeout: 1 to 8 digits and a unit of H, M, S, m, u or n are expected, such as 500m, "
                "and more than 0",
            )
        asked.append(int(match.group(1)) * _UNITS[match.group(2)])
    if request_timeout is not None:
        match = _SECONDS.match(request_timeout)
        if match is None or float(match.group(1)) == 0:
            raise failure(
                Code.INVALID_ARGUMENT,
                "header X-Request-Timeout: a number of seconds greater than 0 is expected, such as 2.5",
            )
        asked.append(float(match.group(1)))
    return min(asked, default=None)
