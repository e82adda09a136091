"""Fetching from the public internet only; the tests' own server stands on loopback and is let in by name of address."""

import ipaddress
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from services.asset.generators.public_fetch import PublicFetcher
from shared.errors import BadUpstream, Unavailable
from shared.public_addresses import Address, is_public
from tests.support.asgi_server import running_asgi

MAX_BYTES = 1000


@pytest.mark.parametrize("address", ["1.1.1.1", "104.18.0.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "127.9.9.9",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "2001:0:53aa:64c:0:fbff:80ff:fffe",
    ],
)
def test_addresses_of_networks_machines_and_protocols_are_not(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


def loopback_too(address: Address) -> bool:
    return address.is_loopback or is_public(address)


class Site:
    """A web site that says what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Request] = []

    async def serve(self, request: Request) -> Response:
        self.asked.append(request)
        path = request.path_params["path"]
        match path.split("/"):
            case ["bytes", count]:
                return Response(b"x" * int(count))
            case ["status", status]:
                return Response(b"no", int(status))
            case ["hops", left]:
                return RedirectResponse(f"/hops/{int(left) - 1}" if int(left) else "/bytes/3")
            case _:
                return RedirectResponse(request.query_params["to"], 302)


@pytest.fixture
def site() -> Site:
    return Site()


@pytest.fixture
async def url(site: Site) -> AsyncIterator[str]:
    async with running_asgi(Starlette(routes=[Route("/{path:path}", site.serve)])) as running:
        yield running


@pytest.fixture
async def fetcher() -> AsyncIterator[PublicFetcher]:
    made = PublicFetcher(max_bytes=MAX_BYTES, is_allowed=loopback_too)
    yield made
    await made.close()


@pytest.fixture
async def strict() -> AsyncIterator[PublicFetcher]:
    made = PublicFetcher(max_bytes=MAX_BYTES)
    yield made
    await made.close()


async def test_bytes_are_fetched_without_cookies_or_credentials(fetcher: PublicFetcher, site: Site, url: str) -> None:
    assert await fetcher.fetch(f"{url}/bytes/{MAX_BYTES}") == b"x" * MAX_BYTES
    assert not {"cookie", "authorization"} & set(site.asked[0].headers)
    assert site.asked[0].headers["accept-encoding"] == "identity"


async def test_redirects_are_followed_up_to_their_limit(fetcher: PublicFetcher, url: str) -> None:
    assert await fetcher.fetch(f"{url}/hops/2") == b"xxx"
    with pytest.raises(BadUpstream, match="redirects"):
        await fetcher.fetch(f"{url}/hops/3")


async def test_a_host_that_is_a_private_address_is_never_asked(strict: PublicFetcher, site: Site, url: str) -> None:
    port = url.rpartition(":")[2]
    for host in ("127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433", "127.1", "0x7f000001"):
        with pytest.raises((BadUpstream, Unavailable)):
            await strict.fetch(f"http://{host}:{port}/bytes/3")
    assert site.asked == []


@pytest.mark.parametrize(
    "host", ["127.0.0.2\\@127.0.0.1", "127.0.0.2#@127.0.0.1", "127.0.0.1%2f@127.0.0.2", "127.0.0.2%00127.0.0.1"]
)
async def test_a_host_that_can_be_read_in_two_ways_is_never_asked(site: Site, url: str, host: str) -> None:
    elsewhere = PublicFetcher(max_bytes=MAX_BYTES, is_allowed=lambda address: str(address) == "127.0.0.2")
    with pytest.raises((BadUpstream, Unavailable)):
        await elsewhere.fetch(f"http://{host}:{url.rpartition(':')[2]}/bytes/3")
    await elsewhere.close()
    assert site.asked == []


async def test_a_name_of_a_private_address_is_never_asked(strict: PublicFetcher, site: Site, url: str) -> None:
    with pytest.raises(BadUpstream, match="not public"):
        await strict.fetch(f"http://localhost:{url.rpartition(':')[2]}/bytes/3")
    assert site.asked == []


@pytest.mark.parametrize(
    "target", ["http://10.0.0.1/", "http://169.254.169.254/latest/", "file:///etc/passwd", "//[::1"]
)
async def test_a_redirect_to_where_a_url_may_not_lead_is_refused(
    fetcher: PublicFetcher, site: Site, url: str, target: str
) -> None:
    with pytest.raises(BadUpstream):
        await fetcher.fetch(f"{url}/to?to={target}")
    assert len(site.asked) == 1


@pytest.mark.parametrize(
    "target", ["", "image.png", "ftp://1.1.1.1/x", "http://", "http://user:pw@1.1.1.1/x", "data:image/png;base64,AA"]
)
async def test_what_is_no_plain_web_address_is_refused(fetcher: PublicFetcher, target: str) -> None:
    with pytest.raises(BadUpstream):
        await fetcher.fetch(target)


async def test_a_body_that_is_too_large_is_refused(fetcher: PublicFetcher, url: str) -> None:
    with pytest.raises(BadUpstream, match=f"more than {MAX_BYTES} bytes"):
        await fetcher.fetch(f"{url}/bytes/{MAX_BYTES + 1}")


async def test_another_status_than_200_is_refused(fetcher: PublicFetcher, url: str) -> None:
    for status in (204, 404, 500):
        with pytest.raises(BadUpstream, match=f"status {status}"):
            await fetcher.fetch(f"{url}/status/{status}")


async def test_a_host_that_does_not_answer_is_an_outage(fetcher: PublicFetcher) -> None:
    with pytest.raises(Unavailable):
        await fetcher.fetch("http://127.0.0.1:1/x")


async def test_no_error_repeats_the_url(fetcher: PublicFetcher, url: str) -> None:
    for target in (f"{url}/status/403?sig=hunter2", "http://127.0.0.1:1/?sig=hunter2", "http://10.0.0.1/?sig=hunter2"):
        allowed = PublicFetcher(max_bytes=MAX_BYTES, is_allowed=lambda address: address.is_loopback)
        with pytest.raises((BadUpstream, Unavailable)) as caught:
            await allowed.fetch(target)
        await allowed.close()
        assert "hunter2" not in str(caught.value)
