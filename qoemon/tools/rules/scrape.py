"""Builds the files for Prometheus from a qoemon configuration."""

from __future__ import annotations

from qoemon.config.config import Config, Http
from qoemon.config.plan import alert_rules, core_plan
from qoemon.config.sections.web import WebFile
from qoemon.net.http import web_config as webconfig
from qoemon.tools.rules.files import PromFiles


def prometheus_files(config: Config, source: str) -> PromFiles:
    """Rules, tests and scrape configuration for Prometheus; source: name of the configuration in their heads."""
    objectives = {name: section.slo for name, section in config.services.items() if section.slo is not None}
    return PromFiles(core_plan(config), alert_rules(config), objectives, source=source, access=_access(config.http))


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
