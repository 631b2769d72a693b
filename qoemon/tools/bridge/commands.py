"""The command `qoemon bridge`."""

from __future__ import annotations

from qoemon.tools.command import USAGE, exit_on_errors, fail, load
from qoemon.tools.options import ConfigFile, Overrides


def bridge(config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Write reports to Kafka, for a cluster that counts them.

    The inputs are those of `qoemon run`; `kafka` says where to write. Messages are acknowledged once Kafka has
    stored them.
    """
    import asyncio  # noqa: PLC0415 - not for --help

    with exit_on_errors():
        settings = load(config, overrides)
    if settings.kafka is None:
        fail(USAGE, "kafka is null: the bridge writes to Kafka; add a section kafka, with its brokers")
    try:
        from qoemon.net.kafka.client import OptionError  # noqa: PLC0415 - an extra
        from qoemon.net.kafka.producer import ProducerError  # noqa: PLC0415
        from qoemon.net.kafka.topic import TopicError  # noqa: PLC0415
    except ModuleNotFoundError:
        from qoemon.common.extras import how_to_add  # noqa: PLC0415 - not for --help

        fail(USAGE, f"the bridge needs confluent-kafka: {how_to_add('kafka')}")
    from qoemon.common.logs import log_to_stderr  # noqa: PLC0415
    from qoemon.daemon.daemon import ListenError  # noqa: PLC0415
    from qoemon.net.paced_loop import PacedLoop  # noqa: PLC0415
    from qoemon.state.directory import StateError  # noqa: PLC0415
    from qoemon.tools.bridge.bridge import run  # noqa: PLC0415

    with exit_on_errors(usage=(OptionError, TopicError), failed=(ListenError, ProducerError, StateError)):
        log_to_stderr(settings.log.level.upper(), settings.log.format, dated=True)
        with asyncio.Runner(loop_factory=PacedLoop) as runner:
            runner.run(run(settings, settings.kafka))
