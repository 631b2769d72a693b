"""Section `engine`: what counts the reports, this process, several, or a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, Strict

from qoemon.config.sections.types import number
from qoemon.config.yaml.section import Section, expecting, key


class EngineKind(StrEnum):
    """What counts the reports."""

    LOCAL = "local"
    """one process"""
    WORKERS = "workers"
    """several processes of one machine"""
    SPARK = "spark"
    """a cluster of Apache Spark, with the reports from Apache Kafka"""


Shards = Annotated[int, Strict(), Field(ge=1, le=4096), BeforeValidator(number)]


def _location(value: str) -> str:
    scheme, separator, path = value.rpartition("://")
    if not path.strip("/") or (separator and not scheme) or (not separator and not path.startswith("/")):
        raise expecting("an absolute path or a URL that all machines of the cluster can write to")
    return value.rstrip("/")


Location = Annotated[str, AfterValidator(_location)]


class Engine(Section):
    """What counts the reports: this process, several, or a cluster."""

    kind: EngineKind | None = key(
        "local: one process; workers: as many as `workers` says; spark: a cluster, with the reports from Kafka. "
        "null: workers if there are several, else local.",
        None,
    )
    master: str = key(
        "The cluster: spark://HOST:PORT, yarn, k8s://URL, or local[*] for all cores of this machine.", "local[*]"
    )
    shards: Shards = key("Parts of the sessions on the cluster; fixed in a checkpoint, see `qoemon rescale`.", 64)
    checkpoint: Location | None = key(
        "Where the cluster keeps the sessions: an absolute path or URL that all of its machines can write to.", None
    )
    options: Mapping[str, str] = key(
        "Further options of Spark, such as spark.executor.memory: 4g. Values are text.", {}
    )
