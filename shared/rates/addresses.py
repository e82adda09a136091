"""Which addresses count as one."""

import functools
import ipaddress


@functools.lru_cache(maxsize=4096)
def subscriber_of(address: str) -> str:
    """Returns what an IP address counts as, empty for what is none.

    An IPv6 address counts as its /64, which is what one subscriber has.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if parsed.version == 6:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
