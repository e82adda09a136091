"""Behaviour of edge/transcoding/deadline.py."""

import pytest

from edge.transcoding.deadline import requested_timeout
from edge.transcoding.errors import RpcFailure


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"1H", 3600), (b"2M", 120), (b"3S", 3), (b"500m", 0.5), (b"7u", 7e-6), (b"99999999n", 0.099999999)],
)
def test_grpc_timeouts_are_read_in_every_unit(value: bytes, seconds: float) -> None:
    assert requested_timeout(value, None) == pytest.approx(seconds)


@pytest.mark.parametrize(("value", "seconds"), [(b"2", 2), (b"2.5", 2.5), (b"0.25s", 0.25)])
def test_request_timeouts_are_seconds(value: bytes, seconds: float) -> None:
    assert requested_timeout(None, value) == pytest.approx(seconds)


def test_the_shorter_of_both_counts() -> None:
    assert requested_timeout(b"2S", b"3") == 2
    assert requested_timeout(b"4S", b"3") == 3
    assert requested_timeout(None, None) is None


@pytest.mark.parametrize(
    "value", [b"", b"5", b"S", b"-1S", b"1.5S", b"123456789S", b"5s", b"0S", b"5S ", b"5S\n", b"1e3S"]
)
def test_a_malformed_grpc_timeout_is_refused_by_name(value: bytes) -> None:
    with pytest.raises(RpcFailure, match=r"header Grpc-Timeout: .*500m") as caught:
        requested_timeout(value, None)
    assert caught.value.http_status == 400


@pytest.mark.parametrize("value", [b"", b"x", b"-1", b"1,5", b"nan", b"inf", b"1e3", b"0", b"0.0", b".5"])
def test_a_malformed_request_timeout_is_refused_by_name(value: bytes) -> None:
    with pytest.raises(RpcFailure, match=r"header X-Request-Timeout: .*2\.5"):
        requested_timeout(None, value)
