"""The collector's options of a configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from qoemon.config.sections import collector as section
from qoemon.config.sections.types import first_secret
from qoemon.core.plan.topic import TopicTemplate


@dataclass(frozen=True)
class CollectorOptions:
    """Options of a Collector.

    paths        templates of the paths to which clients may post
    off          templates of the paths that are switched off
    token        what clients must send; None for no token, or if it is in a file
    token_file   a file with the token, read when the collector begins to listen
    origins      origins of the pages that may post, in lower case; * among them for all
    connections  at a time
    body_bytes   in a body
    """

    host: str
    port: int
    paths: tuple[TopicTemplate, ...]
    off: tuple[TopicTemplate, ...] = ()
    web_config_file: Path | None = None
    token: str | None = None
    token_file: Path | None = None
    origins: frozenset[str] = frozenset({"*"})
    connections: int = 4096
    body_bytes: int = 64 * 1024


def collector_options(collector: section.Collector) -> CollectorOptions:
    """The options of a configuration with a section `collector`."""
    return CollectorOptions(
        host=collector.host,
        port=collector.port,
        paths=tuple(path.parsed for path in collector.paths if not path.off),
        off=tuple(path.parsed for path in collector.paths if path.off),
        web_config_file=collector.web_config_file,
        token=first_secret(collector.token),
        token_file=collector.token_file,
        origins=frozenset(origin.lower() for origin in collector.origins),
        connections=collector.connections,
        body_bytes=collector.body_bytes,
    )
