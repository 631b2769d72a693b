"""The MQTT options of a configuration."""

from __future__ import annotations

from dataclasses import replace

from qoemon.config.sections.mqtt import Mqtt
from qoemon.config.sections.mqtt import Tls as TlsSection
from qoemon.config.sections.types import first_secret
from qoemon.net.mqtt.client import Address, Broker
from qoemon.net.mqtt.tls import Tls


def worker_broker_options(mqtt: Mqtt, worker: int, workers: int) -> Broker:
    """Broker options of one of several workers, which subscribes to its part of the topics.

    worker   number of the worker, from 0
    workers  how many there are

    The client id contains the number of workers. A session at the broker keeps its subscriptions, so after a change
    of that number, reports would be delivered twice.
    """
    filters = tuple(
        topic.parsed.filter_of(str(shard)) for topic in mqtt.topics for shard in range(worker, mqtt.shards, workers)
    )
    whole = broker_options(mqtt)
    return replace(whole, client_id=f"{whole.client_id}-{worker}-of-{workers}", filters=filters)


def broker_options(mqtt: Mqtt) -> Broker:
    """Broker options of a configuration."""
    first, *others = (Address(*address) for address in mqtt.addresses)
    return Broker(
        host=first.host,
        port=first.port,
        others=tuple(others),
        version=mqtt.version,
        client_id=mqtt.client_id,
        username=mqtt.username,
        password=first_secret(mqtt.password),
        password_file=mqtt.password_file,
        tls=_tls(mqtt.tls),
        websocket_path=mqtt.websocket_path if mqtt.transport == "websockets" else None,
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
        key_password=first_secret(section.key_password),
        key_password_file=section.key_password_file,
    )
