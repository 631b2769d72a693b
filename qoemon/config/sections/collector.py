"""Section `collector`: the HTTP listener for players that speak CMCD and for reports over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, Strict

from qoemon.config.sections import names as naming
from qoemon.config.sections.types import (
    Bytes,
    Count,
    File,
    Host,
    Label,
    Seconds,
    SecretPath,
    ServiceName,
    number,
)
from qoemon.config.yaml.section import Section, Violation, expecting, key
from qoemon.core.plan.topic import TopicTemplate

CollectorPort = Annotated[int, Strict(), Field(ge=0, le=65535), BeforeValidator(number)]


def _origin(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if value != "*" and not (separator and scheme in {"http", "https"} and rest and "/" not in rest):
        raise expecting("* or an origin such as https://video.example: scheme, host, and port if it has one")
    return value


Origin = Annotated[str, AfterValidator(_origin)]


class CollectorPath(Section):
    """A path to which clients post."""

    template: str = key(
        "Path with {name} for each segment that becomes a label, and + for each segment that is ignored.",
        examples=["/cmcd/v1/{service}/{region}/{cdn}"],
    )
    service: ServiceName | None = key("Service of the reports, if no segment of the path is {service}.", None)
    off: bool = key("true: answered with 410, after which hls.js sends nothing more to it.", False)

    @property
    def parsed(self) -> TopicTemplate:
        """The template, parsed to match paths."""
        return TopicTemplate(self.template, self.service)

    def rules(self) -> Iterator[Violation]:
        """The template is valid; the service is either a segment of it or the key `service`."""
        fault = naming.path_fault(self.template)
        if fault:
            yield Violation(("template",), fault)
        named = "{service}" in self.template.split("/")
        if not named and self.service is None and not fault:
            yield Violation(
                ("template",), "a segment {service}, or the key service beside template", (("service",),)
            )
        if named and self.service is not None:
            yield Violation(("service",), "no service, as the template has {service}", (("template",),))


def _path(value: object) -> object:
    return {"template": value} if isinstance(value, str) else value


Paths = Annotated[
    tuple[Annotated[CollectorPath, BeforeValidator(_path, json_schema_input_type=str | CollectorPath)], ...],
    Field(min_length=1),
]


class Collector(Section):
    """The HTTP listener for players and clients that do not speak MQTT. It is never the port of /metrics."""

    host: Host = key("Address to listen on; 0.0.0.0 or :: for all addresses.", "127.0.0.1")
    port: CollectorPort = key("Port to listen on; 0 for any free port.", 9878)
    paths: Paths = key(
        "Paths to which clients post: a template, or template and service if no segment is {service}.",
        ["/cmcd/v1/{service}/{region}/{cdn}"],
    )
    web_config_file: File | None = key(
        "Web configuration file in the format of Prometheus: TLS and headers; null: plain HTTP. Players on https "
        "pages can post to https only.",
        None,
    )
    token: SecretStr | None = key(
        "Token that clients must send, in a header `Authorization: Bearer TOKEN` or as `?token=TOKEN`; null: none.",
        None,
    )
    token_file: SecretPath | None = key("File with the token, read at the start.", None)
    origins: tuple[Origin, ...] = key("Origins of the pages whose players may post; * for all.", ["*"])
    connections: Count = key(
        "Connections at a time, at most half of the files that the process may open; for one more, the connection "
        "that has been idle for longest is closed.",
        4096,
    )
    body_bytes: Bytes = key("Bytes in a body; larger ones are answered with 413.", "64KiB")
    reorder_s: Seconds = key("Longest time that a record waits for those that were sent before it.", "2s")
    heartbeat_s: Seconds = key(
        "Time between two records of a player, as configured there; what a player shows of it takes precedence.",
        "30s",
    )
    startup_service: ServiceName | None = key(
        "Service that rates the time from the start to the first picture as a response time; null: none.", None
    )
    failed_starts: Literal["ignore", "worst"] = key(
        "worst: startup_service rates a start that never played as its worst response time.", "ignore"
    )
    hidden: bool = key("Whether players that cannot be seen (bg) count.", True)
    labels: Mapping[str, Label] = key(
        "Labels that are read from records where the path has none: names of labels by CMCD keys, such as "
        "{st: stream_type}.",
        {},
    )

    def rules(self) -> Iterator[Violation]:
        """One token at most; distinct paths."""
        if self.token and self.token_file:
            yield Violation(("token",), "either token or token_file", (("token_file",),))
        for (first, one), (index, other) in combinations(enumerate(self.paths), 2):
            if naming.overlap(one.template, other.template):
                expected = f"a template without any path that matches paths.{first} as well"
                yield Violation(("paths", index), expected, (("paths", first),))
