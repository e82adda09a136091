"""Behaviour of edge/transcoding/cross_origin.py that no request shows: rules that cannot be."""

import pytest

from edge.transcoding.cross_origin import OriginPolicy
from edge.transcoding.options import CrossOrigin


@pytest.mark.parametrize("origin", ["game.example", "https://game.example/", "https://*.example", "", "https://"])
def test_what_is_no_origin_is_named(origin: str) -> None:
    with pytest.raises(ValueError, match="is no origin; write a scheme, a host and maybe a port") as refused:
        OriginPolicy(CrossOrigin(origins=("https://game.example", origin)))
    assert f'"{origin}"' in str(refused.value)
    assert '"https://game.example"' not in str(refused.value)


def test_credentials_never_go_to_any_page_there_is() -> None:
    with pytest.raises(ValueError, match=r"credentials go to named origins only, not to \*"):
        OriginPolicy(CrossOrigin(origins=("*",), credentials=True))


@pytest.mark.parametrize("origin", ["capacitor://localhost", "chrome-extension://abc", "http://[::1]:8080"])
def test_apps_and_addresses_have_origins_too(origin: str) -> None:
    headers = [(b"x-request-id", b"1")]
    OriginPolicy(CrossOrigin(origins=(origin,))).complete(headers, [(b"origin", origin.encode())])
    assert (b"access-control-allow-origin", origin.encode()) in headers
