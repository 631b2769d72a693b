"""TLS to the broker."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from qoemon.net.mqtt.errors import MqttConnectionError, describe_error
from qoemon.net.mqtt.secret_file import current_secret

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Tls:
    """Options of TLS 1.2 or later, with the host name checked."""

    ca_file: Path | None
    """Certificates of the CAs to trust, PEM; None for the system's."""
    cert_file: Path | None
    """Client certificate, PEM, if the broker requires one."""
    key_file: Path | None
    """Its key, PEM; None if it is in cert_file."""
    key_password: str | None = field(repr=False)
    key_password_file: Path | None = None
    """A file with the password of the key instead, read again at each attempt to connect."""


class _ReportingSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails, and raises the reason of a TLS error after it: paho does neither.

    With TLS 1.3 the broker checks the client certificate after the handshake has ended for the client.
    """

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        try:
            return super().recv(buflen, flags)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            raise MqttConnectionError(describe_error(error)) from error

    def do_handshake(self, block: bool = False) -> None:
        try:
            super().do_handshake(block)
        except BaseException:
            self.close()
            raise


def tls_context(tls: Tls) -> ssl.SSLContext:
    """The TLS context for these options.

    raises   OSError or MqttConnectionError if a file cannot be read or used
    """
    for file in (tls.ca_file, tls.cert_file, tls.key_file):
        if file is not None:
            file.open("rb").close()  # The error of ssl would not name the file.
    context = ssl.create_default_context(cafile=tls.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _ReportingSocket
    if tls.cert_file is not None:
        password = current_secret(tls.key_password, "key_password_file", tls.key_password_file)
        # Without a password, OpenSSL would prompt for that of an encrypted key on the terminal.
        context.load_cert_chain(tls.cert_file, tls.key_file, password or "")
    return context
