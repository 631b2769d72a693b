"""The files that `qoemon rules` writes for Prometheus.

Rules for the alerts of the configuration, for the daemon itself and for the objectives; a test for each; and a
scrape configuration. The alerts of the configuration have one sender, qoemon or Prometheus, which each file names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from qoemon.common import duration
from qoemon.core.alerting.rule import Rule
from qoemon.core.plan.plan import Plan
from qoemon.tools.rules import alertcase, daemonrules, slocase
from qoemon.tools.rules.alertrule import PromRule
from qoemon.tools.rules.capacityrules import Capacity
from qoemon.tools.rules.delivery import Delivery, Sender
from qoemon.tools.rules.rulefile import STEP_S, Case, RuleGroup, write
from qoemon.tools.rules.slo import OBJECTIVE, SloRules

RULES_FILE = "rules.yml"
"""Name of the file of rules in the tests and in the scrape configuration."""

_GENERATED = "Change the configuration, not this file."


@dataclass(frozen=True)
class PromFiles:
    """The files of one configuration, YAML.

    alerts      its rules; Prometheus decides by them as the daemon does
    objectives  share of good ratings by service; a service without an entry has none. None: OBJECTIVE for each
    job         job label under which Prometheus scrapes the daemon
    options     of the command that wrote the files, for their heads
    access      TLS and authentication settings of the scrape configuration
    delivery    who sends the alerts of the configuration; if it is qoemon, there are no rules for them
    clustered   whether a cluster counts the reports, so that there are rules on it and on the bridges
    lease_s     lease of the pair if there are two daemons, so that there are rules on that

    All methods raise AnnotationError or ObjectiveError if a rule cannot be expressed or an objective is impossible.
    """

    plan: Plan
    alerts: Sequence[Rule]
    objectives: Mapping[str, float] | None = None
    job: str = "qoemon"
    options: Sequence[str] = ()
    access: Mapping[str, object] = field(default_factory=dict)
    delivery: Delivery = field(default_factory=Delivery)
    clustered: bool = False
    lease_s: float | None = None
    capacity: Capacity = field(default_factory=Capacity)

    def rules(self) -> str:
        """The rules, for Prometheus's rule_files."""
        head = f"{self._head()}\n{_GENERATED}\nCheck them: promtool check rules {RULES_FILE}"
        return write({"groups": [group.as_dict() for group in self._groups()]}, head)

    def tests(self) -> str:
        """The tests of these rules for promtool: each rule firing and not firing."""
        content = {
            "rule_files": [RULES_FILE],
            "evaluation_interval": duration.text(STEP_S),
            "tests": [case.as_dict() for case in self._cases()],
        }
        run = f"Run them beside {RULES_FILE}: promtool test rules THIS_FILE"
        return write(content, f"{self._head('--tests')}\n{_GENERATED}\n{run}")

    def scrape(self, *targets: str) -> str:
        """Configuration for Prometheus to scrape the daemons at targets, such as 127.0.0.1:9877, and read rules."""
        scraped = {
            "job_name": self.job,
            "scrape_interval": duration.text(self.plan.timing.tick_s),
            **self.access,
            "static_configs": [{"targets": list(targets)}],
        }
        alertmanagers = self.delivery.alertmanagers
        content = {
            "rule_files": [RULES_FILE],
            **({"alerting": {"alertmanagers": list(alertmanagers)}} if alertmanagers else {}),
            "scrape_configs": [scraped],
        }
        return write(content, f"{self._head('--scrape')}\nAn example: copy what your prometheus.yml lacks.")

    def _groups(self) -> Iterator[RuleGroup]:
        if self._users:
            alerts = [rule.alerting() for rule in self._users]
            yield RuleGroup("qoemon-users", self.plan.timing.tick_s, alerts)
        yield daemonrules.group(self.plan, self.job, self.capacity, clustered=self.clustered, lease_s=self.lease_s)
        yield self._slo.group()

    def _cases(self) -> Iterator[Case]:
        scales = {service.name: service.scale for service in self.plan.services}
        for rule in self._users:
            yield alertcase.case(rule, scales[rule.rule.service])
        yield from daemonrules.cases(
            self.plan, self.job, self.capacity, clustered=self.clustered, lease_s=self.lease_s
        )
        yield from slocase.cases(self._slo)

    @cached_property
    def _users(self) -> tuple[PromRule, ...]:
        if self.delivery.sender is Sender.QOEMON:
            return ()
        return tuple(PromRule.of(rule, self.plan, self.job) for rule in self.alerts)

    @cached_property
    def _slo(self) -> SloRules:
        objectives = self.objectives
        if objectives is None:
            objectives = {service.name: OBJECTIVE for service in self.plan.services}
        return SloRules(self.plan, objectives, self.job)

    def _head(self, *options: str) -> str:
        command = " ".join(["qoemon rules", *self.options, *options])
        return f"Written by: {command}\n{self.delivery.sentence()}"
