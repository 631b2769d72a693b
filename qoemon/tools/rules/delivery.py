"""Who sends the alerts of the configuration: qoemon or Prometheus, never both.

Their alerts differ in labels, so Alertmanager would notify twice. Prometheus sends those on the daemon itself and
on objectives in either case: a daemon that is down cannot report that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from textwrap import fill


class Sender(StrEnum):
    """Who sends the alerts of the configuration."""

    QOEMON = "qoemon"
    PROMETHEUS = "prometheus"


@dataclass(frozen=True)
class Delivery:
    """The sender of the alerts of the configuration, and where Prometheus sends what it finds.

    alertmanagers  entries of `alerting` in prometheus.yml; none: Prometheus sends nothing
    receivers      the keys of `notify` to which qoemon sends
    """

    sender: Sender = Sender.PROMETHEUS
    alertmanagers: Sequence[Mapping[str, object]] = ()
    receivers: Sequence[str] = ()

    @classmethod
    def of(
        cls, receivers: Sequence[str], alertmanagers: Sequence[Mapping[str, object]], sender: Sender | None
    ) -> Delivery:
        """With this sender. None: qoemon if it has receivers, otherwise Prometheus."""
        return cls(sender or (Sender.QOEMON if receivers else Sender.PROMETHEUS), alertmanagers, receivers)

    def sentence(self) -> str:
        """Who sends, in one sentence, for the head of a file."""
        notify = " and ".join(f"notify.{name}" for name in self.receivers)
        if self.sender is Sender.QOEMON:
            receivers = notify or "nobody, as notify has no receiver"
            text = (
                f"qoemon sends the alerts of the configuration to {receivers}; Prometheus sends those on qoemon "
                "itself and on objectives"
            )
        elif notify:
            text = f"Prometheus sends all alerts: remove {notify} from the configuration, or they arrive twice"
        else:
            text = "Prometheus sends all alerts, as notify in the configuration has no receiver"
        if not self.alertmanagers:
            text += "; name your Alertmanager in `alerting` of prometheus.yml"
        return fill(f"{text}.", 108)
