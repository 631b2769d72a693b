"""Builds the inputs of a process from the configuration."""

from __future__ import annotations

from pathlib import Path

from qoemon.config.config import Config
from qoemon.engine.storage import session_memory
from qoemon.inputs.http.collector import Collector
from qoemon.inputs.http.options import collector_options
from qoemon.inputs.inbox import Inbox
from qoemon.inputs.mqtt.consumer import MqttConsumer
from qoemon.inputs.mqtt.options import broker_options
from qoemon.inputs.sources import Sources


def sources(config: Config, inbox: Inbox, directory: Path | None, *, forget: bool = False) -> Sources:
    """All inputs of a configuration; with topics that have a level {shard}, workers have those of the broker.

    directory  where the state is stored, which is locked; None if nothing is stored
    forget     whether the session stored at the broker is outdated
    """
    options = None if config.collector is None else collector_options(config.collector)
    return Sources(
        mqtt=_consumer(config, inbox, directory, forget=forget),
        collector=None if options is None else Collector(options, inbox),
    )


def _consumer(config: Config, inbox: Inbox, directory: Path | None, *, forget: bool) -> MqttConsumer | None:
    if config.mqtt is None or (config.sharded and config.workers > 1):
        return None
    return MqttConsumer(broker_options(config.mqtt), inbox, memory=session_memory(directory), forget=forget)
