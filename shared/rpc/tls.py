"""TLS with client certificates between Gaia's processes, read again when the files change."""

import contextlib
import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from shared.settings import CommonSettings, SettingsError, TlsFiles

logger = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
"""How often the files are looked at, and only while there are calls or new connections."""


@dataclass(frozen=True, slots=True)
class Pems:
    """What the files hold, as it is.

    The process's own key, its certificate with what chains it to its authority, and the authority that the others'
    certificates must come from.
    """

    key: bytes
    certificate: bytes
    authority: bytes


class Certificates:
    """The files of one process. `generation` grows whenever they were read again.

    Raises SettingsError at first when they cannot be read or do not fit together; later such a state, as a renewal may
    leave for a moment, is logged and the last good one stays.
    """

    def __init__(self, files: TlsFiles, clock: Callable[[], float] = time.monotonic) -> None:
        self._files = files
        self._clock = clock
        self._signature = self._look()
        self.pems = _read(files)
        self.generation = 0
        self._check_at = clock() + CHECK_SECONDS
        self._context: tuple[int, ssl.SSLContext] | None = None

    def refresh(self) -> int:
        """Reads the files again if they changed since the last look; returns the generation."""
        now = self._clock()
        if now < self._check_at:
            return self.generation
        self._check_at = now + CHECK_SECONDS
        signature = self._look()
        if signature != self._signature:
            try:
                pems = _read(self._files)
            except SettingsError as error:
                logger.warning("certificates cannot be used; the old ones stay", extra={"cause": str(error)})
            else:
                self._signature = signature
                if pems != self.pems:
                    self.pems = pems
                    self.generation += 1
                    logger.info("certificates were read again")
        return self.generation

    def server_credentials(self) -> grpc.ServerCredentials:
        """Returns credentials for a server that asks every caller for a certificate and follows the files."""
        served = self.generation

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            nonlocal served
            # Called by gRPC's own threads before each handshake; two that see a change at once do the same twice.
            generation = self.refresh()
            if generation == served:
                return None
            served = generation
            return _configuration(self.pems)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(self.pems),
            fetch,  # type: ignore[arg-type] # None is how it says that nothing changed
            require_client_authentication=True,
        )

    def server_context(self) -> ssl.SSLContext:
        """Returns what does as `server_credentials` do, for HTTP/2: each handshake is by the files as they are then."""
        first = self._server_context()
        served = (self.generation, first)

        def follow(handshake: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext) -> None:
            nonlocal served
            generation = self.refresh()
            if generation != served[0]:
                try:
                    served = (generation, self._server_context())
                except OSError:
                    # They were replaced since they were read; the next handshake finds them whole.
                    logger.warning("certificates cannot be used; the old ones stay")
            handshake.context = served[1]

        # Called in every handshake, before a certificate is shown or asked for, whether a name was sent or not.
        first.sni_callback = follow
        return first

    def _server_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self._files.authority))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_cert_chain(self._files.certificate, self._files.key)
        context.set_alpn_protocols(["h2"])
        # A session that is taken up again would be one of a client whose authority may be trusted no more.
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        return context

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Returns credentials for a channel, from the files as they are now."""
        pems = self.pems
        return grpc.ssl_channel_credentials(pems.authority, pems.key, pems.certificate)

    def client_context(self) -> ssl.SSLContext:
        """Returns what connects as `channel_credentials` do, for HTTP/2; another object when the files have changed."""
        generation = self.refresh()
        if self._context is None or self._context[0] != generation:
            try:
                context = ssl.create_default_context(cafile=str(self._files.authority))
                context.minimum_version = ssl.TLSVersion.TLSv1_2
                context.load_cert_chain(self._files.certificate, self._files.key)
                context.set_alpn_protocols(["h2"])
            except OSError:
                # They were replaced since they were read; the next look finds them whole.
                if self._context is None:
                    raise
                context = self._context[1]
            self._context = (generation, context)
        return self._context[1]

    def _look(self) -> tuple[object, ...]:
        looked: list[object] = []
        for path in (self._files.key, self._files.certificate, self._files.authority):
            with contextlib.suppress(OSError):
                status = path.stat()
                looked += [status.st_mtime_ns, status.st_size, status.st_ino]
        return tuple(looked)


def load_certificates(settings: CommonSettings) -> Certificates | None:
    """Returns the certificates that the settings name, None where they name none. Raises SettingsError."""
    files = settings.tls_files
    return None if files is None else Certificates(files)


def _configuration(pems: Pems) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([(pems.key, pems.certificate)], pems.authority)


def _read(files: TlsFiles) -> Pems:
    key, certificate, authority = (
        _read_file(name, path)
        for name, path in (
            ("GAIA_TLS_KEY", files.key),
            ("GAIA_TLS_CERT", files.certificate),
            ("GAIA_TLS_CA", files.authority),
        )
    )
    try:
        public = load_pem_private_key(key, password=None).public_key()
    except (ValueError, TypeError) as error:
        raise SettingsError("GAIA_TLS_KEY: must be a private key in PEM form, without a password") from error
    try:
        leaf = x509.load_pem_x509_certificates(certificate)[0].public_key()
    except ValueError as error:
        raise SettingsError("GAIA_TLS_CERT: must be a certificate in PEM form") from error
    try:
        x509.load_pem_x509_certificates(authority)
    except ValueError as error:
        raise SettingsError("GAIA_TLS_CA: must be certificates in PEM form") from error
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if public.public_bytes(*form) != leaf.public_bytes(*form):
        raise SettingsError("GAIA_TLS_KEY: is not the key of the certificate in GAIA_TLS_CERT")
    return Pems(key, certificate, authority)


def _read_file(name: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"{name}: cannot read {path}: {error.strerror}") from error
