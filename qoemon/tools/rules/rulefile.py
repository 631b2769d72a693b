"""Elements of Prometheus's rule files and promtool's test files, and how they are written as YAML."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import yaml

from qoemon.common import duration

STEP_S = 60
"""Time step of the tests: Prometheus looks back five minutes, so samples may be a minute apart."""

JOB, INSTANCE = "job", "instance"
"""The labels that Prometheus adds to what it scrapes."""

Labels = Mapping[str, str]

_NOTE = "note"
"""A key that is written as a comment, since PyYAML writes none."""


@dataclass(frozen=True)
class Recording:
    """A recording rule."""

    record: str
    expr: str
    labels: Labels

    def as_dict(self) -> dict[str, Any]:
        """The element as in the file."""
        return _without_empty({"record": self.record, "expr": self.expr, "labels": dict(self.labels)})


@dataclass(frozen=True)
class Alerting:
    """An alerting rule; labels and annotations are Go templates."""

    alert: str
    expr: str
    for_s: float
    labels: Labels
    annotations: Labels

    def as_dict(self) -> dict[str, Any]:
        """The element as in the file."""
        content = {
            "alert": self.alert,
            "expr": self.expr,
            "for": duration.text(self.for_s) if self.for_s else "",
            "labels": dict(self.labels),
            "annotations": dict(self.annotations),
        }
        return _without_empty(content)


@dataclass(frozen=True)
class RuleGroup:
    """Rules that are evaluated together, in sequence."""

    name: str
    interval_s: float
    rules: Sequence[Recording | Alerting]

    def as_dict(self) -> dict[str, Any]:
        """The element as in the file."""
        rules = [rule.as_dict() for rule in self.rules]
        return {"name": self.name, "interval": duration.text(self.interval_s), "rules": rules}


@dataclass(frozen=True)
class FiringAlert:
    """An alert that fires, with all labels and annotations as receivers get them."""

    labels: Labels
    annotations: Labels


@dataclass(frozen=True)
class Check:
    """Expects exactly these alerts of a name to fire after `step` steps.

    note  a comment on the situation
    """

    step: int
    alert: str
    firing: Sequence[FiringAlert]
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The element as in the file."""
        alerts = [{"exp_labels": dict(a.labels), "exp_annotations": dict(a.annotations)} for a in self.firing]
        at: dict[str, Any] = {_NOTE: self.note} if self.note else {}
        at |= {"eval_time": duration.text(self.step * STEP_S), "alertname": self.alert}
        return {**at, "exp_alerts": alerts} if alerts else at


@dataclass(frozen=True)
class Value:
    """Expects a query to give one sample after `step` steps, rounded to thousandths."""

    step: int
    query: str
    value: float

    def as_dict(self) -> dict[str, Any]:
        """The element as in the file."""
        sample = {"labels": "{}", "value": self.value}
        expr = f"round(sum({self.query}), 0.001)"
        return {"expr": expr, "eval_time": duration.text(self.step * STEP_S), "exp_samples": [sample]}


@dataclass(frozen=True)
class Case:
    """A test: series by selector, in promtool's notation with a value per step, and the checks on them."""

    name: str
    series: Mapping[str, str]
    checks: Sequence[Check | Value]

    def as_dict(self) -> dict[str, Any]:
        """The element as in the file."""
        inputs = [{"series": series, "values": values} for series, values in self.series.items()]
        checks = [check.as_dict() for check in self.checks if isinstance(check, Check)]
        values = [check.as_dict() for check in self.checks if isinstance(check, Value)]
        content = {
            "name": self.name,
            "interval": duration.text(STEP_S),
            "input_series": inputs,
            "alert_rule_test": checks,
            "promql_expr_test": values,
        }
        return _without_empty(content)


def selector(name: str, labels: Mapping[str, str | Sequence[str]]) -> str:
    """A PromQL selector: each label has exactly the value, or one of the values."""
    matchers = ",".join(_matcher(label, values) for label, values in labels.items())
    return f"{name}{{{matchers}}}" if matchers else name


def quoted(text: str) -> str:
    """A PromQL string. What JSON escapes, Go escapes the same way."""
    return json.dumps(text, ensure_ascii=False)


def number(value: float) -> str:
    """The shortest text that Prometheus reads as exactly this number."""
    return repr(float(value)).removesuffix(".0")


def literal(text: str) -> str:
    """Text escaped for a Go template, independent of the text around it."""
    return text.replace("{", '{{ "{" }}')


def steps(values: Sequence[float | None]) -> str:
    """A series in promtool's notation, one value per step; None: no sample, as after a scrape without it."""
    runs = [(value, len(list(same))) for value, same in groupby(values)]
    parts = []
    for place, (value, count) in enumerate(runs):
        if value is not None:
            parts.append(f"{number(value)}x{count - 1}" if count > 1 else number(value))
        elif place == 0:
            parts.append(f"_x{count}")
        else:
            parts.append("stale" if count == 1 else f"stale _x{count - 1}")
    return " ".join(parts)


def write(content: Mapping[str, Any], head: str) -> str:
    """YAML with a comment at its head and an empty line before each rule and test."""
    comment = "".join(f"# {line}".rstrip() + "\n" for line in head.splitlines())
    text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    text = re.sub(rf"- {_NOTE}: (.*)", r"- # \1", text)
    return comment + re.sub(r"\n( *- (?:name|alert|record): )", r"\n\n\1", text)


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        # Items are indented further than their key.
        super().increase_indent(flow, indentless=False)

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _text)


def _matcher(label: str, values: str | Sequence[str]) -> str:
    if isinstance(values, str):
        return f"{label}={quoted(values)}"
    if len(values) == 1:
        return f"{label}={quoted(values[0])}"
    return f"{label}=~{quoted('|'.join(map(re.escape, values)))}"


def _without_empty(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if value not in ("", {}, [])}
