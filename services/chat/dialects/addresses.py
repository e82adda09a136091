"""Addresses of pictures and documents that a request names, for the provider to fetch: Gaia itself fetches none.

A provider may stand in the operator's own network, so what can only be meant for there is refused. What a name resolves
to is not looked up: whoever fetches it has to see to that.
"""

import ipaddress
import socket
import unicodedata
from urllib.parse import urlsplit

from shared.public_addresses import Address, is_public

PRIVATE = "must be a public address, since the model's provider is to fetch it; send the content itself as a data: URL"
NO_FILE = "must be an address of the web, or a data: URL"

_PRIVATE_SUFFIXES = (".localhost", ".local", ".internal", ".intranet", ".lan", ".home.arpa")


def address_fault(url: str) -> str:
    """Returns what is wrong with an address, empty where nothing is."""
    scheme, _, rest = url[:64].partition(":")
    match scheme.strip().lower():
        case "http" | "https" if rest:
            return PRIVATE if _is_private(url) else ""
        case "file":
            return NO_FILE
        case _:
            return ""


def _is_private(url: str) -> bool:
    # As those may read it who fetch: wide digits are digits, and a backslash is a slash, or is none.
    plain = unicodedata.normalize("NFKC", url.strip())
    try:
        hosts = {urlsplit(reading).hostname for reading in (plain, plain.replace("\\", "/"))}
    except ValueError:
        return True
    return any(host is None or _is_own(host.rstrip(".")) for host in hosts)


def _is_own(host: str) -> bool:
    address = _address(host)
    if address is not None:
        return not is_public(address)
    return "." not in host or host.endswith(_PRIVATE_SUFFIXES)


def _address(host: str) -> Address | None:
    """Returns the address that a host is, in any way of writing one: 127.1 and 0x7f000001 are addresses too."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None
