"""Describes why a connection to the broker failed or ended, and what the operator can check."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence

import aiomqtt
from paho.mqtt.client import error_string
from paho.mqtt.reasoncodes import ReasonCode

ANSWER_S = 10.0
"""How long the broker may take to answer a CONNECT, a SUBSCRIBE or an UNSUBSCRIBE."""


NOT_MQTT = (
    "received data that breaks the rules of MQTT: check that the port is a broker's, transport, "
    "websocket_path, and version"
)

HUNG_UP = (
    "the other end closed the connection without an answer: check that the port is a broker's, whether it speaks "
    "WebSocket, whether it requires TLS or another client certificate, and the broker's log"
)


_UNSPECIFIED = 0x80
"""Reason code without meaning, which paho also uses where the connection just ended."""


class MqttConnectionError(aiomqtt.MqttError):
    """A connection ended for a reason that qoemon found itself; its text is the reason."""


def describe_error(error: BaseException) -> str:
    """Why a connection failed or ended, and what the operator can check."""
    match error:
        case MqttConnectionError():
            return str(error)
        case aiomqtt.MqttCodeError():
            return _explain_code(error.rc)
        case aiomqtt.MqttError():  # aiomqtt wraps the cause, or gives none.
            cause = error.__cause__ or error.__context__
            return "the broker ended the connection" if cause is None else describe_error(cause)
        case ssl.SSLCertVerificationError():
            return f"TLS: {_explain_certificate(error)} ({error.verify_message})"
        case ssl.SSLError():
            return _explain_tls(error)
        case _:
            return _explain_system(error)


def ended_without_reason(error: aiomqtt.MqttError) -> bool:
    """Whether the connection was closed or reset, and the broker did not report why."""
    match error:
        case MqttConnectionError():
            return False
        case aiomqtt.MqttCodeError():
            return isinstance(error.rc, ReasonCode) and error.rc.value == _UNSPECIFIED
        case _:
            return isinstance(error.__cause__, ConnectionError)


def hung_up_at_subscribe(filters: Sequence[str]) -> str:
    """The message for a connection that ended without a reason between a SUBSCRIBE and its SUBACK."""
    return (
        f"the connection was closed instead of answering a SUBSCRIBE of {len(filters)} topic filters "
        f"({', '.join(filters)}): the broker may limit the number of filters, or refuse one of them: check its "
        "limits, its access rules and its log"
    )


def hung_up_at_unsubscribe(filters: Sequence[str]) -> str:
    """The message for a connection that ended without a reason between an UNSUBSCRIBE and its UNSUBACK."""
    return (
        f"the connection was closed instead of answering an UNSUBSCRIBE of {', '.join(filters)}, topic filters of "
        "an earlier configuration: check the broker's access rules and its log, or set another client_id"
    )


_CODES = {
    _UNSPECIFIED: "the connection broke off without a reason: the broker or the network failed, or another client "
    "uses our client_id, which many brokers do not report",
    0x81: "the broker could not read what we sent: check whether a proxy changes it",
    0x82: "the broker reports that we broke the rules of MQTT: set version to the other one",
    0x84: "the broker does not speak this version of MQTT: set version to the other one",
    0x85: "the broker refuses our client_id: choose another",
    0x86: "the broker refuses user name or password: check username and password",
    0x87: "the broker does not authorize us: check username, password and the broker's access rules",
    0x88: "the broker is not available: look at its log",
    0x89: "the broker is too busy",
    0x8A: "the broker has banned us: ask its operator",
    0x8B: "the broker is shutting down",
    0x8D: "the broker showed no sign of life within the keepalive time",
    0x8E: "another client took over our session: give each client a client_id of its own",
    0x97: "a quota of the broker is used up: raise it for our user",
    0x98: "someone ended the connection at the broker",
    0x9C: "the broker redirects us to another server: change host",
    0x9D: "the broker has moved: change host",
    0x9F: "the broker limits how often we may connect: raise reconnect.min",
}
"""By MQTT 5 reason code; paho translates those of 3.1.1."""


def _explain_code(code: int | ReasonCode | None) -> str:
    if not isinstance(code, ReasonCode):
        return error_string(code or 0)  # paho's own code, for a connection that is closed.
    name = f"{str(code).lower()}, reason code {code.value}"
    return f"{_CODES[code.value]} ({name})" if code.value in _CODES else f"the broker reports: {name}"


def _explain_certificate(error: ssl.SSLCertVerificationError) -> str:
    """By OpenSSL's X509_V_ERR numbers."""
    match error.verify_code:
        case 62 | 64:
            return "the broker's certificate is for another host name: check host, or issue it for this one"
        case 10:
            return "the broker's certificate has expired: renew it"
        case 9:
            return "the broker's certificate is not valid yet: check both clocks"
        case 18 | 19 | 20 | 21:
            return "the broker's certificate is not from a CA that we trust: check ca_file"
        case _:
            return "the broker's certificate is not acceptable"


_REJECTED = "the broker does not accept our certificate"

_ALERTS = {
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the broker requires a client certificate: set cert_file and key_file",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the broker supports no TLS version or cipher of ours, or requires a client "
    "certificate: allow TLS 1.2 or later there, or set cert_file and key_file",
    "TLSV1_ALERT_UNKNOWN_CA": f"{_REJECTED}, whose CA it does not know: check cert_file and the CAs it trusts",
    "SSLV3_ALERT_BAD_CERTIFICATE": f"{_REJECTED}: check cert_file and key_file, and the broker's log",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": f"{_REJECTED}: check cert_file and key_file, and the broker's log",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": f"{_REJECTED}, which has expired: renew cert_file",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": f"{_REJECTED}, which was revoked: renew cert_file",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the broker does not speak TLS 1.2 or later: update it",
    "UNSUPPORTED_PROTOCOL": "the broker does not speak TLS 1.2 or later: update it",
}
"""By OpenSSL's name of the alert that the broker sent."""


def _explain_tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLEOFError):
        return "TLS: the other end closed the connection in the handshake: check that the port speaks TLS"
    if error.reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"}:
        return "TLS: the port answers without TLS: check port, or remove tls"
    if error.reason in _ALERTS:
        return f"TLS: {_ALERTS[error.reason]}"
    return f"TLS: {error.reason or error}: check ca_file, cert_file, key_file and key_password"


_SYSTEM: dict[type[Exception], str] = {
    socket.gaierror: "no address is known for the host name: check host, and the name server",
    UnicodeError: "the host name is not valid: check host",
    ConnectionRefusedError: "connection refused: check host and port, and that the broker is running",
    ConnectionResetError: "the other end reset the connection: check whether the port requires TLS",
    TimeoutError: f"no answer within {ANSWER_S:g} s: check host, port, firewalls, whether the port requires TLS",
}


def _explain_system(error: BaseException) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"cannot read {error.filename}: {error.strerror}"
    known = (text for kind, text in _SYSTEM.items() if isinstance(error, kind))
    return next(known, str(error) or type(error).__name__)
