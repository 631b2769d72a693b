"""Prometheus' web configuration file: TLS, users and headers of the HTTP side.

The keys are those of Prometheus and its exporters, so that one file serves them all. A key of theirs that this
server can't honour is refused rather than ignored: whoever wrote it counts on it.
"""

import re
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, SecretStr

from qoemon.config.sections.types import File
from qoemon.config.yaml.section import Section, Violation, expecting, key

Version = Literal["TLS12", "TLS13"]

CIPHERS = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
}
"""What Prometheus calls the cipher suites of TLS 1.2, and what OpenSSL does: those without a known weakness."""

COSTLIEST = 16
"""bcrypt's cost doubles the work with each step; at this one a password takes some seconds of a core."""

_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")


def _cipher(value: str) -> str:
    if value not in CIPHERS:
        raise expecting(f"one of {', '.join(CIPHERS)}", "those of TLS 1.3 are always on, older ones never")
    return value


def _client_auth(value: str) -> str:
    known = ("NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
    if value in {"RequestClientCert", "RequireAnyClientCert"}:
        raise expecting(f"one of {', '.join(known)}", "a certificate that nobody verifies proves nothing")
    if value not in known:
        raise expecting(f"one of {', '.join(known)}")
    return value


def _hash(value: SecretStr) -> SecretStr:
    expected = "the bcrypt hash of a password, such as `htpasswd -nBC 10 NAME` prints after the colon"
    match = _BCRYPT.fullmatch(value.get_secret_value())
    if match is None:
        raise expecting(expected)
    if not 4 <= int(match[1]) <= COSTLIEST:
        raise expecting(f"{expected}, with a cost from 4 to {COSTLIEST}", f"its cost is {match[1]}")
    return value


def _header(value: str) -> str:
    if not (value.isascii() and value.isprintable()):
        raise expecting("the value of a header: ASCII in one line")
    return value


Cipher = Annotated[str, AfterValidator(_cipher)]
ClientAuth = Annotated[str, AfterValidator(_client_auth)]
Hash = Annotated[SecretStr, AfterValidator(_hash)]
Header = Annotated[str, AfterValidator(_header)]


class TlsServer(Section):
    """TLS of the HTTP side."""

    cert_file: File = key("PEM file of the server's certificate; intermediate ones follow it.")
    key_file: File = key("PEM file of its private key, without a password.")
    client_auth_type: ClientAuth = key("Whether clients show a certificate.", "NoClientCert")
    client_ca_file: File | None = key("PEM file of the authorities that sign certificates of clients.", None)
    min_version: Version = key("The oldest TLS that is spoken.", "TLS12")
    max_version: Version = key("The newest TLS that is spoken.", "TLS13")
    cipher_suites: tuple[Cipher, ...] = key("The only ones for TLS 1.2; none for all that are known as good.", [])
    prefer_server_cipher_suites: bool = key("Whether our order of them counts, and not the client's.", True)

    def rules(self) -> Iterator[Violation]:
        """The key belongs to the certificate; clients are verified by named authorities; versions in order."""
        wants = self.client_auth_type != "NoClientCert"
        if wants and self.client_ca_file is None:
            expected = f"the name of a file, as client_auth_type is {self.client_auth_type}"
            yield Violation(("client_ca_file",), expected, (("client_auth_type",),))
        if self.client_ca_file is not None and not wants:
            expected = "VerifyClientCertIfGiven or RequireAndVerifyClientCert, as there is a client_ca_file"
            yield Violation(("client_auth_type",), expected, (("client_ca_file",),))
        if self.min_version > self.max_version:
            yield Violation(("min_version",), f"at most max_version ({self.max_version})", (("max_version",),))
        yield from self._pem_rules()

    def context(self) -> ssl.SSLContext:
        """What the next connection is made with; OSError if a file has become unusable."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version, context.maximum_version = _VERSIONS[self.min_version], _VERSIONS[self.max_version]
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.load_cert_chain(self.cert_file, self.key_file, "")  # "": it would ask on the terminal.
        if self.cipher_suites:
            context.set_ciphers(":".join(CIPHERS[name] for name in self.cipher_suites))
        if not self.prefer_server_cipher_suites:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        if self.client_ca_file is not None:
            context.load_verify_locations(self.client_ca_file)
            context.verify_mode = _VERIFY[self.client_auth_type]
        return context

    def _pem_rules(self) -> Iterator[Violation]:
        """The files hold what their keys say."""
        if self.client_ca_file is not None and (fault := _ca_fault(self.client_ca_file)):
            yield Violation(("client_ca_file",), "a PEM file with certificates", advice=fault)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.cert_file, self.key_file, "")
        except OSError as error:
            expected = "the key of the certificate in cert_file, both PEM and the key without a password"
            yield Violation(("key_file",), expected, (("cert_file",),), _words(error))


_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_VERIFY = {"VerifyClientCertIfGiven": ssl.CERT_OPTIONAL, "RequireAndVerifyClientCert": ssl.CERT_REQUIRED}


def _ca_fault(file: Path) -> str | None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(file)
    except OSError as error:
        return _words(error)
    return None


def _words(error: OSError) -> str:
    """OpenSSL's own word for it, as far as there is one."""
    reason = getattr(error, "reason", None) or error.strerror or "it is not PEM"
    return str(reason).lower().replace("_", " ")


class Headers(Section):
    """Headers of every answer; they go before those that qoemon sets by itself."""

    content_security_policy: Header = key("Content-Security-Policy.", "", alias="Content-Security-Policy")
    frame_options: Literal["", "deny", "sameorigin"] = key("X-Frame-Options.", "", alias="X-Frame-Options")
    type_options: Literal["", "nosniff"] = key("X-Content-Type-Options.", "", alias="X-Content-Type-Options")
    xss_protection: Header = key("X-XSS-Protection.", "", alias="X-XSS-Protection")
    strict_transport_security: Header = key("Strict-Transport-Security.", "", alias="Strict-Transport-Security")


class HttpServer(Section):
    """How HTTP is spoken."""

    http2: bool = key("Taken for the sake of files that have it: qoemon speaks HTTP/1.1 either way.", True)
    headers: Headers = key("Headers of every answer.", {})


class WebFile(Section):
    """The whole file."""

    tls_server_config: TlsServer | None = key("TLS; without it, plain HTTP.", None)
    http_server_config: HttpServer = key("How HTTP is spoken.", {})
    basic_auth_users: dict[str, Hash] = key("The bcrypt hash of each user's password; none lets everyone in.", {})

    def rules(self) -> Iterator[Violation]:
        """HTTP can't carry every user name."""
        for name in self.basic_auth_users:
            if not name or ":" in name or not name.isprintable():
                yield Violation(("basic_auth_users", name), "a user name without colon or control characters")
