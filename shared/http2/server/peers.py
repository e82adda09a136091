"""Who is at the other end of a connection, as gRPC tells it."""

import ssl
from collections.abc import Mapping
from typing import Any

AuthContext = Mapping[str, tuple[bytes, ...]]

_NAMES = ("DNS", "URI", "email", "IP Address")


def peer_of(address: Any) -> str:
    """Return a socket's address as gRPC writes it, such as `ipv4:127.0.0.1:5000`, `ipv6:%5B::1%5D:5000` or `unix:`."""
    if not isinstance(address, tuple):
        return f"unix:{address.decode('utf-8', 'replace') if isinstance(address, bytes) else address or ''}"
    host, port = str(address[0]), int(address[1])
    if ":" not in host:
        return f"ipv4:{host}:{port}"
    if host.startswith("::ffff:") and "." in host:
        return f"ipv4:{host.removeprefix('::ffff:')}:{port}"
    return f"ipv6:%5B{host.replace('%', '%25')}%5D:{port}"


def auth_context_of(connection: ssl.SSLObject | None) -> AuthContext:
    """Return what gRPC's servers tell of a client's certificate; nothing without TLS."""
    if connection is None:
        return {}
    known: dict[str, tuple[bytes, ...]] = {"transport_security_type": (b"ssl",)}
    certificate = connection.getpeercert()
    if not certificate:
        return known
    subject: Any = certificate.get("subject", ())
    common = tuple(value.encode() for part in subject for name, value in part if name == "commonName")
    if common:
        known["x509_common_name"] = common[:1]
    others: Any = certificate.get("subjectAltName", ())
    known["x509_subject_alternative_name"] = tuple(value.encode() for kind, value in others if kind in _NAMES)
    der = connection.getpeercert(binary_form=True)
    if der is not None:
        known["x509_pem_cert"] = (ssl.DER_cert_to_PEM_cert(der).encode(),)
    return known
