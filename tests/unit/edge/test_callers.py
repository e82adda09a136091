"""Reading a request's key and address."""

import pytest

from edge.callers import address_of, key_of
from edge.transcoding.errors import RpcFailure


def scope(*headers: tuple[bytes, bytes], client: str = "192.0.2.1") -> dict:
    return {"type": "http", "headers": list(headers), "client": (client, 1234)}


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x-api-key", b"K")],
        [(b"authorization", b"Bearer K")],
        [(b"authorization", b"bearer  K ")],
        [(b"x-api-key", b"K"), (b"authorization", b"Bearer K")],
        [(b"x-api-key", b""), (b"authorization", b"Bearer K")],
    ],
)
def test_the_key_is_found_wherever_a_client_puts_it(headers):
    assert key_of(scope(*headers)) == "K"


def handshake(*offered: str) -> dict:
    return {**scope(), "type": "websocket", "state": {}, "subprotocols": list(offered)}


@pytest.mark.parametrize("offered", [("gaia", "gaia.key.K"), ("gaia.key.K", "other", "gaia")])
def test_a_page_gives_the_key_of_its_websocket_as_a_subprotocol_and_another_one_is_spoken(offered):
    asked = handshake(*offered)
    assert key_of(asked) == "K"
    assert asked["state"] == {"subprotocol": "gaia"}


@pytest.mark.parametrize(
    ("offered", "status"),
    [(["gaia.key.K"], 400), (["gaia", "gaia.key.K", "gaia.key.L"], 400), (["gaia", "gaia.key."], 401), ([], 401)],
)
def test_a_websocket_without_a_key_or_with_two_is_refused(offered, status):
    with pytest.raises(RpcFailure) as caught:
        key_of(handshake(*offered))
    assert caught.value.http_status == status


def test_a_subprotocol_is_no_key_of_a_request():
    with pytest.raises(RpcFailure):
        key_of({**handshake("gaia", "gaia.key.K"), "type": "http"})


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([], 401),
        ([(b"x-api-key", b"")], 401),
        ([(b"authorization", b"Basic dTpw")], 401),
        ([(b"authorization", b"Bearer ")], 401),
        ([(b"x-api-key", b"K"), (b"x-api-key", b"L")], 400),
        ([(b"x-api-key", b"K"), (b"authorization", b"Bearer L")], 400),
    ],
)
def test_no_key_is_401_and_two_keys_are_400(headers, status):
    with pytest.raises(RpcFailure) as caught:
        key_of(scope(*headers))
    assert caught.value.http_status == status
    if status == 401:
        assert caught.value.headers[0][0] == b"www-authenticate"


def test_a_key_longer_than_any_is_not_even_digested():
    assert key_of(scope((b"x-api-key", b"a" * 100_000))) == ""


@pytest.mark.parametrize(
    ("client", "forwarded", "proxies", "address"),
    [
        ("192.0.2.1", b"", 0, "192.0.2.1"),
        ("192.0.2.1", b"203.0.113.9", 0, "192.0.2.1"),
        ("192.0.2.1", b"203.0.113.9", 1, "203.0.113.9"),
        ("192.0.2.1", b"spoofed, 203.0.113.9", 1, "203.0.113.9"),
        ("192.0.2.1", b"203.0.113.9, 198.51.100.2", 2, "203.0.113.9"),
        ("192.0.2.1", b"203.0.113.9", 2, "203.0.113.9"),
        ("192.0.2.1", b"nonsense", 1, "unknown"),
        ("2001:db8:1:2:3:4:5:6", b"", 0, "2001:db8:1:2::/64"),
    ],
)
def test_only_trusted_proxies_are_believed_about_an_address(client, forwarded, proxies, address):
    assert address_of(scope((b"x-forwarded-for", forwarded), client=client), proxies) == address
