"""From the configuration to what each part is made with."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path

from qoemon.config.config import Config, Http
from qoemon.config.sections.mqtt import Tls as TlsSection
from qoemon.config.sections.web import WebFile
from qoemon.core.alerting.rule import Rule
from qoemon.core.evaluation import Union
from qoemon.core.pipeline import Pipeline
from qoemon.core.plan.plan import Limits, Plan, Timing
from qoemon.net.http import web_config as webconfig
from qoemon.net.mqtt.client import Broker, Tls
from qoemon.state.layout import ALONE, SHARDS
from qoemon.state.store import Durability, Store
from qoemon.tools.rules.files import PromFiles


def plan(config: Config) -> Plan:
    """What the Monitor is to do."""
    topics = tuple(topic.parsed for topic in config.mqtt.topics)
    of_topics = dict.fromkeys(name for topic in topics for name in topic.names)
    return Plan(
        services=config.judged(),
        topics=topics,
        labels=(*of_topics, *config.labels),
        timing=Timing(
            tick_s=config.sessions.tick_s,
            interval_s=config.sessions.rating_interval_s,
            windows_s=config.windows_s,
            session_timeout_s=config.sessions.timeout_s,
            min_active_s=config.sessions.min_active_s,
            clock=config.sessions.clock,
        ),
        limits=Limits(
            sessions=config.limits.sessions,
            groups=config.limits.groups,
            message_bytes=config.limits.message_bytes,
            reports_per_message=config.limits.reports_per_message,
            label_length=config.limits.label_length,
        ),
        quantiles=config.quantiles,
        confidence=config.confidence,
    )


def rules(config: Config) -> tuple[Rule, ...]:
    """The alert rules, one a service that each is about."""
    return tuple(
        alert.rule(service, config.sessions.rating_interval_s)
        for alert in config.alerts
        for service in config.services
        if alert.service in (None, service)
    )


def pipeline(config: Config) -> Pipeline:
    """The line from bytes to what is thought of them, at its beginning."""
    return Pipeline(plan(config), rules(config), config.regimes.core)


def union(config: Config) -> Union:
    """What is thought of all shards together, at its beginning."""
    return Union(plan(config), rules(config), config.regimes.core)


def shard_plan(config: Config) -> Plan:
    """What the Monitor of one of several workers is to do: its share of the sessions.

    Which groups there are is the parent's to say, within the limit; until it has, a worker takes twice as many.
    """
    whole = plan(config)
    sessions = math.ceil(whole.limits.sessions / config.workers)
    return replace(whole, limits=replace(whole.limits, sessions=sessions, groups=2 * whole.limits.groups))


def sharded(config: Config) -> bool:
    """Whether clients make the shards, by a level of their topics."""
    return all(topic.parsed.sharded for topic in config.mqtt.topics)


def worker_broker(config: Config, worker: int) -> Broker:
    """Where one of several workers gets its reports from: its part of the topics.

    Its name says how many there are, too: a session at the broker keeps its subscriptions, and those of another
    number of workers would bring reports twice.
    """
    filters = tuple(
        topic.parsed.filter_of(str(shard))
        for topic in config.mqtt.topics
        for shard in range(worker, config.mqtt.shards, config.workers)
    )
    whole = broker(config)
    return replace(whole, client_id=f"{whole.client_id}-{worker}-of-{config.workers}", filters=filters)


def state_directory(config: Config) -> Path | None:
    """Where state is kept: state.dir, or what systemd gives; None if nothing is kept."""
    systemds = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    directory = config.state.dir or (Path(systemds) if systemds else None)
    return None if config.state.durability is Durability.NONE else directory


def store(config: Config, directory: Path) -> Store:
    """The store in that directory; StateError if it cannot be used."""
    return Store(directory, config.state.durability, config.state.journal_bytes)


def division(config: Config) -> str:
    """How sessions are divided, in words for a file name; divided otherwise, each worker would have others."""
    if config.workers == 1:
        return ALONE
    return f"workers-{config.workers}" + (f"-of-{config.mqtt.shards}{SHARDS}" if sharded(config) else "")


def prometheus_files(config: Config, source: str) -> PromFiles:
    """Rules, tests and scrape configuration for Prometheus; source: what their heads call the configuration."""
    objectives = {name: section.slo for name, section in config.services.items() if section.slo is not None}
    return PromFiles(plan(config), rules(config), objectives, source=source, access=_access(config.http))


def _access(http: Http) -> dict[str, object]:
    """What a scrape configuration needs to get through the web configuration; its file names are examples."""
    web = WebFile() if http.web_config_file is None else webconfig.read(http.web_config_file)
    told: dict[str, object] = {}
    if web.tls_server_config is not None:
        files = {"ca_file": "ca.pem"}
        if web.tls_server_config.client_auth_type == "RequireAndVerifyClientCert":
            files |= {"cert_file": "prometheus.pem", "key_file": "prometheus.key"}
        told = {"scheme": "https", "tls_config": files}
    if web.basic_auth_users:
        told["basic_auth"] = {"username": next(iter(web.basic_auth_users)), "password_file": "qoemon.password"}
    return told


def broker(config: Config) -> Broker:
    """Where the reports come from."""
    mqtt = config.mqtt
    return Broker(
        host=mqtt.host,
        port=mqtt.port,
        version=mqtt.version,
        client_id=mqtt.client_id,
        username=mqtt.username,
        password=mqtt.secret,
        tls=_tls(mqtt.tls),
        filters=tuple(topic.parsed.filter for topic in mqtt.topics),
        qos=mqtt.qos,
        keepalive_s=mqtt.keepalive_s,
        session_expiry_s=mqtt.session_expiry_s,
        receive_maximum=mqtt.receive_maximum,
        reconnect_min_s=mqtt.reconnect.min_s,
        reconnect_max_s=mqtt.reconnect.max_s,
    )


def _tls(section: TlsSection | None) -> Tls | None:
    if section is None:
        return None
    return Tls(
        ca_file=section.ca_file,
        cert_file=section.cert_file,
        key_file=section.key_file,
        key_password=section.secret,
    )
