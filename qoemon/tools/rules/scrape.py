"""Builds the files for Prometheus from a qoemon configuration."""

from __future__ import annotations

from urllib.parse import urlsplit

from qoemon.common.address import address_text
from qoemon.config.config import Config, Http
from qoemon.config.plan import alert_rules, core_plan
from qoemon.config.sections.notify import Alertmanager, Notify
from qoemon.config.sections.web import WebFile
from qoemon.net.http import web_config as webconfig
from qoemon.tools.rules.capacityrules import Capacity
from qoemon.tools.rules.delivery import Delivery, Sender
from qoemon.tools.rules.files import PromFiles

_PORTS = {"http": 80, "https": 443}


def prometheus_files(config: Config, source: str | None = None, sender: Sender | None = None) -> PromFiles:
    """Rules, tests and scrape configuration for Prometheus.

    source  name of the configuration file in their heads; None: the built-in defaults
    sender  of the alerts of the configuration; None: qoemon if `notify` has a receiver, otherwise Prometheus
    """
    objectives = {name: section.slo for name, section in config.services.items() if section.slo is not None}
    return PromFiles(
        core_plan(config),
        alert_rules(config),
        objectives,
        options=(*(["-c", source] if source else ()), *(["--alerting", sender] if sender else ())),
        access=_access(config.http),
        delivery=_delivery(config.notify, sender),
        clustered=config.clustered,
        lease_s=None if config.pair is None else config.pair.lease_s,
        capacity=Capacity(config.limits.inbox_messages, config.limits.inbox_bytes, config.state.journal_bytes),
    )


def targets(config: Config) -> list[str]:
    """The address of the daemon as a target of Prometheus on the same machine; of a pair, both public addresses."""
    http, pair = config.http, config.pair
    if pair is not None:
        return [_own(http) if http.url is None else _address(http.url), _address(pair.peer.url)]
    return [_own(http)]


def _own(http: Http) -> str:
    everywhere = http.host in {"0.0.0.0", "::"}  # noqa: S104 - not to listen there
    return address_text("127.0.0.1" if everywhere else http.host, http.port)


def _address(url: str) -> str:
    """Host and port of a URL."""
    parts = urlsplit(url)
    return address_text(str(parts.hostname), parts.port or _PORTS[parts.scheme])


def _delivery(notify: Notify, sender: Sender | None) -> Delivery:
    receivers = [name for name in ("alertmanagers", "webhooks", "mqtt") if getattr(notify, name)]
    return Delivery.of(receivers, [_alertmanager(each) for each in notify.alertmanagers], sender)


def _alertmanager(section: Alertmanager) -> dict[str, object]:
    """The Alertmanager for Prometheus; passwords are not copied, the file name is an example unless configured."""
    url = urlsplit(section.url)
    settings: dict[str, object] = {"scheme": "https"} if url.scheme == "https" else {}
    if url.path:
        settings["path_prefix"] = url.path
    if section.ca_file is not None:
        settings["tls_config"] = {"ca_file": str(section.ca_file)}
    if section.username is not None:
        password_file = str(section.password_file or "alertmanager.password")
        settings["basic_auth"] = {"username": section.username, "password_file": password_file}
    return {
        **settings,
        "static_configs": [{"targets": [_address(section.url)]}],
    }


def _access(http: Http) -> dict[str, object]:
    """TLS and authentication settings that the web configuration requires; file names are examples."""
    web = WebFile() if http.web_config_file is None else webconfig.read(http.web_config_file)
    settings: dict[str, object] = {}
    if web.tls_server_config is not None:
        files = {"ca_file": "ca.pem"}
        if web.tls_server_config.client_auth_type == "RequireAndVerifyClientCert":
            files |= {"cert_file": "prometheus.pem", "key_file": "prometheus.key"}
        settings = {"scheme": "https", "tls_config": files}
    if web.basic_auth_users:
        settings["basic_auth"] = {"username": next(iter(web.basic_auth_users)), "password_file": "qoemon.password"}
    return settings
