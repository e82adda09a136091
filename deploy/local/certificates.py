"""A certificate authority for development, and the certificates of the processes."""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.local.errors import StackError
from deploy.local.home import write_secret

AUTHORITY_DAYS = 3650
CERTIFICATE_DAYS = 90
_BACKDATED = dt.timedelta(minutes=5)  # for machines whose clocks are a little behind

_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


@dataclass(frozen=True, slots=True)
class Issued:
    """Where a process's certificate and its key lie."""

    name: str
    certificate: Path
    key: Path


class DevelopmentAuthority:
    """An authority whose key lies in a folder beside its certificate: for development, since who reads it is anybody.

    `ca.pem` is what every process trusts, `ca.key` what signs. Made when missing; raises StackError for files that are
    no authority.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.certificate_file = folder / "ca.pem"
        key_file = folder / "ca.key"
        folder.mkdir(parents=True, exist_ok=True)
        if not key_file.exists():
            self._make(key_file)
        try:
            self._certificate = x509.load_pem_x509_certificate(self.certificate_file.read_bytes())
            key = load_pem_private_key(key_file.read_bytes(), password=None)
        except (OSError, ValueError) as error:
            raise StackError(f"{folder} holds no authority that can be used; remove ca.pem and ca.key") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise StackError(f"{key_file} is not a key that `gaia certs dev` made; remove it")
        self._key = key

    def issue(self, name: str, hosts: Sequence[str] = ()) -> Issued:
        """Writes a certificate, for server and client alike, and its key.

        `name` is what allow-lists know the process by; it and localhost, 127.0.0.1 and ::1 are what it may be reached
        by, as are `hosts`: DNS names or addresses.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        reached = dict.fromkeys((name, "localhost", "127.0.0.1", "::1", *hosts))
        certificate = (
            _builder(name, CERTIFICATE_DAYS)
            .issuer_name(self._certificate.subject)
            .public_key(key.public_key())
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .add_extension(x509.SubjectAlternativeName([_general_name(host) for host in reached]), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        issued = Issued(name, self._folder / f"{name}.pem", self._folder / f"{name}.key")
        write_secret(issued.key, _pem(key))
        issued.certificate.write_bytes(certificate.public_bytes(Encoding.PEM))
        return issued

    def _make(self, key_file: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder("Gaia development authority", AUTHORITY_DAYS)
        certificate = (
            builder.issuer_name(_name("Gaia development authority"))
            .public_key(key.public_key())
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_SIGNS_CERTIFICATES, critical=True)
            .sign(key, hashes.SHA256())
        )
        self.certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
        write_secret(key_file, _pem(key))


def _builder(name: str, days: int) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + dt.timedelta(days=days))
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
