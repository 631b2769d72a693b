"""Web configuration file of Prometheus: TLS, users and headers of the HTTP server.

The keys are those of Prometheus and its exporters, so that one file serves them all. A key that this server does
not support is an error and not ignored, since the operator relies on it.
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
"""Names of the TLS 1.2 cipher suites without a known weakness: in Prometheus -> in OpenSSL."""

MAX_BCRYPT_COST = 16
"""Each step of bcrypt's cost doubles the work; at this cost a password takes some seconds of a core."""

_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")


def _cipher(value: str) -> str:
    if value not in CIPHERS:
        raise expecting(f"one of {', '.join(CIPHERS)}", "those of TLS 1.3 are always on, older ones never")
    return value


def _client_auth(value: str) -> str:
    known = ("NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert")
    if value in {"RequestClientCert", "RequireAnyClientCert"}:
        raise expecting(f"one of {', '.join(known)}", "a certificate that is not verified proves nothing")
    if value not in known:
        raise expecting(f"one of {', '.join(known)}")
    return value


def _hash(value: SecretStr) -> SecretStr:
    expected = "the bcrypt hash of a password, such as `htpasswd -nBC 10 NAME` prints after the colon"
    match = _BCRYPT.fullmatch(value.get_secret_value())
    if match is None:
        raise expecting(expected)
    if not 4 <= int(match[1]) <= MAX_BCRYPT_COST:
        raise expecting(f"{expected}, with a cost from 4 to {MAX_BCRYPT_COST}", f"its cost is {match[1]}")
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
    """TLS of the HTTP server."""

    cert_file: File = key("PEM file of the server certificate, followed by intermediate certificates.")
    key_file: File = key("PEM file of the private key, without a password.")
    client_auth_type: ClientAuth = key("Whether clients must send a certificate.", "NoClientCert")
    client_ca_file: File | None = key("PEM file of the authorities that sign client certificates.", None)
    min_version: Version = key("Oldest version of TLS.", "TLS12")
    max_version: Version = key("Newest version of TLS.", "TLS13")
    cipher_suites: tuple[Cipher, ...] = key("Cipher suites for TLS 1.2; an empty list for all secure ones.", [])
    prefer_server_cipher_suites: bool = key(
        "Whether the order of the server takes precedence over that of the client.", True
    )

    def rules(self) -> Iterator[Violation]:
        """`key_file` fits `cert_file`; `client_ca_file` goes with `client_auth_type`; versions are in order."""
        verifies = self.client_auth_type != "NoClientCert"
        if verifies and self.client_ca_file is None:
            expected = f"the name of a file, as client_auth_type is {self.client_auth_type}"
            yield Violation(("client_ca_file",), expected, (("client_auth_type",),))
        if self.client_ca_file is not None and not verifies:
            expected = "VerifyClientCertIfGiven or RequireAndVerifyClientCert, as there is a client_ca_file"
            yield Violation(("client_auth_type",), expected, (("client_ca_file",),))
        if self.min_version > self.max_version:
            yield Violation(("min_version",), f"at most max_version ({self.max_version})", (("max_version",),))
        yield from self._pem_rules()

    def context(self) -> ssl.SSLContext:
        """The TLS context for new connections; OSError if a file has become unusable."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version, context.maximum_version = _VERSIONS[self.min_version], _VERSIONS[self.max_version]
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.load_cert_chain(
            self.cert_file, self.key_file, ""
        )  # "" as password: otherwise OpenSSL prompts on the terminal.
        if self.cipher_suites:
            context.set_ciphers(":".join(CIPHERS[name] for name in self.cipher_suites))
        if not self.prefer_server_cipher_suites:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        if self.client_ca_file is not None:
            context.load_verify_locations(self.client_ca_file)
            context.verify_mode = _VERIFY[self.client_auth_type]
        return context

    def _pem_rules(self) -> Iterator[Violation]:
        """Each file has the content that its key requires."""
        if self.client_ca_file is not None and (fault := _ca_fault(self.client_ca_file)):
            yield Violation(("client_ca_file",), "a PEM file with certificates", advice=fault)
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.cert_file, self.key_file, "")
        except OSError as error:
            expected = "the key of the certificate in cert_file, both PEM and the key without a password"
            yield Violation(("key_file",), expected, (("cert_file",),), _reason(error))


_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_VERIFY = {"VerifyClientCertIfGiven": ssl.CERT_OPTIONAL, "RequireAndVerifyClientCert": ssl.CERT_REQUIRED}


def _ca_fault(file: Path) -> str | None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(file)
    except OSError as error:
        return _reason(error)
    return None


def _reason(error: OSError) -> str:
    """The reason that OpenSSL gives, if any."""
    reason = getattr(error, "reason", None) or error.strerror or "it is not PEM"
    return str(reason).lower().replace("_", " ")


class Headers(Section):
    """Headers of every response; they replace those that qoemon sets itself."""

    content_security_policy: Header = key("Content-Security-Policy.", "", alias="Content-Security-Policy")
    frame_options: Literal["", "deny", "sameorigin"] = key("X-Frame-Options.", "", alias="X-Frame-Options")
    type_options: Literal["", "nosniff"] = key("X-Content-Type-Options.", "", alias="X-Content-Type-Options")
    xss_protection: Header = key("X-XSS-Protection.", "", alias="X-XSS-Protection")
    strict_transport_security: Header = key("Strict-Transport-Security.", "", alias="Strict-Transport-Security")


class HttpServer(Section):
    """HTTP of the server."""

    http2: bool = key("Accepted but without effect: qoemon speaks HTTP/1.1 only.", True)
    headers: Headers = key("Headers of every response.", {})


class WebFile(Section):
    """The web configuration file of the HTTP server."""

    tls_server_config: TlsServer | None = key("TLS; null for plain HTTP.", None)
    http_server_config: HttpServer = key("HTTP of the server.", {})
    basic_auth_users: dict[str, Hash] = key(
        "bcrypt hash of the password of each user; empty: no authentication.", {}
    )

    def rules(self) -> Iterator[Violation]:
        """User names are valid in HTTP basic authentication."""
        for name in self.basic_auth_users:
            if not name or ":" in name or not name.isprintable():
                yield Violation(("basic_auth_users", name), "a user name without colon or control characters")


class CollectorWebFile(WebFile):
    """The web configuration file of the collector, whose clients have a token instead of a user."""

    def rules(self) -> Iterator[Violation]:
        """No users."""
        yield from super().rules()
        if self.basic_auth_users:
            expected = "no users, as players cannot send a password: set collector.token instead"
            yield Violation(("basic_auth_users",), expected)
