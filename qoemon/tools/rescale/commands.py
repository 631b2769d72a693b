"""The command `qoemon rescale`."""

# ruff: noqa: PLC0415 - cli.py imports this for every command
from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from qoemon.common import duration
from qoemon.tools.command import exit_on_errors, load
from qoemon.tools.options import ConfigFile, Overrides

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qoemon.engine.spark.rescale import Rescaled


def rescale(config: ConfigFile = None, overrides: Overrides = None) -> None:
    """Divide the sessions of a cluster among other shards.

    The driver is stopped, and the configuration has the new engine.shards and another engine.checkpoint. The next
    start reads from Kafka what still matters, and comes to the same figures.
    """
    from qoemon.engine.engine import SetupError
    from qoemon.engine.spark.rescale import rescale as rescaled
    from qoemon.state.directory import StateError

    with exit_on_errors(usage=(SetupError,), failed=(StateError,)):
        settings = load(config, overrides)
        done = rescaled(settings)
        topic = "" if settings.kafka is None else settings.kafka.topic
    for line in _lines(done, topic):
        typer.echo(line)


def _lines(done: Rescaled, topic: str) -> Iterator[str]:
    back = duration.text(done.tick_s - done.start_s)
    yield f"{done.shards} shards (before: {done.before}) in checkpoint {done.location}"
    yield f"They read topic {topic} from {_utc(done.start_s)} on, {back} before the newest tick"
    yield f"Kafka must still have these records when the driver starts (retention.ms of topic {topic})"
    yield "Next: start `qoemon run` with this configuration; windows, totals and alerts continue where they are"
    yield (
        f"Records that were written for {done.before} shards are divided again where they are read; restart the "
        "bridges with this configuration at any time, which saves the cluster this work"
    )
    yield f"Checkpoint {done.left} is not used any more: delete it once new ticks have come"


def _utc(time_s: int) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(time_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
